"""A saved pipeline of diffusers, looked at without loading its weights: where it is, its class, its identity."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from evalkit import _torchvision
from evalkit.errors import EvalkitError, MissingWeights

__all__ = ["FRAME_NAMES", "RATE_NAMES", "Checkpoint", "import_diffusers"]

# What pipelines call the same thing.
FRAME_NAMES = ("num_frames", "video_length", "frames")
RATE_NAMES = ("frame_rate", "fps")


def import_diffusers() -> Any:
    """diffusers, imported when it is needed: it takes seconds."""
    _torchvision.ensure()
    return import_module("diffusers")


@dataclass(frozen=True)
class Checkpoint:
    """A saved pipeline.

    Args:
        name: hub name (`org/name`) or folder.
        revision: commit, branch or tag on the hub.
        variant: variant of the weight files, e.g. `fp16`.
        class_name: class to load with, `CogVideoXPipeline` or `package.module:Class`; None for the saved one.
    """

    name: str
    revision: str | None = None
    variant: str | None = None
    class_name: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the pipeline is a folder of this machine rather than a name on the hub."""
        return Path(self.name).is_dir()

    @cached_property
    def folder(self) -> Path:
        """The folder of the saved pipeline; one of the hub is downloaded into the hub's own cache first."""
        path = Path(self.name)
        if path.is_dir():
            if not (path / "model_index.json").is_file():
                raise EvalkitError(
                    f"{path} holds no model_index.json, so it is no saved pipeline; check the path"
                )
            return path
        try:
            found = import_diffusers().DiffusionPipeline.download(
                self.name, revision=self.revision, variant=self.variant, use_safetensors=True
            )
        except Exception as error:  # the hub's client raises errors of many packages
            raise MissingWeights(
                f"pipeline {self.name!r} is no folder and cannot be had from the hub: {type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no reason given'}; check the name, or get it where "
                f"there is a network with `hf download {self.name}`"
            ) from error
        return Path(found)

    @cached_property
    def pipeline_class(self) -> Any:
        """The class that loads the checkpoint."""
        diffusers = import_diffusers()

        name = self.class_name or self.index.get("_class_name")
        if isinstance(name, str) and ":" in name:
            module, _, attribute = name.partition(":")
            try:
                return getattr(import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise EvalkitError(f"pipeline_class {name!r} cannot be imported: {error}") from error
        found = getattr(diffusers, name, None) if isinstance(name, str) else None
        if found is None:
            raise EvalkitError(
                f"diffusers {diffusers.__version__} has no pipeline {name!r}; update diffusers, or name the class "
                "with pipeline_class=package.module:Class"
            )
        return found

    @cached_property
    def index(self) -> dict[str, Any]:
        """The content of `model_index.json`."""
        try:
            content = json.loads((self.folder / "model_index.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EvalkitError(f"{self.folder}/model_index.json cannot be read: {error}") from error
        return content if isinstance(content, dict) else {}

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What the pipeline's `__call__` takes, by name."""
        found = dict(inspect.signature(self.pipeline_class.__call__).parameters)
        found.pop("self", None)
        return {name: one for name, one in found.items() if one.kind is one.POSITIONAL_OR_KEYWORD}

    def shape(self) -> dict[str, Any]:
        """Shape that the pipeline makes unless it is told otherwise, as far as its signature says."""
        known = self.parameters
        defaults: dict[str, Any] = {}
        for ours, names in (
            ("num_frames", FRAME_NAMES),
            ("height", ["height"]),
            ("width", ["width"]),
            ("fps", RATE_NAMES),
        ):
            value = next((known[name].default for name in names if name in known), None)
            if isinstance(value, int | float):
                defaults[ours] = str(Fraction(value).limit_denominator(1001)) if ours == "fps" else int(value)
        return defaults

    def digests(self) -> dict[str, str]:
        """Digest of every file that `from_pretrained` may read. The hub's cache names large files by their SHA-256."""
        from evalkit.video import file_digest

        digests = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix in {".safetensors", ".json", ".txt", ".model"} and path.is_file():
                stored = path.resolve().name
                known = (
                    f"sha256:{stored}"
                    if re.fullmatch(r"[0-9a-f]{64}", stored)
                    else f"blake2b:{file_digest(path)}"
                )
                digests[path.relative_to(self.folder).as_posix()] = known
        return digests
