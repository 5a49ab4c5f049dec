"""Numbers as people read them: as many digits as the interval justifies, and no more."""

from __future__ import annotations

import math
from datetime import datetime

__all__ = [
    "decimals_for",
    "format_bytes",
    "format_count",
    "format_interval",
    "format_number",
    "format_p",
    "format_seconds",
    "format_signed",
    "format_time",
    "round_significant",
    "times",
]

_MINUS = "\N{MINUS SIGN}"
_WORDS = ("never", "once", "twice", "three times", "four times", "five times", "six times")
_MAX_DECIMALS = 8


def decimals_for(value: float, half_width: float | None = None) -> int:
    """Decimals to print: two significant digits of the half-width, else four of the value.

    >>> decimals_for(0.97123, 0.0031), decimals_for(151.256), decimals_for(1234.5, 80)
    (4, 1, 0)
    """
    if half_width is not None and math.isfinite(half_width) and half_width > 0:
        needed = 1 - math.floor(math.log10(half_width))
    elif value and math.isfinite(value):
        needed = 3 - math.floor(math.log10(abs(value)))
    else:
        needed = 2
    return min(_MAX_DECIMALS, max(0, needed))


def format_number(value: float | None, decimals: int | None = None) -> str:
    """One number with a true minus sign; an en dash where there is none.

    >>> format_number(-0.12345), format_number(None), format_number(12345.678, 0)
    ('−0.1235', '–', '12,346')
    """
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    if decimals is None:
        if value and abs(value) < 1e-4:
            return f"{value:.2e}".replace("-", _MINUS)
        decimals = decimals_for(value)
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def format_signed(value: float | None, decimals: int | None = None) -> str:
    """A change: the sign is always shown, except of what rounds to zero.

    >>> format_signed(0.034, 2), format_signed(-0.034, 2), format_signed(0.001, 2)
    ('+0.03', '−0.03', '0.00')
    """
    text = format_number(value, decimals)
    positive = value is not None and value > 0 and any(digit in "123456789" for digit in text)
    return f"+{text}" if positive else text


def format_interval(low: float, high: float, decimals: int) -> str:
    """An interval in brackets; an open end is an infinity sign.

    >>> format_interval(0.96812, 0.97436, 4), format_interval(-math.inf, math.inf, 2)
    ('[0.9681, 0.9744]', '[−∞, ∞]')
    """
    ends = [
        ("∞" if end > 0 else f"{_MINUS}∞") if math.isinf(end) else format_number(end, decimals)
        for end in (low, high)
    ]
    return f"[{ends[0]}, {ends[1]}]"


def format_count(count: int) -> str:
    """Thousands with commas."""
    return f"{count:,}"


def format_p(p_value: float) -> str:
    """A p-value, never shown as zero.

    >>> format_p(0.0123), format_p(0.0002), format_p(0.5)
    ('0.012', '< 0.001', '0.50')
    """
    if p_value < 0.001:
        return "< 0.001"
    return f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def format_seconds(seconds: float | None) -> str:
    """A duration in the unit that suits it.

    >>> format_seconds(0.0123), format_seconds(75), format_seconds(7322)
    ('12 ms', '1 min 15 s', '2 h 02 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return "\N{EN DASH}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_bytes(count: float | None) -> str:
    """Bytes in binary units.

    >>> format_bytes(1536), format_bytes(3 << 30)
    ('1.5 KiB', '3.0 GiB')
    """
    if count is None or not math.isfinite(count):
        return "\N{EN DASH}"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_time(stamp: str | None) -> str:
    """An ISO time as `2026-01-01 00:00 UTC`; text that is no time comes back as it is."""
    if not stamp:
        return "\N{EN DASH}"
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    return moment.strftime("%Y-%m-%d %H:%M") + (f" {moment.tzname()}" if moment.tzinfo else "")


def times(count: int) -> str:
    """A number of occurrences as a word.

    >>> times(1), times(3), times(12)
    ('once', 'three times', '12 times')
    """
    return _WORDS[count] if 0 <= count < len(_WORDS) else f"{count} times"


def round_significant(value: float, digits: int = 4) -> float:
    """Round for a data file: four digits draw the same picture in half the bytes."""
    return float(f"{value:.{digits}g}")
