"""What people look at: the run report, the gallery, the compare page, tables and figures.

    render_report        RUN/report: index.html, report.md, tables/, figures/
    render_gallery       RUN/gallery: clips to look at, worst first, with a random control sample
    render_comparison    one page for a `Comparison`
    write_tables         Markdown, CSV, LaTeX and Parquet
    write_figures        the same plots as SVG, PNG or PDF, for papers

Everything is rendered from a run folder's tables and clips alone: no metric, model or network is loaded, and
what comes out are static folders that open from `file://` without a network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.report.compare_page import render_comparison
    from evalkit.report.gallery import ReportedFailure, render_gallery
    from evalkit.report.plots import write_figures
    from evalkit.report.run_report import render_report
    from evalkit.report.tables import write_tables

_HOMES = {
    "ReportedFailure": "gallery",
    "render_comparison": "compare_page",
    "render_gallery": "gallery",
    "render_report": "run_report",
    "write_figures": "plots",
    "write_tables": "tables",
}

__all__ = [
    "ReportedFailure",
    "render_comparison",
    "render_gallery",
    "render_report",
    "write_figures",
    "write_tables",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
