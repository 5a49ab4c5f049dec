"""`folder`: clips that exist, looked up by the prompt they were made for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError, VideoError
from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.suites.clip_files import clip_stems, list_clips
from evalkit.suites.layouts import scan_folder
from evalkit.suites.prompt import FrozenMapping

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["FolderModel"]


class FolderModel:
    """Clips that exist in a folder, handed out as if a model had just made them.

    A clip is found by its name: `{id}-{sample}`, `{id}` (first sample), `{prompt text}-{sample}` as VBench names clips,
    `0007` as EvalCrafter and `category/0007` as T2V-CompBench do; or through a table with a `file` column.

    Args:
        path: the folder.
        prompts: table (CSV, JSON...) with the columns `file`, `prompt`, and if needed `id`, `model`, `sample`.
        group: whose clips to take, where the table or sub-folders hold several models.
        revision: what people call this set of clips.
        licence: SPDX id or a sentence.
        ai_generated: False for real footage.
    """

    def __init__(
        self,
        *,
        path: str,
        prompts: str | None = None,
        group: str = "",
        revision: str = "unknown",
        licence: str = "unknown",
        ai_generated: bool = True,
    ) -> None:
        self.path = Path(path)
        self.prompts = Path(prompts) if prompts else None
        self.group = group
        self.revision = revision
        self.licence = licence
        self.ai_generated = ai_generated
        self._ignored: set[str] = set()

    @cached_property
    def info(self) -> ModelInfo:
        """Identity: the bytes of the clips, whatever they and their folder are called."""
        from evalkit.video import file_digest, probe

        defaults: dict[str, str | int] = {"num_frames": 1, "height": 1, "width": 1, "fps": "1"}
        hasher = hashlib.blake2b(digest_size=16)
        for number, path in enumerate(sorted(set(self._files.values()))):
            hasher.update(f"{path.relative_to(self.path).as_posix()}\n{file_digest(path)}\n".encode())
            if number == 0:
                try:
                    found = probe(path)
                except VideoError:
                    continue
                defaults |= {
                    "num_frames": found.num_frames or 1,
                    "height": found.height,
                    "width": found.width,
                    "fps": str(found.fps or 1),
                }
        return ModelInfo(
            id="folder",
            revision=self.revision,
            weights=FrozenMapping({"clips": f"blake2b:{hasher.hexdigest()}"}),
            config=FrozenMapping({"group": self.group}),
            licence=self.licence,
            description=f"Existing clips of the folder {self.path.name}.",
            batch_size=8,
            ai_generated=self.ai_generated,
            defaults=FrozenMapping(defaults),
            own_shape=True,
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """A clip that exists follows no setting: all of them are ignored."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Look the folder through once."""
        _ = self._files

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Decode the clip of every request."""
        return [self._find(request) for request in requests]

    def _find(self, request: GenerationRequest) -> Video | GenerationFailure:
        from evalkit.video import decode

        self._ignored.update(request.params)
        names = list(dict.fromkeys(clip_stems(request.prompt_id, request.prompt, request.sample_index)))
        if self.prompts is not None:
            names = [f"{request.prompt_id}\n{request.sample_index}"]
        path = next((self._files[name] for name in names if name in self._files), None)
        if path is None:
            looked = (
                f"looked for {', '.join(names[:3])}"
                if self.prompts is None
                else f"as {self.prompts.name} says"
            )
            return GenerationFailure(
                f"no clip {request.sample_index} for prompt {request.prompt_id!r} in {self.path} ({looked}); "
                "add the clip or drop the prompt"
            )
        try:
            return decode(path)
        except VideoError as error:
            return GenerationFailure(str(error))

    @cached_property
    def _files(self) -> dict[str, Path]:
        if self.prompts is not None:
            scan = scan_folder(self.path, layout="csv", prompts_file=self.prompts)
            rows = [row for row in scan.clips if row.path and not row.problem and row.group == self.group]
            if not rows:
                groups = sorted({row.group for row in scan.clips})
                raise EvalkitError(f"{self.prompts}: no clips of group {self.group!r}; groups: {groups}")
            return {
                f"{row.prompt.id}\n{row.sample_index}": row.path for row in rows if isinstance(row.path, Path)
            }
        root = self.path / self.group if self.group else self.path
        return list_clips(root)
