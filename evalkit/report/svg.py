"""SVG for pages: matplotlib figures that follow the page's theme, and sparklines.

A page's content security policy forbids style attributes, and colours must follow light and dark. So styles
become presentation attributes, and the print colours become the page's own variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evalkit.report.evidence import Window

__all__ = [
    "ACCENT",
    "BAD",
    "GOOD",
    "INK",
    "LINE",
    "MUTED",
    "SERIES",
    "figure_bytes",
    "inline_svg",
    "sparkline",
]

INK, MUTED, LINE = "#15191e", "#59616b", "#d9dde2"
ACCENT, GOOD, BAD = "#0b5cad", "#00694f", "#b54708"
# Okabe and Ito's palette, for lines; always together with a dash or a marker, never for text.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_VARIABLES = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    "#7f8790": "var(--muted)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, start=1)},
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_FONT = re.compile(r"(?:(\d+|bold)\s+)?([\d.]+)px\s+(.*)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def figure_bytes(figure: Figure, file_format: str) -> bytes:
    """A figure as `svg`, `png` or `pdf`; the same figure always gives the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[file_format]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evalkit", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=file_format, dpi=200, metadata=metadata, transparent=True)
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """A figure drawn with the colours of this module as an inline `<svg>`, see `themed`."""
    return themed(figure_bytes(figure, "svg").decode(), name, label)


def themed(text: str, name: str, label: str, *, omit: str = "") -> Markup:
    """SVG text as an inline `<svg>` that takes the page's colours and font.

    Args:
        text: from matplotlib.
        name: prefix for the ids inside, unique on the page.
        label: what the figure shows, for screen readers.
        omit: a text inside that the page says already, such as the figure's title.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            said = bool(omit) and child.tag == f"{{{_SVG}}}text" and child.text == omit
            if said or child.tag.rpartition("}")[2] in ("metadata", "style", "title"):
                parent.remove(child)
    referenced = _references(root)
    for element in root.iter():
        _style_to_attributes(element)
        _prefix_ids(element, name, referenced)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("class", "plot")
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _references(root: ElementTree.Element) -> set[str]:
    found: set[str] = set()
    for element in root.iter():
        for value in element.attrib.values():
            found.update(_REFERENCE.findall(value))
            if value.startswith("#"):
                found.add(value[1:])
    return found


def _prefix_ids(element: ElementTree.Element, name: str, referenced: set[str]) -> None:
    identifier = element.attrib.pop("id", None)
    if identifier in referenced:
        element.set("id", f"{name}-{identifier}")
    for key, value in list(element.attrib.items()):
        if "url(#" in value:
            element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
        elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")


def _style_to_attributes(element: ElementTree.Element) -> None:
    for declaration in element.attrib.pop("style", "").split(";"):
        key, colon, value = (part.strip() for part in declaration.partition(":"))
        if not colon:
            continue
        if key == "font":
            match = _FONT.match(value)
            if match:
                element.set("font-size", match[2])
                if match[1]:
                    element.set("font-weight", match[1])
        elif key not in ("font-family", "font-style", "font-variant", "font-stretch"):
            element.set(key, value)
    for key in ("fill", "stroke", "stop-color"):
        if key in element.attrib:
            colour = element.attrib[key].lower()
            element.set(key, _VARIABLES.get(colour, element.attrib[key]))


def sparkline(
    values: Sequence[float],
    *,
    window: Window | None = None,
    transition: bool = True,
    width: int = 160,
    height: int = 28,
    label: str = "",
) -> Markup:
    """A series as a small line with its worst stretch shaded; empty for fewer than two values."""
    if len(values) < 2:
        return Markup()
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = width / (len(values) - 1)

    def y(value: float) -> float:
        return height - 3 - (value - low) / span * (height - 6)

    points = " ".join(f"{index * step:.1f},{y(value):.1f}" for index, value in enumerate(values))
    shade = Markup()
    if window is not None:
        last = min(len(values) - 1, window.last - 1 if transition else window.last)
        left, right = max(0.0, (window.first - 0.5) * step), min(float(width), (last + 0.5) * step)
        shade = Markup('<rect class="spark-window" x="{:.1f}" y="0" width="{:.1f}" height="{}"/>').format(
            left, max(2.0, right - left), height
        )
        shade += Markup('<line class="spark-peak" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(
            window.peak * step, height
        )
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '{}<polyline class="spark-line" points="{}"/></svg>'
    ).format(width, height, label, shade, points)


def interval_glyph(
    estimate: float, low: float | None, high: float | None, margin: float | None, *, limit: float, tone: str
) -> Markup:
    """One line of a forest plot: estimate and interval around zero, with the band of the margin.

    Args:
        estimate: oriented change, positive is better, in the unit of `limit`.
        low: lower end of the interval; None where it is unbounded.
        high: upper end.
        margin: largest acceptable drop, or None.
        limit: the axis runs from -limit to limit; an interval that leaves it ends in an arrow.
        tone: `good`, `bad` or `plain`.
    """
    width, height = 190.0, 22.0

    def x(value: float) -> float:
        return width / 2 + max(-1.0, min(1.0, value / limit)) * (width / 2 - 6)

    parts = [
        Markup('<line class="forest-zero" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(width / 2, height)
    ]
    if margin is not None:
        left = x(-margin)
        parts.insert(
            0,
            Markup('<rect class="forest-margin" x="{:.1f}" y="0" width="{:.1f}" height="{}"/>').format(
                left, width / 2 - left, height
            ),
        )
    ends = (-limit if low is None else low, limit if high is None else high)
    parts.append(
        Markup('<line class="forest-line {0}" x1="{1:.1f}" x2="{2:.1f}" y1="{3}" y2="{3}"/>').format(
            tone, x(ends[0]), x(ends[1]), height / 2
        )
    )
    for end, beyond in ((ends[0], ends[0] < -limit), (ends[1], ends[1] > limit)):
        if beyond:
            tip, step = x(end), 5 if end < 0 else -5
            parts.append(
                Markup('<path class="forest-line {}" d="M{:.1f} {} L{:.1f} {} L{:.1f} {}"/>').format(
                    tone, tip + step, height / 2 - 4, tip, height / 2, tip + step, height / 2 + 4
                )
            )
    middle = x(estimate)
    shape = {
        "good": f"M{middle:.1f} 6 l5 9 h-10 z",
        "bad": f"M{middle:.1f} 16 l5 -9 h-10 z",
    }.get(tone, f"M{middle:.1f} 6.5 l4.5 4.5 l-4.5 4.5 l-4.5 -4.5 z")
    parts.append(Markup('<path class="forest-mark {}" d="{}"/>').format(tone, shape))
    return Markup('<svg class="forest" viewBox="0 0 {:g} {:g}" aria-hidden="true">{}</svg>').format(
        width, height, Markup().join(parts)
    )
