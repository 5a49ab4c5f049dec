"""`replay`: the clips of an earlier run, exactly as they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError, VideoError
from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.suites.prompt import FrozenMapping

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["ReplayModel"]

_COLUMNS = ["prompt_id", "group", "sample_index", "seed", "clip_id", "path", "status", "error", "params"]


class ReplayModel:
    """The clips of an earlier run, handed out as if they had just been made.

    A clip is given only for the prompt and the seed that it was made with, and only while its pixels are what the run
    recorded; everything else is a failure that says so. Failures of the run are failures here.

    Args:
        run: run folder.
        group: whose clips to take, where the run scored several models.
        revision: what people call this model; the run's own where left out.
    """

    def __init__(self, *, run: str, group: str = "", revision: str | None = None) -> None:
        self.run = Path(run)
        self.group = group
        self.revision = revision
        self._ignored: set[str] = set()

    @cached_property
    def info(self) -> ModelInfo:
        """Identity: the model of the run, and the ids of its clips."""
        model = self._manifest.get("model") or {}
        clips = sorted(f"{key[0]}\n{key[1]}\n{row['clip_id']}" for key, row in self._rows.items())
        digest = hashlib.blake2b("\n".join(clips).encode(), digest_size=16).hexdigest()
        first = next((row for row in self._rows.values() if row["status"] == "ok"), {})
        shape = {name: first.get(name) or 1 for name in ("num_frames", "height", "width")}
        return ModelInfo(
            id=f"replay of {model.get('id', 'unknown')}",
            revision=self.revision or str(model.get("revision", "unknown")),
            weights=FrozenMapping({"clips": f"blake2b:{digest}"}),
            config=FrozenMapping({"group": self.group}),
            licence=str(model.get("licence", "unknown")),
            description=f"Clips of the run {self.run.name}.",
            batch_size=8,
            ai_generated=bool(model.get("ai_generated", True)),
            defaults=FrozenMapping({**shape, "fps": first.get("fps") or "1"}),
            own_shape=True,
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """A clip that exists follows no setting: all of them are ignored."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Read the run's tables."""
        _ = self._rows

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Decode the recorded clip of every request."""
        return [self._find(request) for request in requests]

    def _find(self, request: GenerationRequest) -> Video | GenerationFailure:
        from evalkit.video import decode

        self._ignored.update(request.params)
        name = f"sample {request.sample_index} of prompt {request.prompt_id!r}"
        row = self._rows.get((request.prompt_id, request.sample_index))
        if row is None:
            return GenerationFailure(
                f"{self.run} holds no {name}; replay the suite and the samples it was made with"
            )
        if row["status"] != "ok" or not row["path"]:
            return GenerationFailure(f"{name} failed in {self.run.name}: {row['error'] or row['status']}")
        said = json.loads(row["params"] or "{}").get("prompt")
        if said is not None and said != request.prompt:
            return GenerationFailure(
                f"{name} was made for the text {said!r} in {self.run.name}, not for {request.prompt!r}"
            )
        if row["seed"] is not None and row["seed"] != request.seed:
            return GenerationFailure(
                f"{name} was made with seed {row['seed']} in {self.run.name}, not {request.seed}; give that run's --seed"
            )
        path = self.run / row["path"]  # an absolute path, of a clip that lies elsewhere, stays as it is
        try:
            video = decode(path)
        except VideoError as error:
            return GenerationFailure(str(error))
        if row["clip_id"] and video.clip_id != row["clip_id"]:
            return GenerationFailure(
                f"{path} holds other pixels than when {self.run.name} was made; restore the file"
            )
        return video

    @cached_property
    def _manifest(self) -> Mapping[str, Any]:
        path = self.run / "manifest.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EvalkitError(
                f"{self.run} is no run folder: {path.name}: {error}; check the path"
            ) from error
        return content if isinstance(content, dict) else {}

    @cached_property
    def _rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        import pyarrow.parquet as pq

        _ = self._manifest  # a folder that is no run says so first
        path = self.run / "generations.parquet"
        if not path.is_file():
            raise EvalkitError(
                f"{self.run} has no {path.name}: the run is not finished; run its command again first"
            )
        wanted = [*_COLUMNS, "num_frames", "height", "width", "fps"]
        rows = pq.read_table(path, columns=wanted).to_pylist()
        found = {(row["prompt_id"], row["sample_index"]): row for row in rows if row["group"] == self.group}
        if not found:
            groups = sorted({row["group"] for row in rows})
            raise EvalkitError(f"{self.run} has no clips of group {self.group!r}; groups: {groups}")
        return found
