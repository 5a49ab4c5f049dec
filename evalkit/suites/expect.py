"""The vocabulary of `expect` and `params`: what a prompt may promise, in types that a detector can check.

Closed attributes (colours, motions, camera moves...) have a fixed list of values, because a detector answers with one
of them. Open ones (the name of an object, the text in the frame) take any words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evalkit.suites.document import nearest

if TYPE_CHECKING:
    import yaml

    from evalkit.suites.document import Document

_COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "pink",
    "brown",
    "white",
    "gray",
    "black",
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of `expect`.

    Args:
        meaning: What a detector would check.
        values: The closed list of values; empty for free text.
        kind: `value` (one value or text), `number` (whole, 0 or more), `list` (two or more, in order).
        needs: Attributes without which this one says nothing.
    """

    meaning: str
    values: tuple[str, ...] = ()
    kind: str = "value"
    needs: tuple[str, ...] = ()


ATTRIBUTES: MappingProxyType[str, Attribute] = MappingProxyType(
    {
        "object": Attribute("the first or only object is visible"),
        "colour": Attribute("colour of the first object", _COLOURS),
        "size": Attribute("size of the first object in the frame", ("small", "medium", "large")),
        "count": Attribute("number of objects like the first one", kind="number", needs=("object",)),
        "motion": Attribute(
            "motion of the first object in the frame",
            ("still", "left", "right", "up", "down", "towards", "away", "bounce", "rotate", "grow", "shrink"),
        ),
        "action": Attribute("what the first object does, as one action"),
        "events": Attribute("what happens, in order", kind="list"),
        "second_object": Attribute("the other object of a relation is visible"),
        "second_colour": Attribute("colour of the other object", _COLOURS, needs=("second_object",)),
        "relation": Attribute(
            "first object <relation> second object",
            (
                *(
                    "left_of",
                    "right_of",
                    "above",
                    "below",
                    "in_front_of",
                    "behind",
                    "inside",
                    "on",
                    "next_to",
                ),
                *("passes_behind", "collides", "chases"),
            ),
            needs=("object", "second_object"),
        ),
        "background": Attribute("what lies behind the objects"),
        "camera": Attribute(
            "global motion of the picture",
            (
                *("static", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out"),
                *("roll_clockwise", "roll_counterclockwise"),
            ),
        ),
        "style": Attribute("visual style of the whole clip"),
        "text": Attribute("letters that can be read in the frame"),
        "shots": Attribute("number of shots: one more than the cuts asked for", kind="number"),
        "absent": Attribute("`attribute: value` pairs that must not be seen", kind="mapping"),
    }
)


def read_expect(document: Document, node: yaml.Node) -> dict[str, Any]:
    """Return the checked `expect` mapping at `node`; every deviation is recorded on `document`."""
    entries = document.mapping(node, "expect", ATTRIBUTES)
    found = {name: _read(document, entry, name) for name, entry in entries.items()}
    for name, entry in entries.items():
        for needed in ATTRIBUTES[name].needs:
            if needed not in entries:
                message = f"expect.{name} says nothing without expect.{needed}; add {needed} or drop {name}"
                document.error(entry, "incomplete-expect", message)
    return {name: value for name, value in found.items() if value is not None}


def _read(document: Document, node: yaml.Node, name: str) -> Any:
    attribute = ATTRIBUTES[name]
    where = f"expect.{name}"
    if attribute.kind == "number":
        value = document.plain(node, where)
        if value is None:
            return None  # already reported
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            document.error(node, "wrong-type", f"{where} must be a whole number of 0 or more, got {value!r}")
            return None
        return value
    if attribute.kind == "list":
        values = [text for text, _ in document.texts(node, where)]
        if len(values) == 1:
            document.error(
                node, "wrong-value", f"{where} needs at least two entries in order; one is an `action`"
            )
        return values
    if attribute.kind == "mapping":
        known = [key for key in ATTRIBUTES if key != "absent"]
        return {
            key: _read(document, value, key) for key, value in document.mapping(node, where, known).items()
        }
    text = document.text(node, where)
    if not text.strip():
        document.error(node, "empty-text", f"{where} is empty; give a value or drop the key")
    elif attribute.values and text not in attribute.values:
        cure = nearest(text, attribute.values)
        document.error(node, "wrong-value", f"{where} has no value {text!r}; {cure}")
    return text


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _rate(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[1-9]\d*(/[1-9]\d*)?", value) is not None
    return _amount(value) and value != 0


def _ratio(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[1-9]\d*:[1-9]\d*", value) is not None


def _words(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


# What the common settings must look like. Others pass as they are: a model may have settings that nobody else has.
PARAMS: MappingProxyType[str, tuple[Callable[[object], bool], str]] = MappingProxyType(
    {
        "num_frames": (_whole, "a whole number of 1 or more"),
        "height": (_whole, "a whole number of pixels"),
        "width": (_whole, "a whole number of pixels"),
        "fps": (_rate, "a number above 0, or a fraction in quotes such as '30000/1001'"),
        "duration": (_rate, "seconds above 0"),
        "aspect_ratio": (_ratio, "a ratio in quotes such as '16:9'"),
        "guidance_scale": (_amount, "a number of 0 or more"),
        "num_inference_steps": (_whole, "a whole number of 1 or more"),
        "camera": (_words, "text"),
        "style": (_words, "text"),
        "motion_strength": (_amount, "a number of 0 or more"),
    }
)


def read_params(document: Document, node: yaml.Node) -> dict[str, Any]:
    """Return the checked `params` mapping at `node`; every deviation is recorded on `document`."""
    found = {}
    for name, entry in document.mapping(node, "params").items():
        value = found[name] = document.plain(entry, f"params.{name}")
        if name in PARAMS:
            holds, wanted = PARAMS[name]
            if value is not None and not holds(value):
                document.error(entry, "wrong-type", f"params.{name} must be {wanted}, got {value!r}")
        elif (hint := nearest(name, PARAMS)).startswith("did you mean"):
            document.warn(entry, "unknown-param", f"params.{name} is not a common setting; {hint}")
    return found
