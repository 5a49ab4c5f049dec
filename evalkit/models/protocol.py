"""What evalkit asks of anything that makes clips.

A model is a class whose constructor takes keyword parameters only and does no work. The engine calls
`load` once in every worker and then `generate` on small batches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from evalkit.suites.prompt import FrozenMapping

if TYPE_CHECKING:
    from evalkit.video import Video

# `(red:1.3)`, the common way to weigh words of a prompt.
WEIGHTED = re.compile(r"\(([^():]+):\s*\d*\.?\d+\)")

__all__ = ["WEIGHTED", "GenerationFailure", "GenerationRequest", "ModelInfo", "VideoModel"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Identity of a model. Everything that can change a pixel is in `revision`, `weights` or `config`.

    Args:
        id: short name, as typed on the command line (`reference`).
        revision: version of the code and weights that people speak about (`v2`).
        weights: file or component name to digest (`blake2b:...` or `sha256:...`); empty when there are none.
        config: the parameters the model was constructed with, JSON types only.
        licence: SPDX id or a sentence.
        description: one line for people.
        batch_size: how many requests `generate` takes best at once. Batches are cut from the plan and do not
            depend on what is already finished, so that a resumed run sees the same batches.
        ai_generated: False for real footage.
        defaults: shape and settings used when neither the prompt nor the command line asks for others:
            `num_frames`, `height`, `width`, `fps` (a string such as `"8"` or `"24000/1001"`).
        own_shape: True when clips come in whatever shape they have (`folder`, `replay`), so that the asked
            shape is not checked.
    """

    id: str
    revision: str
    weights: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    description: str = ""
    batch_size: int = 1
    ai_generated: bool = True
    defaults: Mapping[str, Any] = field(default_factory=FrozenMapping)
    own_shape: bool = False


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One clip to make.

    Args:
        prompt: text; may carry weights such as `(red:1.3)` where a model understands them.
        negative_prompt: what should not be seen; empty for none.
        seed: non-negative; the same request gives the same clip.
        num_frames, height, width, fps: the asked shape; a model that cannot make it fails the request.
        params: further settings (`guidance_scale`, `num_inference_steps`, `camera`, `style`, ...).
        expect: the prompt's typed expectations. Only a model that renders the truth may read them.
        prompt_id, sample_index: which planned clip this is; `folder` and `replay` look clips up by it.
    """

    prompt: str
    seed: int
    num_frames: int
    height: int
    width: int
    fps: Fraction
    negative_prompt: str = ""
    params: Mapping[str, Any] = field(default_factory=FrozenMapping)
    expect: Mapping[str, Any] = field(default_factory=FrozenMapping)
    prompt_id: str = ""
    sample_index: int = 0

    @property
    def asked(self) -> frozenset[str]:
        """Everything that this request asks for, by the names that `VideoModel.ignored_params` may give it."""
        names = {"prompt", "seed", "num_frames", "height", "width", "fps", *self.params}
        if self.negative_prompt:
            names.add("negative_prompt")
        if WEIGHTED.search(self.prompt):
            names.add("prompt_weights")
        return frozenset(names)


@dataclass(frozen=True, slots=True)
class GenerationFailure:
    """A request that gave no clip.

    Args:
        reason: one paragraph for the row's `error`.
        permanent: whether asking again is pointless. Transient failures are retried by the engine.
    """

    reason: str
    permanent: bool = True


@runtime_checkable
class VideoModel(Protocol):
    """Makes clips. `evalkit.testing.check_model` tells whether a class honours this contract.

    A model that computes elsewhere (another program, a service) may say `own_device = True`: whether the device that was
    asked for is there is then not evalkit's to check.
    """

    @property
    def info(self) -> ModelInfo:
        """Identity; available before `load`."""
        ...

    @property
    def ignored_params(self) -> frozenset[str]:
        """Names among `GenerationRequest.asked` seen so far that this model does not use, `seed` say."""
        ...

    def load(self, device: str) -> None:
        """Bring weights into memory on `device` (`"cpu"`, `"cuda:0"`). Called once in every worker."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> Sequence[Video | GenerationFailure]:
        """Make one clip for every request, in order. A failed request is a value, not an exception."""
        ...
