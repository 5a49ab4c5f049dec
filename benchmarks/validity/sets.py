"""Do distances between sets of clips grow with what is wrong with one of the sets?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import spearmanr

from benchmarks.validity.scoring import Scorer
from evalkit.errors import NotApplicable
from evalkit.metrics.registry import load_metric
from evalkit.metrics.spec import SetMetric
from evalkit.testing.defects import BENIGN, DEFECTS, STRENGTHS
from evalkit.video import Video

__all__ = ["COLLAPSE", "OWN_SET_METRIC", "SCRAMBLE", "SetResponse", "scrambled", "set_responses", "spoilt"]

# What can be wrong with a set, at strengths that are shares of its clips: they are all the same one, or show no things.
COLLAPSE, SCRAMBLE = "collapse", "scramble"
# The remaining defects are those of clips, which every clip of the set has.
OWN_SET_METRIC: Mapping[str, str] = {
    "set.fvd": COLLAPSE,
    "set.fvd_infinity": COLLAPSE,
    "set.kvd": COLLAPSE,
    "set.jedi": COLLAPSE,
    "set.frechet": COLLAPSE,
    "set.recall": COLLAPSE,
    "set.coverage": COLLAPSE,
    "set.diversity": COLLAPSE,
    "set.precision": SCRAMBLE,
    "set.density": SCRAMBLE,
    "set.fvmd": "jitter",
}
# Parts of the clips that are left out in turn for the interval.
_GROUPS = 10


@dataclass(frozen=True)
class SetResponse:
    """What one set metric does as a set of clips gets worse.

    Args:
        values: of the clean set and of the set at every one of `STRENGTHS`.
        harmless: of the clean set, re-encoded at crf 18.
        floor: what two halves of the reference give, or None.
        monotone: Spearman of strength and value, positive when the metric gets worse.
        interval: least and largest `monotone` with a tenth of the clips left out.
        clips: on each side.
    """

    metric: str
    defect: str
    values: tuple[float, ...]
    harmless: float
    floor: float | None
    monotone: float
    interval: tuple[float, float]
    clips: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {"values": list(self.values), "interval": list(self.interval)}


def spoilt(rows: torch.Tensor, bad: torch.Tensor, strength: float) -> torch.Tensor:
    """Rows of which a share, from the first on, has become the bad ones.

    Example:
        >>> spoilt(torch.arange(4.0)[:, None], torch.full((4, 1), 9.0), 0.5).flatten().tolist()
        [9.0, 9.0, 2.0, 3.0]
    """
    out, count = rows.clone(), round(strength * len(rows))
    out[:count] = bad[:count]
    return out


def scrambled(video: Video, seed: int) -> Video:
    """The clip cut into 8 x 8 tiles that lie in another order, the same in every frame: its colours without its things.

    Args:
        video: its height and width are multiples of 8.
        seed: decides the order.
    """
    count, channels, height, width = video.frames.shape
    tiles = video.frames.reshape(count, channels, 8, height // 8, 8, width // 8).permute(0, 2, 4, 1, 3, 5)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    mixed = tiles.reshape(count, 64, channels, height // 8, width // 8)[:, order].reshape(tiles.shape)
    return Video(mixed.permute(0, 3, 1, 4, 2, 5).reshape(video.frames.shape).contiguous(), video.fps)


def set_responses(
    reference: Mapping[str, Video],
    clips: Mapping[str, Video],
    scorer: Scorer,
    metrics: Sequence[str] = tuple(OWN_SET_METRIC),
) -> Iterator[SetResponse]:
    """Spoil every clip of a set, at every strength, and measure its distance from the reference.

    Args:
        reference: clips without defect.
        clips: clips without defect of the same prompts, other than those.
        scorer: computes features.
        metrics: set metrics to measure.
    """
    for defect in dict.fromkeys(OWN_SET_METRIC[name] for name in metrics):
        names = [name for name in metrics if OWN_SET_METRIC[name] == defect]
        base = scorer.vectors(reference.values(), names)
        clean = scorer.vectors(clips.values(), names)
        again = scorer.vectors([BENIGN["reencode_crf18"](clip) for clip in clips.values()], names)
        if defect in (COLLAPSE, SCRAMBLE):
            bad = (
                {name: rows[:1].expand_as(rows) for name, rows in clean.items()}
                if defect == COLLAPSE
                else scorer.vectors([scrambled(clip, i) for i, clip in enumerate(clips.values())], names)
            )
            levels = [
                {name: spoilt(clean[name], bad[name], strength) for name in names} for strength in STRENGTHS
            ]
        else:
            levels = [
                scorer.vectors(
                    [DEFECTS[defect](clip, strength, seed=i).video for i, clip in enumerate(clips.values())],
                    names,
                )
                for strength in STRENGTHS
            ]
        for name in names:
            sides = [clean[name], *(level[name] for level in levels)]
            yield _respond(name, defect, base[name], sides, again[name])


def _respond(
    name: str, defect: str, base: torch.Tensor, sides: Sequence[torch.Tensor], again: torch.Tensor
) -> SetResponse:
    metric = load_metric(name)
    sign = 1 if metric.spec.direction == "lower" else -1

    def course(keep: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
        return [_value(metric, keep(side), keep(base)) for side in sides]  # type: ignore[arg-type]

    def monotone(values: Sequence[float]) -> float:
        flat = max(values) == min(values)
        return 0.0 if flat else float(sign * spearmanr([0, *STRENGTHS], values).statistic)

    values = course(lambda rows: rows)
    groups = torch.arange(len(base)) % _GROUPS
    drawn = [monotone(course(lambda rows, group=group: rows[groups != group])) for group in range(_GROUPS)]  # type: ignore[misc]
    return SetResponse(
        name,
        defect,
        tuple(values),
        _value(metric, again, base),  # type: ignore[arg-type]
        metric.score(base, base, seed=0).noise_floor,  # type: ignore[union-attr, call-arg, arg-type]
        monotone(values),
        (min(drawn), max(drawn)),
        len(base),
    )


def _value(metric: SetMetric, generated: torch.Tensor, reference: torch.Tensor) -> float:
    result = metric.score(generated, reference, seed=0)
    if result.value is None:
        raise NotApplicable(f"{metric.spec.id} gave no value")
    return float(result.value)
