"""The runs below one folder, by id; no name from outside becomes a path."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import RunError
from evalkit.failures.drafts import inside_run
from evalkit.server.flashes import hazard, known_hazards

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evalkit.runs.store import Run

__all__ = ["Library"]

_DEPTH = 3


class Library:
    """Runs by `run_id`, read again when a manifest has changed.

    Args:
        folder: searched for `manifest.json`, up to three levels down. Where two folders hold the same run, the one
            that finished last counts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: dict[Path, tuple[int, Run]] = {}
        self._clips: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def runs(self) -> dict[str, Run]:
        """Every readable run, the newest first."""
        from evalkit.runs.store import open_run

        with self._lock:
            found: dict[Path, tuple[int, Run]] = {}
            for path in self._manifests():
                stamp = path.stat().st_mtime_ns
                known = self._opened.get(path)
                if known is not None and known[0] == stamp:
                    found[path] = known
                    continue
                try:
                    run = open_run(path.parent)
                except RunError:
                    continue  # somebody else's manifest.json, or a damaged one: no reason to fail for all others
                found[path] = (stamp, run)
                self._clips.pop(run.manifest.run_id, None)
            self._opened = found
            order = sorted((run for _, run in found.values()), key=lambda run: run.manifest.created)
            return {run.manifest.run_id: run for run in reversed(order)}

    def run(self, run_id: str) -> Run | None:
        """One run."""
        return self.runs().get(run_id)

    def clips(self, run: Run) -> Mapping[str, dict[str, Any]]:
        """Rows of the generations table that have a clip, by clip id."""
        from evalkit.failures.drafts import plain

        with self._lock:
            known = self._clips.get(run.manifest.run_id)
        if known is None:
            known = {}
            for row in run.generations.to_dict("records"):
                values = {str(name): plain(value) for name, value in row.items()}
                if values["clip_id"]:
                    known.setdefault(values["clip_id"], values)
            with self._lock:
                self._clips[run.manifest.run_id] = known
        return known

    def media(self, run: Run, clip_id: str, kind: str) -> Path | None:
        """Preview or poster of a clip, if the run has it and it lies inside the run's folder."""
        row = self.clips(run).get(clip_id)
        path: Path | None = inside_run(run, row[kind]) if row is not None else None
        return path

    def hazard(self, run: Run, clip_id: str) -> int:
        """Flashes within one second of a clip that must stay covered; 0 where it may be shown."""
        known = known_hazards(run).get(clip_id)
        return hazard(self.media(run, clip_id, "preview")) if known is None else known

    def _manifests(self) -> list[Path]:
        found: list[Path] = []
        for depth in range(_DEPTH + 1):
            found += self.folder.glob("/".join(["*"] * depth + ["manifest.json"]))
        return sorted(found)
