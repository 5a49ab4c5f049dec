"""Why a clip scored badly: the worst stretch of a metric's series, and a sentence about it in plain words.

Works with any metric: a series has the direction of its metric's value and one value per frame or transition.
What the sentence says about the picture comes from `ClipFacts`, measured on the scored pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.report.numbers import decimals_for, format_number, times

if TYPE_CHECKING:
    from evalkit.report.facts import ClipFacts
    from evalkit.report.summary import MetricSummary
    from evalkit.runs.manifest import MetricRecord

__all__ = ["Evidence", "Window", "explain", "worst_window"]

# A value belongs to the window when it lies this far from what is typical towards the clip's worst value.
# A third keeps the flanks of an event, and Kadane's sum bridges the calm transitions inside a flicker.
_THRESHOLD = 1 / 3

# Below these a change is not worth a sentence: people notice about 3% of brightness.
_VISIBLE_JUMP = 0.03
_STILL = 5e-4
_CUT_CHANGE = 0.08
_CUT_RATIO = 6.0
_SOFT = 0.7


@dataclass(frozen=True)
class Window:
    """The worst stretch of a clip under one metric.

    Attributes:
        first: first frame, 0-based.
        last: last frame, inclusive.
        peak: index of the worst value in the series; a transition t lies between frames t and t + 1.
        peak_value: that value.
        typical: the value that is usual in the run, or in this clip where the clip is no worse than usual.
        occurrences: separate stretches as bad as the threshold, over the whole clip.
        whole: the stretch is (nearly) the whole clip.
    """

    first: int
    last: int
    peak: int
    peak_value: float
    typical: float
    occurrences: int
    whole: bool


@dataclass(frozen=True)
class Evidence:
    """A window, the sentence, and the frames to look at (before and at the worst moment)."""

    window: Window | None
    sentence: str
    frames: tuple[int, ...]


def worst_window(
    values: ArrayLike,
    kind: Literal["frame", "transition"],
    *,
    lower_is_better: bool,
    typical: float | None = None,
) -> Window | None:
    """Find where a series is worst: the stretch with the largest sum above a threshold (Kadane).

    Args:
        values: `(n,)` series, in the direction of the metric's value.
        kind: what one value belongs to.
        lower_is_better: direction of the metric.
        typical: usual value of this metric's series over the run. With it, a clip that is bad throughout is
            marked throughout; without it only departures from the clip's own median are.

    Returns:
        None for a series that is empty or says nothing (constant, and no worse than usual).
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size == 0 or not np.isfinite(series).all():
        return None
    badness = series if lower_is_better else -series
    usual = float(np.median(badness))
    if typical is not None:
        usual = min(usual, typical if lower_is_better else -typical)
    peak = int(badness.argmax())
    reach = float(badness[peak]) - usual
    if reach <= 1e-12 * max(1.0, abs(usual)):
        return None
    excess = badness - (usual + _THRESHOLD * reach)
    first, last = _densest(excess)
    above = excess > 0
    occurrences = int(np.count_nonzero(above[1:] & ~above[:-1]) + above[0])
    end = last + 1 if kind == "transition" else last
    return Window(
        first=first,
        last=end,
        peak=peak,
        peak_value=float(series[peak]),
        typical=usual if lower_is_better else -usual,
        occurrences=occurrences,
        whole=last - first + 1 >= 0.9 * series.size,
    )


def _densest(excess: NDArray[np.float64]) -> tuple[int, int]:
    best, best_span, total, start = -np.inf, (0, 0), 0.0, 0
    for index, value in enumerate(excess):
        if total <= 0:
            total, start = 0.0, index
        total += value
        if total > best:
            best, best_span = total, (start, index)
    return best_span


def explain(
    metric: MetricSummary,
    value: float,
    percentile: float,
    window: Window | None,
    kind: str,
    facts: ClipFacts | None,
) -> Evidence:
    """Say in plain words what is wrong with a clip.

    Args:
        metric: the metric, summarised over the run.
        value: the clip's score.
        percentile: share of the run's clips that this clip is better than, in percent.
        window: from `worst_window`.
        kind: `frame`, `transition` or `none`.
        facts: what was measured on the pixels; None when the clip could not be read.
    """
    record, parts = metric.record, []
    if window is not None and facts is not None and (seen := observe(facts, window, record)):
        parts.append(seen)
    unit = f" {record.unit}" if record.unit else ""
    if window is not None:
        where = "throughout the clip" if window.whole else _where(window, kind)
        digits = decimals_for(0.0, abs(window.peak_value - window.typical))
        parts.append(
            f"{record.title}: worst {where}, {format_number(window.peak_value, digits)}{unit} "
            f"against a usual {format_number(window.typical, digits)}"
        )
    score = f"{record.title} of {format_number(value, metric.clip_decimals)}{unit}"
    if window is not None:
        score = f"The clip's score of {format_number(value, metric.clip_decimals)}{unit}"
    parts.append(f"{score} is {_rank(percentile)}")
    return Evidence(
        window, ". ".join(part[:1].upper() + part[1:] for part in parts) + ".", _frames(window, kind)
    )


def _rank(percentile: float) -> str:
    if percentile <= 0:
        return "the worst of this run"
    if percentile >= 100:
        return "the best of this run"
    if percentile <= 50:
        return f"worse than {min(99, round(100 - percentile))}% of this run's clips"
    return f"better than {min(99, round(percentile))}% of this run's clips"


def _where(window: Window, kind: str) -> str:
    if kind == "transition":
        return f"between frames {window.peak} and {window.peak + 1}"
    return f"at frame {window.peak}"


def _frames(window: Window | None, kind: str) -> tuple[int, ...]:
    if window is None:
        return ()
    return (window.peak, window.peak + 1) if kind == "transition" else (window.peak,)


def observe(facts: ClipFacts, window: Window, record: MetricRecord) -> str | None:
    """The most telling thing about the picture within the window, or None when nothing stands out.

    Only for metrics of time and picture: a jump of brightness says nothing about why a prompt was missed.
    Brightness comes first, then a jump of the whole picture, stillness and lost detail; a metric about blur
    or freezing asks for its own defect first.
    """
    about = f"{record.id} {record.leaf}"
    if not any(word in about for word in ("temporal", "visual", "motion", "identity", "scene")):
        return None
    observers = [_brightness, _jump, _still, _soft]
    for words, observer in (
        (("blur", "sharp", "pixel"), _soft),
        (("froz", "freeze", "dynamic", "duplicate"), _still),
        (("cut", "transition", "consistency", "identity"), _jump),
    ):
        if any(word in about for word in words):
            observers.remove(observer)
            observers.insert(0, observer)
    seen = (observer(facts, window.first, window.last) for observer in observers)
    return next((sentence for sentence in seen if sentence), None)


def _brightness(facts: ClipFacts, first: int, last: int) -> str | None:
    levels = np.asarray(facts.brightness)
    if last <= first:
        return None
    # Relative to the frame before; near black a tiny change would else be an enormous percentage.
    jumps = np.diff(levels) / np.maximum(levels[:-1], 0.1)
    inside = np.abs(jumps[first:last])
    at = first + int(inside.argmax())
    size = abs(float(jumps[at]))
    # A fade moves as far as a jump does, but evenly: a jump stands out from the clip's own changes, and a
    # flicker turns back.
    stands_out = size >= 3 * float(np.median(np.abs(jumps)))
    if size < _VISIBLE_JUMP or not (stands_out or _alternates(jumps[first:last])):
        return None
    count = int(np.count_nonzero(np.abs(jumps) >= max(_VISIBLE_JUMP, size / 2)))
    verb = "jumps" if jumps[at] > 0 else "drops"
    amount = f"by {size:.0%}" if size < 1 else f"to {1 + size:.1f} times what it was"
    often = f", {times(count)} in the clip" if count > 1 else ""
    return f"brightness {verb} {amount} between frames {at} and {at + 1}{often}"


def _alternates(jumps: NDArray[np.float64]) -> bool:
    signs = np.sign(jumps[np.abs(jumps) >= _VISIBLE_JUMP / 2])
    return signs.size >= 2 and bool((signs[1:] != signs[:-1]).mean() >= 0.5)


def _jump(facts: ClipFacts, first: int, last: int) -> str | None:
    change = np.asarray(facts.change)
    inside = change[first:last]
    if inside.size == 0:
        return None
    at = first + int(inside.argmax())
    usual = float(np.median(change))
    if change[at] < _CUT_CHANGE or change[at] < _CUT_RATIO * usual:
        return None
    return f"the whole picture changes at once between frames {at} and {at + 1}"


def _still(facts: ClipFacts, first: int, last: int) -> str | None:
    still = np.asarray(facts.change) < _STILL
    if still.size and still.all():
        return "nothing moves in the whole clip"
    start, length = _longest(still)
    if length < 2 or start > last or start + length < first:
        return None
    return f"frames {start} to {start + length} are the same picture"


def _soft(facts: ClipFacts, first: int, last: int) -> str | None:
    detail = np.asarray(facts.detail)
    usual = float(np.median(detail))
    part = detail[first : last + 1]
    if usual <= 0 or part.size == 0 or float(part.min()) >= _SOFT * usual:
        return None
    at = first + int(part.argmin())
    return (
        f"fine detail falls to {float(part.min()) / usual:.0%} of what this clip has elsewhere, at frame {at}"
    )


def _longest(flags: Sequence[bool] | NDArray[np.bool_]) -> tuple[int, int]:
    best_start, best, start, length = 0, 0, 0, 0
    for index, flag in enumerate(flags):
        if not flag:
            length = 0
            continue
        if length == 0:
            start = index
        length += 1
        if length > best:
            best_start, best = start, length
    return best_start, best
