"""Where networks compute: the processor or a GPU, and what makes their numbers near each other on both.

Frames are decoded, scaled and normalised on the processor whatever the device, so that every device sees the same
pixels to the bit; what comes out of a network goes back to the processor. On a GPU, TF32 is off (it keeps 10 of a
float's 23 bits) and algorithms are the deterministic ones. Features then differ from the processor's in the last bits,
and bear another key: numbers of two devices are never compared without a word.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError

if TYPE_CHECKING:
    import torch

__all__ = ["Placed", "check_device", "kind_of", "network_device", "on_device", "upload"]

_KNOWN = re.compile(r"cpu|mps|cuda(:\d+)?")


def kind_of(device: str) -> str:
    """`cuda` of `cuda:1`: what keys and records name, since equal cards give equal numbers."""
    return device.partition(":")[0]


def network_device(device: str) -> str:
    """Where the metrics' networks compute when the model is on `device`: on Apple's GPU they do not."""
    return device if kind_of(device) == "cuda" else "cpu"


def check_device(device: str) -> None:
    """Refuse a device that is not in this machine, before anything is computed.

    Raises:
        EvalkitError: the name is unknown, torch was built without CUDA, or there is no such card.
    """
    import torch

    if not _KNOWN.fullmatch(device):
        raise EvalkitError(f"unknown device {device!r}; use cpu, cuda, cuda:N, mps or auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise EvalkitError(
            "--device mps was asked, and this is no machine with Apple's GPU; use --device cpu"
        )
    if kind_of(device) != "cuda":
        return
    if torch.version.cuda is None and torch.version.hip is None:
        raise EvalkitError(
            f"--device {device} was asked, and the installed torch {torch.__version__} computes on the processor only: "
            "install a build for your GPU (https://pytorch.org/get-started), or use --device cpu (for a model that computes "
            "elsewhere: --score-device cpu)"
        )
    count = torch.cuda.device_count()
    if not count:
        raise EvalkitError(
            f"--device {device} was asked, and torch sees no GPU: check `nvidia-smi`, the driver and "
            "CUDA_VISIBLE_DEVICES, or use --device cpu"
        )
    index = device.partition(":")[2]
    if index and int(index) >= count:
        raise EvalkitError(
            f"--device {device} was asked, and this machine has cuda:0 to cuda:{count - 1}; use one of these, or "
            "--device cuda"
        )


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Float32 products in float32, by algorithms that give the same bits each time."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def upload(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor on the device. To a GPU through pinned memory, so that the next frames are prepared meanwhile."""
    if kind_of(device) == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def on_device(module: torch.nn.Module, forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    """`forward`, whose module and tensors are moved to the device; what it returns stays there.

    Args:
        module: what `forward` computes with; moved in place.
        forward: takes tensors, and settings by keyword.
        device: see `check_device`; on the processor, `forward` itself is returned.
    """
    if device == "cpu":
        return forward
    module.to(device)

    def there(*tensors: torch.Tensor, **settings: Any) -> Any:
        with exact():
            return forward(*(upload(tensor, device) for tensor in tensors), **settings)

    return there


class Placed:
    """Mixin of an extractor whose network may compute on a GPU.

    `place` is called once, before `spec`; the network is moved when the first clip needs it, so that a driver that
    only asks for keys never touches the card.
    """

    device: str = "cpu"

    def place(self, device: str) -> None:
        """Compute on `device` from now on."""
        self.device = device
