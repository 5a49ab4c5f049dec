"""Encoders of the world for judging: a text-video dual encoder and an attribute classifier, on one video trunk.

They share nothing with the generator: own networks, own text tower, own seed. The classifier's penultimate features
serve the Frechet distance on the world; the dual encoder scores how well a clip and a prompt agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.frames import (
    ANSWERS,
    BLEMISHES,
    CELLS,
    GLANCE,
    SCENE,
    SIZE,
    FrameReader,
    Reading,
    crops_of,
)
from reference_model.text import Grounding, TextEncoder, Tokenizer, split_weights
from reference_model.world import attributes

FRAMES = 16
FEATURES, CONTRAST = 256, 128
FOLDER = Path(__file__).resolve().parent / "weights" / "encoders"

MIRRORED = {"right_of": "left_of", "below": "above"}
"""One truth has two captions: "A right of B" is "B left of A". Clips and captions are read as the latter."""
CANONICAL = tuple(name for name in attributes.RELATIONS if name not in MIRRORED)

FACTORS: dict[str, tuple[object, ...]] = {
    "object": tuple(attributes.SHAPES),
    "colour": tuple(attributes.COLOURS),
    "size": tuple(attributes.SIZES),
    "count": tuple(attributes.COUNTS),
    "motion": tuple(attributes.MOTIONS),
    "then": tuple(attributes.MOTIONS),
    "related": (False, True),
    "relation": CANONICAL,
    "second_object": tuple(attributes.SHAPES),
    "second_colour": tuple(attributes.COLOURS),
    "background": tuple(attributes.BACKGROUNDS),
    "camera": tuple(attributes.CAMERAS),
    "style": tuple(attributes.STYLES),
}
OF_PAIRS = ("relation", "second_object", "second_colour")
OF_ALIKE = ("size", "count", "motion", "then")
"""Factors that only clips of two related objects have, and those that only the others have."""
FAULTS = ("softness", "grain", "jitter")
"""Faults of clips whose amount the features tell, besides what is shown."""

EMBEDDING = CONTRAST + sum(map(len, FACTORS.values()))
CONTRAST_SHARE = 0.3
"""Share of the cosine that the contrastive half of an embedding has; the rest compares attributes."""

COLOURS = len(attributes.COLOURS)
TRACK = 10 + sum(ANSWERS.values())
NOTHING, SOMETHING = 0.05, 0.3
"""Objects' worth of cells below which a colour's track fades to zero, and above which an object of it is looked at."""
MIDDLING = -1.1
"""Log half-axis of a medium object."""
CHANGE = 8.0
"""A thing that crosses half the frame in a clip moves by a fifteenth of it between frames."""
LAG, REACH = 3, 3
"""Pictures are compared with those LAG frames earlier, moved by up to REACH pixels of half the resolution."""


def prepare(frames: Tensor) -> Tensor:
    """A clip uint8 (T, 3, H, W) as the trunk reads it: (FRAMES, 3, SIZE, SIZE) in [-1, 1].

    Frames are picked evenly (repeated in short clips) and resized to SIZE x SIZE, whatever the aspect.
    """
    index = torch.linspace(0, len(frames) - 1, FRAMES).round().long()
    chosen = frames[index].float() / 127.5 - 1
    if tuple(chosen.shape[-2:]) == (SIZE, SIZE):
        return chosen
    return F.interpolate(chosen, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)


class Passage(nn.Module):
    """A sequence (N, channels, FRAMES) to one vector (N, outside) that still knows what came first."""

    def __init__(self, channels: int, width: int, outside: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2 * channels, width, 3, 1, 1), nn.ReLU(),
            nn.Conv1d(width, width, 3, 2, 1), nn.ReLU(),
            nn.Conv1d(width, width, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(width * FRAMES // 4, outside), nn.LayerNorm(outside),
        )  # fmt: skip
        for layer in self.layers:
            if isinstance(layer, nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """The vectors. What changes between frames is small beside what does not, so it is given enlarged as well."""
        change = F.pad((x[..., 1:] - x[..., :-1]) * CHANGE, (1, 0))
        return self.layers(torch.cat([x, change], 1))  # type: ignore[no-any-return]


class Seen(NamedTuple):
    """Of B clips: `features` (B, FEATURES), and logits over colours for which one is the first and second object."""

    features: Tensor
    roles: Tensor
    """(B, 2, COLOURS)."""


class WorldEncoder(nn.Module):
    """Video trunk with attribute heads and embedding, and the text tower.

    The reader says what every frame shows. Its cells are gathered by colour (two objects that relate never share one),
    one object of each colour is looked at, and what is seen of it in every frame is its track. Tracks and scenes pass
    through convolutions in time that keep the order of events.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.reader = FrameReader()
        self.tracks = Passage(TRACK, 96, 128)
        self.appearance = nn.Sequential(nn.Linear(GLANCE, 128), nn.LayerNorm(128))
        self.colour = nn.Parameter(torch.randn(COLOURS, 128))
        self.role = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 2))
        self.narrow = nn.Linear(SCENE, 48)
        self.moved = nn.Linear(4 * (2 * REACH + 1) ** 2, 32)
        self.scenes = Passage(48 + 32 + 4 + 4 + 1 + len(BLEMISHES), 80, 128)
        self.settled = nn.LayerNorm(SCENE)
        self.feature = nn.Sequential(
            nn.Linear(4 * 128 + SCENE + 2 * COLOURS, 384), nn.ReLU(),
            nn.Linear(384, FEATURES), nn.LayerNorm(FEATURES), nn.SiLU(),
        )  # fmt: skip
        self.heads = nn.ModuleDict(
            {name: nn.Linear(FEATURES, len(values)) for name, values in FACTORS.items()}
        )
        self.faults = nn.Linear(FEATURES, len(FAULTS))
        self.video_embedding = nn.Linear(FEATURES, CONTRAST)
        self.text = TextEncoder(vocabulary, width=96, depth=2, heads=4)
        self.grounding = Grounding(96)
        self.text_embedding = nn.Sequential(nn.Linear(4 * 96, 256), nn.SiLU(), nn.Linear(256, CONTRAST))
        self.temperature = nn.Parameter(torch.tensor(2.5))

    def features(self, clips: Tensor) -> Tensor:
        """Clips (B, FRAMES, 3, SIZE, SIZE) to features (B, FEATURES)."""
        return self.see(clips).features

    def see(self, clips: Tensor) -> Seen:
        """Clips (B, FRAMES, 3, SIZE, SIZE) to `Seen`."""
        count = len(clips)
        frames = clips.flatten(0, 1)
        reading = self.reader(frames)
        tracks, mass, appearance = self._colour_tracks(frames, reading)
        slots = self.tracks(tracks.transpose(1, 2)).view(count, COLOURS, -1)
        slots = slots + self.appearance(appearance) + self.colour
        share = mass / (mass.sum(1, keepdim=True) + NOTHING)
        whole = (share[..., None] * slots).sum(1)
        roles = self.role(torch.cat([slots, whole[:, None].expand_as(slots)], -1)).transpose(1, 2)
        roles = roles + (mass + 1e-3).log()[:, None]
        chosen = roles.softmax(-1)
        first, second = (chosen @ slots).unbind(1)
        scene = reading.scene.view(count, FRAMES, -1)
        moving = self.scenes(self._scene_steps(scene, pattern_shifts(clips)))
        parts = [first, second, whole, moving, self.settled(scene.mean(1)), 3 * chosen.flatten(1)]
        features = self.feature(torch.cat(parts, -1))
        return Seen(features, roles)

    def _colour_tracks(self, frames: Tensor, reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """Tracks (B * COLOURS, FRAMES, TRACK), mean number of objects (B, COLOURS), mean looks (B, COLOURS, GLANCE)."""
        gathered = gather_colours(reading)
        present = gathered.mass > SOMETHING
        row, colour = present.nonzero().unbind(1)
        centre, radii = gathered.centre[row, colour], gathered.radii[row, colour].exp()
        look = self.reader.look(crops_of(frames, row, centre, radii))
        known = torch.cat(
            [
                look.part("shape").softmax(-1), look.part("angle"),
                centre + look.part("shift") * radii, radii.log() + look.part("growth") - MIDDLING,
            ],
            -1,
        )  # fmt: skip
        details = known.new_zeros(*present.shape, known.shape[-1])
        details[row, colour] = known
        features = look.features.new_zeros(*present.shape, GLANCE)
        features[row, colour] = look.features
        clips = len(frames) // FRAMES
        tracks = torch.cat([gathered.facts, details], -1).view(clips, FRAMES, COLOURS, TRACK).transpose(1, 2)
        times = present.view(clips, FRAMES, COLOURS, 1).sum(1).clamp(min=1)
        appearance = features.view(clips, FRAMES, COLOURS, GLANCE).sum(1) / times
        return tracks.flatten(0, 1), gathered.mass.view(clips, FRAMES, COLOURS).mean(1), appearance

    def _scene_steps(self, scene: Tensor, shifts: Tensor) -> Tensor:
        """Sequence (B, channels, FRAMES) of scenes, with the pattern's phase and how far everything moved."""
        looks = self.reader.looks
        phase = looks["phase"](scene)
        cosine, sine = phase[..., :2], phase[..., 2:]
        turned = torch.cat(
            [
                cosine[:, 1:] * cosine[:, :-1] + sine[:, 1:] * sine[:, :-1],
                sine[:, 1:] * cosine[:, :-1] - cosine[:, 1:] * sine[:, :-1],
            ],
            -1,
        )
        turned = F.pad(turned, (0, 0, 1, 0))
        parts = [
            F.relu(self.narrow(scene)), F.relu(self.moved(shifts)),
            phase, turned, looks["zoom"](scene), looks["blemish"](scene),
        ]  # fmt: skip
        return torch.cat(parts, -1).transpose(1, 2)

    def contrast_clips(self, features: Tensor) -> Tensor:
        """Unit vectors (B, CONTRAST) of clips' features, trained by contrast with captions."""
        return F.normalize(self.video_embedding(features), dim=-1)

    def contrast_texts(self, summaries: Tensor) -> Tensor:
        """Unit vectors (B, CONTRAST) of the text tower's summaries."""
        return F.normalize(self.text_embedding(summaries.flatten(1)), dim=-1)

    def embed_features(self, features: Tensor) -> Tensor:
        """Unit vectors (B, EMBEDDING) of clips' features: contrast, and what the attribute heads see."""
        seen = {name: head(features).softmax(-1) for name, head in self.heads.items()}
        pair = seen["related"][:, 1:]
        relevant = dict.fromkeys(OF_PAIRS, pair) | dict.fromkeys(OF_ALIKE, 1 - pair)
        parts = [(part - 1 / part.shape[-1]) * relevant.get(name, 1.0) for name, part in seen.items()]
        return _joined(self.contrast_clips(features), torch.cat(parts, -1))

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Unit vectors (B, EMBEDDING) of captions: contrast, and what the text tower reads as stated."""
        summaries = self.text(tokens)
        said = stated({name: value.softmax(-1) for name, value in self.grounding(summaries).items()})
        parts = [said[name] - said[name].mean(-1, keepdim=True) for name in FACTORS]
        return _joined(self.contrast_texts(summaries), torch.cat(parts, -1))


class Gathered(NamedTuple):
    """What N frames show of each colour."""

    facts: Tensor
    """(N, COLOURS, 10): objects, share of all objects, mean place, spread of the votes, mean place against the middle of
    all objects, mean log half-axes less MIDDLING; zeros where there is nothing of the colour."""
    mass: Tensor
    """Number of objects (N, COLOURS)."""
    centre: Tensor
    """Of one object of the colour (N, COLOURS, 2)."""
    radii: Tensor
    """Its log half-axes (N, COLOURS, 2)."""


def gather_colours(reading: Reading) -> Gathered:
    """Cells gathered by colour.

    Every cell votes for its object's centre and weighs one over the cells that such an object covers, so that weights
    add up to objects. The one object is that of the cell nearest to the centre it votes for.
    """
    ramp = (torch.arange(CELLS, device=reading.cells.device) + 0.5) * 2 / CELLS - 1
    cell = torch.stack(torch.meshgrid(ramp, ramp, indexing="xy")).flatten(1)
    offset, radii = reading.part("offset"), reading.part("radii").clamp(-3.5, 0.7)
    votes = cell + offset
    coloured = reading.part("thing").sigmoid() * reading.part("colour").softmax(1)
    covered = (2 / CELLS) ** 2 / torch.pi * (-radii.sum(1, keepdim=True)).exp()
    weight = coloured * covered
    values = torch.cat([votes, votes.square(), radii], 1)
    mass = weight.sum(-1, keepdim=True)
    here = (mass / NOTHING).clamp(max=1)
    mean = weight @ values.transpose(1, 2) / mass.clamp(min=1e-6)
    every = mass.sum(1, keepdim=True).clamp(min=1e-6)
    middle = (mass * mean[..., :2]).sum(1, keepdim=True) / every
    spread = 4 * (mean[..., 2:4] - mean[..., :2].square()).clamp(0, 1)
    place = [mean[..., :2], spread, mean[..., :2] - middle, mean[..., 4:] - MIDDLING]
    facts = torch.cat([mass, mass / every, here * torch.cat(place, -1)], -1)
    central = coloured * (-offset.square().sum(1, keepdim=True) / (2 / CELLS) ** 2).exp()
    best = central.argmax(-1)[..., None].expand(-1, -1, 2)
    centre, size = (part.transpose(1, 2).gather(1, best) for part in (votes, radii))
    return Gathered(facts, mass[..., 0], centre, size)


def pattern_shifts(clips: Tensor) -> Tensor:
    """Correlations (B, FRAMES, 4 * (2 REACH + 1)^2) of each quarter of a frame with the moved frame LAG before it.

    Brightness at half the resolution, without its local mean, so that patterns count and plain grounds do not. What a
    camera does is where these peak, and whether in all quarters alike. Zero for the first LAG frames.
    """
    count, half = len(clips), SIZE // 2
    gray = F.avg_pool2d(clips.mean(2), 2)
    gray = gray - F.avg_pool2d(gray, 7, 1, 3, count_include_pad=False)
    now, before = gray[:, LAG:], F.pad(gray[:, :-LAG], (REACH, REACH, REACH, REACH))

    def quarters(values: Tensor) -> Tensor:
        return values.reshape(count, FRAMES - LAG, 2, half // 2, 2, half // 2).mean((3, 5)).flatten(2)

    products = [
        quarters(now * before[..., down : down + half, right : right + half])
        for down in range(2 * REACH + 1)
        for right in range(2 * REACH + 1)
    ]
    energy = (quarters(now.square()) + quarters(gray[:, :-LAG].square())) / 2 + 1e-4
    shifts = torch.cat([product / energy for product in products], -1)
    return F.pad(shifts, (0, 0, LAG, 0))


def stated(shares: dict[str, Tensor]) -> dict[str, Tensor]:
    """What captions state about FACTORS (B, values), zero where they leave it open, from the grounding's shares."""
    relation = shares["relation"]
    names = list(attributes.RELATIONS)
    place = {name: 2 + names.index(name) for name in names}
    mirrored = sum(relation[:, place[name]] for name in MIRRORED)[:, None]  # type: ignore[index]
    twin = {kept: name for name, kept in MIRRORED.items()}
    related = relation[:, 2:].sum(-1, keepdim=True)

    def role(name: str, second: bool) -> Tensor:
        mentioned = (shares[name][:, 0, 2:], shares[name][:, 1, 2:])
        return mirrored * mentioned[not second] + (1 - mirrored) * mentioned[second]

    first, then = shares["first"][:, 0], shares["then"][:, 0]
    return {
        "object": role("object", second=False),
        "colour": role("colour", second=False),
        "size": shares["size"][:, 0, 2:],
        "count": shares["count"][:, 2:],
        "motion": first[:, 2:],
        # A caption with one motion says that it is the last one, too.
        "then": then[:, 2:] + then[:, :1] * first[:, 2:],
        "related": torch.cat([relation[:, 1:2], related], -1),
        "relation": torch.stack(
            [
                relation[:, place[name]] + (relation[:, place[twin[name]]] if name in twin else 0)
                for name in CANONICAL
            ],
            -1,
        ),
        "second_object": role("object", second=True) * related,
        "second_colour": role("colour", second=True) * related,
        **{name: shares[name][:, 2:] for name in ("background", "camera", "style")},
    }


def _joined(contrast: Tensor, stated: Tensor) -> Tensor:
    """Both halves of an embedding, each a unit vector, weighed so that the whole is one."""
    return torch.cat(
        [CONTRAST_SHARE**0.5 * contrast, (1 - CONTRAST_SHARE) ** 0.5 * F.normalize(stated, dim=-1)], -1
    )


def embed_texts(model: WorldEncoder, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Unit vectors (B, EMBEDDING); weights in prompts are ignored."""
    plain = [" ".join(part for part, _ in split_weights(text)) for text in texts]
    return torch.cat([model.embed_tokens(tokenizer([text])) for text in plain])


def load_encoder(folder: Path = FOLDER) -> tuple[WorldEncoder, Tokenizer]:
    """The shipped encoder after its digest has been checked, and its tokenizer."""
    path = folder / "model.safetensors"
    expected = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"][
        "model.safetensors"
    ]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path}: sha256 {found} is not {expected} of manifest.json; install the package again"
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    model = WorldEncoder(len(tokenizer.words))
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()
    }
    model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False), tokenizer
