"""The networks as diffusers models, so that a pipeline can save, load and share them like any other."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from reference_model.networks import Painter, Refiner
from reference_model.text import TextEncoder, Tokenizer, encode_prompts
from reference_model.tracks import TrackNetwork


class TextModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Text encoder with its vocabulary; `words[0]` pads and `words[1]` stands for unknown words."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, words: Sequence[str], width: int = 128, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.network = TextEncoder(len(words), width, depth, heads)
        self.tokenizer = Tokenizer(tuple(words))

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Summaries (B, SLOTS + 1, width) of prompts, which may hold `(words:weight)`."""
        return encode_prompts(self.network, self.tokenizer, prompts)


class TracksModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Diffusion transformer over object and camera tracks."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 160, depth: int = 4, heads: int = 4, text_width: int = 128) -> None:
        super().__init__()
        self.network = TrackNetwork(width, depth, heads, text_width)

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor, aspect: Tensor) -> Tensor:
        """Raw output for tokens scaled by the scheduler; timestep is the scheduler's c_noise (B,)."""
        return self.network(sample, timestep, text, aspect)  # type: ignore[no-any-return]


class PainterModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """U-Net that paints small frames over a layout."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 32, planes: int = 24, ground: int = 16, text_width: int = 128) -> None:
        super().__init__()
        self.network = Painter(width, planes, ground, text_width)

    def forward(self, sample: Tensor, timestep: Tensor, plan: Tensor, text: Tensor) -> Tensor:
        """Raw output for frames (B, T, 3, H, W) scaled by the scheduler."""
        return self.network(sample, timestep, plan, text)  # type: ignore[no-any-return]


class RefinerModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """U-Net that refines the enlarged base clip, over its layout where it has `planes`."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 40, text_width: int = 128, planes: int = 0, ground: int = 0) -> None:
        super().__init__()
        self.network = Refiner(width, text_width, planes, ground)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        draft: Tensor,
        draft_level: Tensor,
        text: Tensor,
        plan: Tensor | None = None,
    ) -> Tensor:
        """Raw output; draft (B, T, 3, H, W) and draft_level (B,) are scaled as sample and timestep are."""
        return self.network(sample, timestep, draft, draft_level, text, plan)  # type: ignore[no-any-return]
