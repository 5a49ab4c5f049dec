"""The generation job: planned clips in, stored clips and rows out."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import RunError
from evalkit.features.device import check_device, kind_of
from evalkit.models.protocol import GenerationFailure, GenerationRequest, VideoModel
from evalkit.runs.clips import store_clip
from evalkit.runs.files import writing
from evalkit.suites.prompt import thaw

if TYPE_CHECKING:
    from evalkit.runs.plan import PlannedClip
    from evalkit.video import Video

__all__ = ["GenerateJob", "clip_row"]

_ATTEMPTS = 3


def clip_row(clip: PlannedClip, ignored: frozenset[str] = frozenset(), **columns: Any) -> dict[str, Any]:
    """A row of the generations table: the plan's columns, nulls for the rest, then `columns`.

    Args:
        clip: the planned clip.
        ignored: what the model does not use; what was asked for of that is named in the row.
        columns: what is known of the clip.
    """
    request = clip.request
    params = (
        {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "num_frames": request.num_frames,
            "height": request.height,
            "width": request.width,
            "fps": str(request.fps),
            **thaw(request.params),
            **({"ignored_params": unused} if (unused := sorted(ignored & request.asked)) else {}),
        }
        if request
        else {}
    )
    row: dict[str, Any] = {
        "prompt_id": clip.prompt_id,
        "category": clip.category,
        "group": clip.group,
        "sample_index": clip.sample_index,
        "seed": clip.seed,
        "clip_id": None,
        "path": clip.path,
        "file_digest": None,
        "preview": None,
        "poster": None,
        "status": "missing",
        "error": clip.problem,
        "num_frames": None,
        "height": None,
        "width": None,
        "fps": None,
        "seconds": None,
        "peak_memory_bytes": None,
        "attempts": 0,
        "params": json.dumps(params, ensure_ascii=False, sort_keys=True),
    }
    return row | columns


@dataclass
class GenerateJob:
    """Makes the clips of a batch and stores them in the run's folder.

    Args:
        model: constructed, not loaded; loaded once in every worker.
        device: `cpu`, `cuda:0`, ...
        folder: the run's folder.
    """

    model: VideoModel
    device: str
    folder: Path
    _loaded: bool = field(default=False, repr=False)

    @property
    def gpu(self) -> str | None:
        """How much of a GPU a worker takes: a model fills one unless the user says otherwise."""
        return "whole" if kind_of(self.device) == "cuda" else None

    def open(self) -> None:
        """Load the model's weights.

        Raises:
            EvalkitError: the device is not in this machine.
        """
        if not self._loaded:
            if not getattr(self.model, "own_device", False):
                check_device(self.device)
            self.model.load(self.device)
            self._loaded = True

    def run(self, batch: Sequence[PlannedClip]) -> list[dict[str, Any]]:
        """Rows of the generations table, in the batch's order.

        Raises:
            RunError: the run's folder cannot be written.
        """
        requests = [clip.request for clip in batch if clip.request is not None]
        if len(requests) != len(batch):
            raise ValueError("only planned generations can be generated")
        start = time.perf_counter()
        results, attempts = self._generate(requests)
        seconds = (time.perf_counter() - start) / len(batch)
        rows = []
        for clip, request, result in zip(batch, requests, results, strict=True):
            result = self._checked(result, request)
            if isinstance(result, GenerationFailure):
                rows.append(
                    clip_row(
                        clip,
                        self.model.ignored_params,
                        status="failed",
                        error=result.reason,
                        attempts=attempts,
                    )
                )
                continue
            rows.append(self._stored(clip, result, seconds=seconds, attempts=attempts))
        return rows

    def _stored(self, clip: PlannedClip, video: Video, **columns: Any) -> dict[str, Any]:
        """Store a clip; one that no encoder takes fails alone."""
        clip_id = video.clip_id
        try:
            with writing(self.folder):
                files = store_clip(self.folder, video, clip_id)
        except RunError:
            raise
        except Exception as error:
            reason = f"the clip could not be stored ({type(error).__name__}: {error})"
            return clip_row(clip, self.model.ignored_params, status="failed", error=reason, **columns)
        return clip_row(
            clip,
            self.model.ignored_params,
            status="ok",
            clip_id=clip_id,
            num_frames=video.num_frames,
            height=video.height,
            width=video.width,
            fps=str(video.fps),
            peak_memory_bytes=_peak_memory(self.device),
            **columns,
            **files,
        )

    def _generate(self, requests: Sequence[GenerationRequest]) -> tuple[list[Video | GenerationFailure], int]:
        """Results and the number of attempts; transient failures are asked for again, one by one."""
        results = self._ask(requests)
        for attempt in range(1, _ATTEMPTS + 1):
            again = [
                i for i, one in enumerate(results) if isinstance(one, GenerationFailure) and not one.permanent
            ]
            if not again or attempt == _ATTEMPTS:
                return results, attempt
            for i in again:
                results[i] = self._ask([requests[i]])[0]
        return results, _ATTEMPTS

    def _ask(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """One call of the model; after an exception one call for each request, so that only the culprit fails."""
        try:
            results = list(self.model.generate(requests))
            if len(results) != len(requests):
                raise ValueError(f"it gave {len(results)} results for {len(requests)} requests")
        except Exception as error:
            if len(requests) == 1:
                return [GenerationFailure(f"the model raised {type(error).__name__}: {error}")]
            return [self._ask([request])[0] for request in requests]
        return results

    def _checked(self, result: object, request: GenerationRequest) -> Video | GenerationFailure:
        from evalkit.video import Video

        if isinstance(result, GenerationFailure):
            return result
        if not isinstance(result, Video):
            return GenerationFailure(
                f"the model returned a {type(result).__name__} where a Video or a GenerationFailure is due"
            )
        asked = (request.num_frames, request.height, request.width)
        got = (result.num_frames, result.height, result.width)
        if not self.model.info.own_shape and got != asked:
            return GenerationFailure(
                "the model returned {}x{}x{} (frames x height x width) where {}x{}x{} was asked".format(
                    *got, *asked
                )
            )
        return result


def _peak_memory(device: str) -> int:
    """Largest memory use of this worker so far, in bytes: of the GPU, or resident memory on a CPU."""
    if kind_of(device) == "cuda":
        import torch

        if torch.cuda.is_available():  # not for a program or service that computes elsewhere
            return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
