"""Verdicts in words, for people who do not read p-values."""

from __future__ import annotations

import math

from evalkit.compare.types import Word
from evalkit.stats.intervals import Interval
from evalkit.stats.margins import Verdict, judge_non_inferiority

__all__ = ["choose_word", "explain", "number", "signed"]


def number(value: float | None) -> str:
    """Three significant digits, no exponent for everyday sizes; a dash for nothing."""
    if value is None:
        return "–"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}".replace("-", "−")
    return f"{value:.2e}".replace("-", "−")


def signed(value: float | None) -> str:
    """`number` with its sign always shown."""
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def choose_word(effect: Interval, p_adjusted: float, margin: float | None, alpha: float) -> Word:
    """Pick the verdict of one row.

    Args:
        effect: oriented effect.
        p_adjusted: two-sided, corrected for the number of rows.
        margin: largest acceptable drop, or None.
        alpha: error level.
    """
    clear = p_adjusted <= alpha
    if clear and effect.estimate > 0:
        return Word.BETTER
    if margin is None:
        return Word.WORSE if clear else Word.NO_CLEAR_CHANGE
    passed = judge_non_inferiority(effect, margin, alpha) is Verdict.PASS
    if clear:
        return Word.SLIGHTLY_WORSE if passed else Word.WORSE
    return Word.NO_WORSE if passed else Word.TOO_FEW


def explain(
    word: Word,
    title: str,
    unit: str,
    effect: Interval,
    means: tuple[float, float],
    margin: float | None,
    smallest: float | None,
    more_prompts: int | None,
    alpha: float,
) -> str:
    """One sentence that says what happened, by how much, and how sure that is."""
    suffix = f" {unit}" if unit else ""
    level = f"{100 * (1 - alpha):g}%"
    size = f"{number(abs(effect.estimate))}{suffix}"
    if not math.isfinite(effect.standard_error):
        return f"{title} moved by {signed(effect.estimate)}{suffix} on a single prompt, which cannot tell chance apart."
    span = f"{level} interval {signed(effect.low)} to {signed(effect.high)}"
    course = f"from {number(means[0])} to {number(means[1])}"
    allowed = f"{number(margin)}{suffix}"
    match word:
        case Word.BETTER:
            return f"{title} improved by {size} ({span}), {course}."
        case Word.WORSE:
            return f"{title} got worse by {size} ({span}), {course}."
        case Word.SLIGHTLY_WORSE:
            return f"{title} got worse by {size} ({span}), which stays within the margin of {allowed}."
        case Word.NO_WORSE:
            return f"{title} changed by {signed(effect.estimate)}{suffix}; a drop beyond the margin of {allowed} is ruled out."
        case Word.TOO_FEW:
            more = (
                f"about {more_prompts} more prompts would settle it"
                if more_prompts
                else "only more data can settle it"
            )
            return (
                f"{title} changed by {signed(effect.estimate)}{suffix} ({span}); a drop beyond the margin of {allowed} "
                f"is not ruled out, {more}."
            )
        case _:
            seen = (
                f"; a change of {number(smallest)}{suffix} would most likely have been noticed"
                if smallest
                else ""
            )
            return f"No clear change in {title} ({signed(effect.estimate)}{suffix}, {span}){seen}."
