"""How far every odd frame lies from what an interpolation network makes of its neighbours, as VBench measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch

from evalkit.errors import EvalkitError, MissingWeights, NotApplicable
from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.weights import file_digest, locate

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["VBenchInterpolation"]

_MULTIPLE = 16


class VBenchInterpolation(Placed):
    """What VBench's motion smoothness looks at: `{"difference": float32 (n,)}` in levels of 255, n = (T - 1) // 2.

    Args:
        checkpoint: AMT-S as TorchScript: `forward(first, second)` takes two pictures `(1, 3, h, w)` in 0..1, sides in
            multiples of 16, and gives the one half-way between them. How to export it:
            docs/how-to/use-a-peers-networks.md.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, str]:
        if self.checkpoint is None:
            raise MissingWeights(
                "amt-s: weights missing: its publisher offers a state dict of code that evalkit does not carry. Export it "
                "once as TorchScript (docs/how-to/use-a-peers-networks.md) and give checkpoint=PATH, or run VBench "
                "itself and add its result with: evalkit metrics import RUN FILE"
            )
        path = locate("amt-s", self.checkpoint)
        try:
            # Runs in torch's own interpreter, which can neither open files nor import modules.
            script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise EvalkitError(
                f"amt-s: {path} is no TorchScript file; export the network as docs/how-to/use-a-peers-networks.md says"
            ) from error
        return script, file_digest(path)

    @cached_property
    def _forward(self) -> Callable[..., torch.Tensor]:
        return on_device(self._loaded[0], self._loaded[0], self.device)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        return ExtractorSpec(
            id="vbench_interpolation",
            version="1",
            subject="clip",
            title="interpolation by a TorchScript network, as VBench uses AMT-S",
            weights_digest=self._loaded[1],
            preprocessing="native size, 0..1, border repeated to multiples of 16, result cut to 8 bits",
            citation="Li et al., AMT: All-pairs multi-field transforms for efficient frame interpolation, CVPR 2023",
            device=kind_of(self.device),
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Interpolate the odd frames of one clip.

        Raises:
            NotApplicable: fewer than three frames.
            EvalkitError: the export takes pictures of another size.
        """
        assert not isinstance(subject, str)
        frames = subject.frames
        if len(frames) < 3:
            raise NotApplicable(f"interpolation needs three frames, the clip has {len(frames)}")
        height, width = frames.shape[-2:]
        down, across = -height % _MULTIPLE, -width % _MULTIPLE
        top, left = down // 2, across // 2
        even = torch.nn.functional.pad(
            frames[::2].float() / 255, (left, across - left, top, down - top), mode="replicate"
        )
        differences = []
        with torch.inference_mode():
            for k in range(len(even) - 1):
                try:
                    middle = self._forward(even[k : k + 1], even[k + 1 : k + 2])
                except RuntimeError as error:
                    raise EvalkitError(
                        f"amt-s: the export does not take pictures of {even.shape[-1]}x{even.shape[-2]} "
                        f"({str(error).strip().splitlines()[-1][:160]}); a traced export takes only the size it was traced at"
                    ) from error
                cut = middle.cpu()[0, :, top : top + height, left : left + width]
                levels = (cut * 255).clamp(0, 255).to(torch.uint8)  # truncated, as VBench does
                differences.append((levels.int() - frames[2 * k + 1].int()).abs().double().mean())
        return {"difference": torch.stack(differences).float()}
