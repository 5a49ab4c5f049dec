"""The folder that `evalkit compare` writes: tables, Markdown, figures, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from evalkit.compare.figures import forest_plot, prompt_scatter, small_multiples
from evalkit.compare.render import to_markdown
from evalkit.compare.types import Comparison
from evalkit.runs.files import atomic_path, write_json, write_text

__all__ = ["safe_name", "write_comparison"]


def safe_name(text: str) -> str:
    """A file name from a label: letters, digits, dot, dash and underscore; never a path."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip(".-")
    return name[:80] or "run"


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write a comparison.

    Args:
        comparison: what to write.
        folder: created where needed; files of an earlier comparison are replaced.

    Returns:
        The files: `comparison.json`, `comparison.md`, `tables/*.csv` and `*.parquet`, `figures/*.svg`.
    """
    files = [folder / "comparison.json", folder / "comparison.md"]
    write_json(files[0], json.loads(json.dumps(comparison.to_dict(), allow_nan=False)))
    write_text(files[1], to_markdown(comparison))
    for name, table in comparison.to_tables().items():
        for suffix in ("csv", "parquet"):
            path = folder / "tables" / f"{name}.{suffix}"
            with atomic_path(path) as temporary:
                if suffix == "csv":
                    _spreadsheet_safe(table).to_csv(temporary, index=False)
                else:
                    table.to_parquet(temporary, index=False)
            files.append(path)
    figures = {"forest": forest_plot(comparison)}
    if len(comparison.candidates) > 1:
        figures["small-multiples"] = small_multiples(comparison)
    for row in comparison.effects:
        if row.effect is not None:
            name = f"prompts-{safe_name(row.metric_id)}"
            if len(comparison.candidates) > 1:
                name += f"-{safe_name(row.candidate)}"
            figures[name] = prompt_scatter(comparison, row.metric_id, row.candidate)
    for name, svg in figures.items():
        path = folder / "figures" / f"{name}.svg"
        write_text(path, svg)
        files.append(path)
    return files


def _spreadsheet_safe(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets a leading apostrophe (CSV injection)."""

    def inert(value: object) -> object:
        return (
            f"'{value}"
            if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
            else value
        )

    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].map(inert) for name in texts})
