"""Video networks by name: a window of frames to one feature vector.

i3d                          I3D of Kinetics-400: TorchScript as StyleGAN-V publishes it, or a pytorch-i3d state dict
clip:MODEL[/TAG]             mean of an open_clip model's frame features
r3d_18, mc3_18, r2plus1d_18  torchvision's video ResNets; features before the classifier
s3d, mvit_v1_b, mvit_v2_s    torchvision's S3D and MViT
videomae:FOLDER              a VideoMAE in a local transformers folder
videomae-v2-g                VideoMAE-v2's giant, fine-tuned on Something-Something-v2, as published; 1408-d, 16 frames
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from evalkit import _torchvision
from evalkit.errors import EvalkitError, MissingExtra, MissingWeights
from evalkit.features.networks.image import IMAGENET, OPENAI_CLIP, load_clip, load_into
from evalkit.features.presets import PRESETS
from evalkit.weights import file_digest, locate

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VideoNetwork", "load_video_network", "prepare_window"]

_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


@dataclass(frozen=True)
class VideoNetwork:
    """A loaded network.

    Args:
        name: as it appears in the protocol string (`i3d-k400-logits`).
        title: for people.
        digest: of its weights.
        forward: a prepared window `(1, 3, T, h, w)` to a vector `(1, D)`.
        size: frames are brought to this size; 0 leaves them as they are.
        crop: scale the shorter side and crop the centre, instead of squeezing both sides.
        scale: `"uint8"` (0..255), `"signed"` (-1..1), `"unit"` (0..1), or mean and standard deviation of pixels in
            0..1.
        citation: where it comes from.
        module: what `forward` computes with, where its device may be changed.
    """

    name: str
    title: str
    digest: str
    forward: Callable[[Tensor], Tensor]
    size: int
    crop: bool
    scale: str | tuple[tuple[float, float, float], tuple[float, float, float]]
    citation: str = ""
    module: torch.nn.Module | None = None

    @property
    def preprocessing(self) -> str:
        """The preprocessing in words, as it stands in the protocol string."""
        size = "native" if not self.size else f"{self.size}-bilinear{'-centrecrop' if self.crop else ''}"
        scale = self.scale if isinstance(self.scale, str) else "normalised"
        return f"{size}/{scale}"


def prepare_window(frames: Tensor, network: VideoNetwork) -> Tensor:
    """uint8 frames `(T, 3, H, W)` as the network takes them, float32 `(1, 3, T, h, w)`."""
    pixels = frames.float()
    if network.size:
        height, width = frames.shape[-2:]
        size = (network.size, network.size)
        if network.crop:
            ratio = network.size / min(height, width)
            # Rounded up, as videogpt does; the shorter side is exact whatever the division left over.
            size = (
                network.size if height <= width else math.ceil(height * ratio),
                network.size if width <= height else math.ceil(width * ratio),
            )
        pixels = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        if network.crop:
            top, left = (size[0] - network.size) // 2, (size[1] - network.size) // 2
            pixels = pixels[..., top : top + network.size, left : left + network.size]
    if network.scale == "signed":
        pixels = pixels / 127.5 - 1
    elif network.scale == "unit":
        pixels = pixels / 255
    elif not isinstance(network.scale, str):
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in network.scale)
        pixels = (pixels / 255 - mean) / std
    return pixels.permute(1, 0, 2, 3)[None]


def load_video_network(name: str, checkpoint: str | None = None, preset: str | None = None) -> VideoNetwork:
    """Load a video network.

    Args:
        name: one of the names in this module's docstring.
        checkpoint: a weights file of the user's own.
        preset: of `i3d`: `"stylegan-v"` (default), `"videogpt"` or `"cd-fvd"`; of `videomae-v2-g`: `"cd-fvd-videomae"`.

    Raises:
        MissingWeights: the weights are not at hand.
        EvalkitError: the name or preset is unknown, or the file has another layout.
    """
    if preset is not None and (preset not in PRESETS or name != PRESETS[preset].network):
        known = ", ".join(f"{key} ({item.network})" for key, item in PRESETS.items())
        raise EvalkitError(f"preset {preset!r} with network {name!r} does not exist; presets: {known}")
    if name == "i3d":
        return _i3d(checkpoint, preset or "stylegan-v")
    if name == "videomae-v2-g":
        return _videomae2(checkpoint)
    if name.startswith("clip:"):
        return _clip(name.partition(":")[2], checkpoint)
    if name.startswith("videomae:"):
        return _videomae(Path(name.partition(":")[2]).expanduser())
    if name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s"):
        return _torchvision_video(name, checkpoint)
    raise EvalkitError(
        f"unknown video network {name!r}; use i3d, r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v1_b, mvit_v2_s, "
        "videomae-v2-g, clip:MODEL or videomae:FOLDER"
    )


def _i3d(checkpoint: str | None, preset: str) -> VideoNetwork:
    path = locate("i3d", checkpoint)
    try:
        # TorchScript holds code, but it runs in torch's own interpreter, which can neither open files nor
        # import modules; pickle is not involved.
        script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except RuntimeError:
        script = None
    # Only the TorchScript file resizes by itself; outside, the same is done to the pixels.
    inside = preset == "stylegan-v" and script is not None
    if script is None:
        from evalkit.features.networks.i3d import I3D

        module = load_into(I3D(), path, "i3d")
        forward: Callable[[Tensor], Tensor] = module
    else:
        module = script

        def forward(window: Tensor) -> Tensor:
            result: Tensor = script(window, rescale=inside, resize=inside, return_features=True)
            return result

    return VideoNetwork(
        "i3d-k400-logits",
        f"I3D, Kinetics-400 logits ({preset})",
        file_digest(path),
        forward,
        size=0 if inside else 224,
        crop=preset == "videogpt",
        scale="uint8" if inside else "signed",
        citation="Carreira & Zisserman, CVPR 2017; file of Skorokhodov et al., StyleGAN-V, CVPR 2022, or pytorch-i3d",
        module=module,
    )


def _clip(model: str, checkpoint: str | None) -> VideoNetwork:
    module, digest = load_clip(model, checkpoint)
    size = module.visual.image_size

    def forward(window: Tensor) -> Tensor:
        frames: Tensor = module.encode_image(window[0].transpose(0, 1))
        return frames.mean(0, keepdim=True)

    return VideoNetwork(
        f"clip-{model.replace('/', '-')}-mean",
        f"CLIP {model} (open_clip), mean over frames",
        digest,
        forward,
        size=size[0] if isinstance(size, tuple) else size,
        crop=True,
        scale=OPENAI_CLIP,
        citation="Radford et al., CLIP, ICML 2021; Luo et al., CLIP4Clip, Neurocomputing 2022",
        module=module,
    )


def _torchvision_video(name: str, checkpoint: str | None) -> VideoNetwork:
    path = locate(name, checkpoint)
    _torchvision.ensure()
    import torchvision

    module = load_into(torchvision.models.get_model(name, weights=None), path, name)
    if hasattr(module, "fc"):
        module.fc = torch.nn.Identity()
    elif name.startswith("mvit"):
        module.head = torch.nn.Identity()
    # S3D averages its per-position scores after the classifier, so its 400 scores are the feature.
    size = 112 if hasattr(module, "fc") else 224
    return VideoNetwork(
        f"{name}-k400",
        f"{name}, Kinetics-400",
        file_digest(path),
        lambda window: module(window).flatten(1),
        size=size,
        crop=True,
        scale=IMAGENET if name.startswith("mvit") else _KINETICS,
        citation="torchvision video models (Tran et al., CVPR 2018; Xie et al., ECCV 2018; Li et al., CVPR 2022)",
        module=module,
    )


def _videomae(folder: Path) -> VideoNetwork:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise MissingWeights(
            f"videomae: {folder} holds no model.safetensors; get one with: "
            f"hf download MCG-NJU/videomae-base-finetuned-kinetics --local-dir {folder}"
        )
    _torchvision.ensure()
    try:
        from transformers import VideoMAEModel
    except ImportError as error:
        raise MissingExtra("transformers", "transformers", "the video network VideoMAE") from error
    module = VideoMAEModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True).eval()

    def forward(window: Tensor) -> Tensor:
        hidden: Tensor = module(window.transpose(1, 2)).last_hidden_state
        return hidden.mean(1)

    return VideoNetwork(
        "videomae-mean",
        "VideoMAE, mean of the last tokens",
        file_digest(weights),
        forward,
        size=int(module.config.image_size),
        crop=False,
        scale=IMAGENET,
        citation="Tong et al., VideoMAE, NeurIPS 2022",
        module=module,
    )


def _videomae2(checkpoint: str | None) -> VideoNetwork:
    from evalkit.features.networks.videomae2 import load_videomae2

    path = locate("videomae-v2-g", checkpoint)
    module = load_videomae2(path)

    def forward(window: Tensor) -> Tensor:
        if window.shape[2] != 16:
            # Its positions count the tokens of 16 frames; of other numbers they would mean other places.
            raise EvalkitError(
                f"videomae-v2-g reads 16 frames, the window has {window.shape[2]}; set frames=16"
            )
        result: Tensor = module(window)
        return result

    return VideoNetwork(
        "videomae-v2-g-ssv2",
        "VideoMAE-v2 ViT-g/14, Something-Something-v2",
        file_digest(path),
        forward,
        size=224,
        crop=False,
        scale="unit",
        citation="Wang et al., VideoMAE V2, CVPR 2023; Ge et al., On the content bias in FVD, CVPR 2024",
        module=module,
    )
