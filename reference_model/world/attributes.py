"""The vocabulary of the reference world: every attribute value, its words, and how captions phrase it.

Nothing here draws a random number or imports torch. A value is what `Scene` fields and a prompt's `expect` hold; its
phrases are what a caption may say. Captions are lower case; a comma or full stop is ignored; words outside the lists
are unknown to the reference model and refused by the `world` model.

`expect` keys and their values (all optional; a key that is absent is not judged):

    object        a value of SHAPES         the first (or only) object
    colour        a value of COLOURS
    size          a value of SIZES
    count         1, 2 or 3                 number of objects that look like the first one
    motion        a value of MOTIONS        of the first object
    events        two values of EVENTS      motions of the first object in order ("first ... then ...")
    second_object, second_colour            the other object of a relation
    relation      a value of RELATIONS      first object <relation> second object
    background    a value of BACKGROUNDS
    camera        a value of CAMERAS
    style         a value of STYLES
    absent        {attribute: value}        what a negative prompt asks to avoid

Examples, each with the `expect` it means:

    "a large red ball moves left on a white background"
        {object: circle, colour: red, size: large, count: 1, motion: left, background: white}
    "three small blue stars move up on a checkered background"
        {object: star, colour: blue, size: small, count: 3, motion: up, background: checkered}
    "a green square spins on a black background, at night"
        {object: square, colour: green, count: 1, motion: rotate, background: black, style: night}
    "a yellow heart on a dotted background, the camera pans left"
        {object: heart, colour: yellow, count: 1, background: dotted, camera: pan_left}
    "a red star is to the left of a blue circle on a gray background"
        {object: star, colour: red, relation: left_of, second_object: circle, second_colour: blue, background: gray}
    "a pink cross passes behind a green triangle", "an orange ball chases a cyan square",
    "a purple box collides with a yellow ball"
        {object: circle, colour: orange, relation: chases, second_object: square, second_colour: cyan}
    "a cyan triangle first moves right and then moves down on a grid background, pixel art style"
        {object: triangle, colour: cyan, count: 1, events: [right, down], background: grid, style: pixel_art}

Rules of the world: a camera move needs a textured background (TEXTURED) and a still object; a circle never rotates
(nobody could see it); counts of two and three are for small and medium objects; relations are between two different
small or medium objects.
"""

from __future__ import annotations

SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "ball", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross", "plus"),
}
PLURALS: dict[str, str] = {
    "circle": "circles",
    "ball": "balls",
    "disc": "discs",
    "square": "squares",
    "box": "boxes",
    "triangle": "triangles",
    "star": "stars",
    "heart": "hearts",
    "cross": "crosses",
    "plus": "pluses",
}
COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green",),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
}
SIZES: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium",),
    "large": ("large", "big", "huge"),
}
COUNTS: dict[int, tuple[str, ...]] = {1: ("a", "an", "one"), 2: ("two",), 3: ("three",)}
BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "white": ("white",),
    "gray": ("gray", "grey"),
    "black": ("black",),
    "checkered": ("checkered", "checkerboard"),
    "dotted": ("dotted", "spotted"),
    "grid": ("grid",),
}
TEXTURED: tuple[str, ...] = ("checkered", "dotted", "grid")

# Phrases follow a singular subject; `plural_phrase` turns the verb for "two ..." and "three ...".
MOTIONS: dict[str, tuple[str, ...]] = {
    "still": ("stands still", "stays in place", "rests", "does not move"),
    "left": ("moves left", "moves to the left", "slides left", "travels from right to left", "moving left"),
    "right": (
        "moves right",
        "moves to the right",
        "slides right",
        "travels from left to right",
        "moving right",
    ),
    "up": ("moves up", "rises", "floats upward", "moves upwards", "rising"),
    "down": ("moves down", "falls", "sinks downward", "moves downwards", "falling"),
    "bounce": ("bounces", "bounces up and down", "is bouncing", "bouncing"),
    "rotate": ("rotates", "spins", "is spinning", "turns around", "spinning"),
    "grow": ("grows", "gets bigger", "becomes larger", "growing"),
    "shrink": ("shrinks", "gets smaller", "becomes smaller", "shrinking"),
}
EVENTS: tuple[str, ...] = ("left", "right", "up", "down", "grow", "shrink", "still")
EVENT_PATTERNS: tuple[str, ...] = ("first {0} and then {1}", "first {0} then {1}", "{0} and then {1}")
RELATIONS: dict[str, tuple[str, ...]] = {
    "left_of": ("to the left of", "is to the left of", "left of"),
    "right_of": ("to the right of", "is to the right of", "right of"),
    "above": ("above", "is above", "over"),
    "below": ("below", "is below", "under"),
    "passes_behind": ("passes behind", "moves behind", "slides behind"),
    "collides": ("collides with", "hits", "bumps into"),
    "chases": ("chases", "follows"),
}
STATIC_RELATIONS: tuple[str, ...] = ("left_of", "right_of", "above", "below")
CAMERAS: dict[str, tuple[str, ...]] = {
    "static": ("the camera is static", "static camera"),
    "pan_left": ("the camera pans left", "camera pan left", "panning left"),
    "pan_right": ("the camera pans right", "camera pan right", "panning right"),
    "tilt_up": ("the camera tilts up", "camera tilt up", "tilting up"),
    "tilt_down": ("the camera tilts down", "camera tilt down", "tilting down"),
    "zoom_in": ("the camera zooms in", "camera zoom in", "zooming in"),
    "zoom_out": ("the camera zooms out", "camera zoom out", "zooming out"),
}
STYLES: dict[str, tuple[str, ...]] = {
    "flat": ("flat style", "flat colours"),
    "outlined": ("outlined", "outlined style", "with thick outlines"),
    "sepia": ("sepia", "in sepia tones", "sepia style"),
    "pixel_art": ("pixel art", "pixel art style", "pixelated"),
    "night": ("at night", "night style", "in the dark"),
}
BACKGROUND_PATTERNS: tuple[str, ...] = (
    "on a {0} background",
    "against a {0} background",
    "in front of a {0} background",
    "{0} background",
)

# Pairs that no training scene shows; generalisation is measured on them.
HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "heart"),
        ("blue", "star"),
        ("yellow", "triangle"),
        ("green", "cross"),
        ("purple", "square"),
        ("cyan", "circle"),
    }
)

ATTRIBUTES: dict[str, tuple[str | int, ...]] = {
    "object": tuple(SHAPES),
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "count": tuple(COUNTS),
    "motion": tuple(MOTIONS),
    "relation": tuple(RELATIONS),
    "background": tuple(BACKGROUNDS),
    "camera": tuple(CAMERAS),
    "style": tuple(STYLES),
}


def plural_phrase(phrase: str) -> str:
    """The phrase for several subjects: "moves left" -> "move left", "is spinning" -> "are spinning"."""
    irregular = {
        "is": "are",
        "does": "do",
        "gets": "get",
        "becomes": "become",
        "passes": "pass",
        "bounces": "bounce",
    }
    verb, _, rest = phrase.partition(" ")
    if verb in irregular:
        verb = irregular[verb]
    elif verb.endswith("s"):
        verb = verb[:-1]
    return f"{verb} {rest}".strip()
