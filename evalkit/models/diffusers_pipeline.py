"""`diffusers`: any text-to-video or image-to-video pipeline of the diffusers library, by hub name or local folder."""

from __future__ import annotations

import gc
import importlib.util
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError, MissingWeights
from evalkit.models.diffusers_checkpoint import FRAME_NAMES, RATE_NAMES, Checkpoint, import_diffusers
from evalkit.models.frames import video_from_frames
from evalkit.models.protocol import WEIGHTED, GenerationFailure, GenerationRequest, ModelInfo
from evalkit.suites.prompt import FrozenMapping, thaw

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["DiffusersModel"]

_DTYPES = ("auto", "float32", "float16", "bfloat16")
_OFFLOADS = ("none", "model", "sequential")
_OURS = {"prompt", "negative_prompt", "generator", "output_type", "return_dict", "height", "width"}


class DiffusersModel:
    """A video pipeline of diffusers. Every clip has a generator of its own, so a seed gives the same clip in any batch.

    Whatever a prompt's `params` ask for is passed on where the pipeline takes an argument of that name (`guidance_scale`,
    `num_inference_steps`, `motion_bucket_id`, ...) and is recorded as ignored where it does not. `image` in `params` is
    the path of the first frame for image-to-video. Weights `(red:1.3)` in a prompt are written out plainly and recorded
    as ignored. Frames are taken from memory as arrays. Only safetensors are loaded.

    Args:
        pipeline: hub name (`org/name`) or folder of a saved pipeline.
        revision: commit, branch or tag on the hub; a label for a local folder.
        pipeline_class: class to load with, `CogVideoXPipeline` or `package.module:Class`; the saved one where left out.
        dtype: `float32`, `float16`, `bfloat16`, or `auto`: bfloat16 on a GPU, float32 elsewhere.
        offload: `none`, `model` or `sequential`: keep what is not needed in main memory (needs accelerate).
        vae_tiling: decode in tiles, which takes less memory.
        variant: variant of the weight files, e.g. `fp16`.
        batch_size: clips that are denoised together.
        num_frames, height, width, fps, guidance_scale, num_inference_steps: defaults for prompts that do not say.
        licence: SPDX id or a sentence.
    """

    def __init__(
        self,
        *,
        pipeline: str,
        revision: str | None = None,
        pipeline_class: str | None = None,
        dtype: str = "auto",
        offload: str = "none",
        vae_tiling: bool = False,
        variant: str | None = None,
        batch_size: int = 1,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: str | int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        licence: str = "unknown",
    ) -> None:
        for name, value, known in (("dtype", dtype, _DTYPES), ("offload", offload, _OFFLOADS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.checkpoint = Checkpoint(pipeline, revision, variant, pipeline_class)
        self.dtype = dtype
        self.offload = offload
        self.vae_tiling = vae_tiling
        self.batch_size = batch_size
        self.licence = licence
        given = {
            "num_frames": num_frames,
            "height": height,
            "width": width,
            "fps": None if fps is None else str(fps),
            "guidance_scale": guidance_scale,
            "num_inference_steps": num_inference_steps,
        }
        self.given = {name: value for name, value in given.items() if value is not None}
        self._pipe: Any = None
        self._ignored: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Travel to workers without the loaded pipeline; every worker loads its own."""
        return {**self.__dict__, "_pipe": None}

    @cached_property
    def info(self) -> ModelInfo:
        """Identity: digests of all weight and configuration files, the pipeline's class, and how it computes."""
        checkpoint = self.checkpoint
        config: dict[str, Any] = {
            "class": self.checkpoint.pipeline_class.__name__,
            "diffusers": import_diffusers().__version__,
            "dtype": self.dtype,
            "vae_tiling": self.vae_tiling,
        }
        return ModelInfo(
            id=Path(checkpoint.name).resolve().name if checkpoint.is_local else checkpoint.name,
            revision=checkpoint.revision or ("local" if checkpoint.is_local else checkpoint.folder.name),
            weights=FrozenMapping(self.checkpoint.digests()),
            config=FrozenMapping(config),
            licence=self.licence,
            description=f"{self.checkpoint.pipeline_class.__name__} of diffusers.",
            batch_size=self.batch_size,
            defaults=FrozenMapping({**self.checkpoint.shape(), **self.given}),
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """Settings that the pipeline has no argument for."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Load the weights.

        Raises:
            MissingWeights: the folder lacks weights in the safetensors format.
            EvalkitError: `offload` without accelerate, or a sequential one without a GPU.
        """
        import torch

        if self.offload == "sequential" and device == "cpu":
            raise EvalkitError(
                "offload=sequential brings weights to a GPU layer by layer and the device is the CPU, where they already "
                "are; leave offload out, or use --device cuda"
            )
        automatic = torch.bfloat16 if device.startswith("cuda") else torch.float32
        dtype = automatic if self.dtype == "auto" else getattr(torch, self.dtype)
        # Without accelerate, "low memory" loading is impossible and asking for it only warns.
        has_accelerate = importlib.util.find_spec("accelerate") is not None
        _no_progress_bars()
        try:
            pipe = self.checkpoint.pipeline_class.from_pretrained(
                self.checkpoint.folder,
                variant=self.checkpoint.variant,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=has_accelerate,
                **{_dtype_argument(): dtype},
            )
        except (OSError, ValueError) as error:
            raise MissingWeights(
                f"pipeline {self.checkpoint.name!r} cannot be loaded: {error}; only safetensors are read: save the pipeline "
                "again with save_pretrained(..., safe_serialization=True)"
            ) from error
        pipe.set_progress_bar_config(disable=True)
        if self.vae_tiling and hasattr(getattr(pipe, "vae", None), "enable_tiling"):
            pipe.vae.enable_tiling()
        if self.offload == "none":
            pipe.to(device)
        else:
            if not has_accelerate:
                raise EvalkitError(
                    f"offload={self.offload} needs the package accelerate: pip install accelerate"
                )
            {"model": pipe.enable_model_cpu_offload, "sequential": pipe.enable_sequential_cpu_offload}[
                self.offload
            ](device=device)
        self._pipe = pipe

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Make one clip for every request; requests of the same shape and settings are denoised together."""
        results: dict[int, Video | GenerationFailure] = {}
        groups: dict[Any, list[int]] = {}
        for index, request in enumerate(requests):
            shape = (request.num_frames, request.height, request.width, request.fps)
            key = (shape, json.dumps(thaw(request.params), sort_keys=True, default=str))
            groups.setdefault(key, []).append(index)
        for members in groups.values():
            for start in range(0, len(members), self.batch_size):
                chosen = members[start : start + self.batch_size]
                made = self._batch([requests[index] for index in chosen])
                results.update(zip(chosen, made, strict=True))
        return [results[index] for index in range(len(requests))]

    def _batch(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        import torch

        try:
            arguments = self._arguments(requests)
        except (OSError, ValueError) as error:
            return [GenerationFailure(f"the request cannot be made: {error}") for _ in requests]
        try:
            with torch.inference_mode():
                output = self._pipe(**arguments)
            clips = _clips(output, len(requests))
        except torch.OutOfMemoryError as error:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(requests) == 1:
                reason = f"out of memory: {error}; use a smaller shape, offload=model or vae_tiling=true"
                return [GenerationFailure(reason, permanent=False)]
            return [self._batch([request])[0] for request in requests]
        except Exception as error:  # a pipeline may refuse a request in any way
            if len(requests) == 1:
                return [
                    GenerationFailure(
                        f"{self.checkpoint.pipeline_class.__name__} raised {type(error).__name__}: {error}"
                    )
                ]
            return [self._batch([request])[0] for request in requests]
        return [self._checked(clip, request) for clip, request in zip(clips, requests, strict=True)]

    def _checked(self, frames: Any, request: GenerationRequest) -> Video | GenerationFailure:
        video = video_from_frames(frames, request.fps)
        if isinstance(video, GenerationFailure):
            return video
        asked = (request.num_frames, request.height, request.width)
        got = (video.num_frames, video.height, video.width)
        if got != asked:
            return GenerationFailure(
                f"{self.checkpoint.pipeline_class.__name__} made {got[0]} frames of {got[2]}x{got[1]} where {asked[0]} of {asked[2]}x{asked[1]} "
                "were asked; many pipelines make shapes in steps only: ask for one that it makes"
            )
        return video

    def _arguments(self, requests: Sequence[GenerationRequest]) -> dict[str, Any]:
        import torch

        first, known = requests[0], self.checkpoint.parameters
        arguments: dict[str, Any] = {}

        def give(names: Sequence[str], value: Any, ignored_as: str | None) -> None:
            name = next((name for name in names if name in known), None)
            if name is not None:
                arguments[name] = value
            elif ignored_as is not None:
                self._ignored.add(ignored_as)

        texts = [WEIGHTED.sub(r"\1", request.prompt) for request in requests]
        if any(text != request.prompt for text, request in zip(texts, requests, strict=True)):
            self._ignored.add("prompt_weights")
        give(["prompt"], _one_or_list(texts), "prompt")
        negatives = [request.negative_prompt for request in requests]
        if any(negatives):
            give(["negative_prompt"], _one_or_list(negatives), "negative_prompt")
        give(FRAME_NAMES, first.num_frames, "num_frames")
        give(["height"], first.height, "height")
        give(["width"], first.width, "width")
        rate = first.fps.numerator if first.fps.denominator == 1 else float(first.fps)
        give(RATE_NAMES, rate, None)  # most pipelines make frames that have no rate
        # On the CPU, so that a seed gives the same noise on every device.
        give(
            ["generator"],
            _one_or_list([torch.Generator("cpu").manual_seed(request.seed) for request in requests]),
            "seed",
        )
        give(["output_type"], "np", None)
        for name, value in thaw(first.params).items():
            if name == "image" and name in known:
                arguments[name] = _one_or_list([_image(value, first) for _ in requests])
            elif name in known and name not in _OURS:
                arguments[name] = value
            else:
                self._ignored.add(name)
        lacking = [name for name, one in known.items() if one.default is one.empty and name not in arguments]
        if lacking:
            raise ValueError(
                f"{self.checkpoint.pipeline_class.__name__} needs {', '.join(lacking)}; put it into the prompt's `params`"
            )
        return arguments


def _dtype_argument() -> str:
    """Newer diffusers warn of `torch_dtype`, older ones do not know `dtype`."""
    from diffusers.pipelines import pipeline_utils

    return "dtype" if hasattr(pipeline_utils, "_resolve_dtype") else "torch_dtype"


def _no_progress_bars() -> None:
    """The bars of loading would be drawn over the run's own progress, once by every worker."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    if importlib.util.find_spec("transformers") is not None:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()


def _one_or_list(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _image(path: Any, request: GenerationRequest) -> Any:
    from PIL import Image

    if not isinstance(path, str):
        raise ValueError(f"params.image must be the path of an image, got {path!r}")
    with Image.open(path) as image:
        return image.convert("RGB").resize((request.width, request.height), Image.Resampling.BICUBIC)


def _clips(output: Any, count: int) -> list[Any]:
    """The frames of every clip: pipelines call them `frames`, `videos` or `images`, and stack them or list them."""
    for name in ("frames", "videos", "images"):
        frames = getattr(output, name, None)
        if frames is not None:
            break
    else:
        frames = output[0] if isinstance(output, tuple) else output
    if count == 1 and getattr(frames, "ndim", 0) == 4:
        return [frames]
    clips = list(frames)
    if count == 1 and clips and hasattr(clips[0], "convert"):
        return [clips]
    if len(clips) != count:
        raise ValueError(f"it gave {len(clips)} clips for {count} prompts")
    return clips
