"""I3D (Inception-v1 inflated to 3D), laid out as the checkpoints of pytorch-i3d name it (`i3d_pretrained_400.pt`).

Source: Carreira & Zisserman, Quo vadis, action recognition?, CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["I3D"]

# (channels in, widths of: 1x1; 1x1 -> 3x3; 1x1 -> 3x3; pool -> 1x1) of every mixed block: table 1 of Szegedy et al.,
# Going deeper with convolutions, CVPR 2015.
_MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
# Poolings by the block they come before: kernel and stride as (time, height, width).
_POOLS = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}

Triple = tuple[int, int, int]


def _same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Zero padding that gives `ceil(side / stride)` places, the odd one at the far end."""
    pads: list[int] = []
    for side, reach, step in zip(reversed(x.shape[-3:]), reversed(kernel), reversed(stride), strict=True):
        total = max(0, (-(-side // step) - 1) * step + reach - side)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class _Unit(nn.Module):
    """Convolution, batch norm and ReLU; the last layer has neither norm nor ReLU but a bias."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, *, last: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels_in, channels_out, kernel, stride, bias=last)
        self.bn = None if last else nn.BatchNorm3d(channels_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_same(x, self.kernel, self.stride))
        return x if self.bn is None else F.relu(self.bn(x))


class _Mixed(nn.Module):
    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(channels, widths[0], 1)
        self.b1a, self.b1b = _Unit(channels, widths[1], 1), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(channels, widths[3], 1), _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(channels, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool3d(_same(x, (3, 3, 3), (1, 1, 1)), 3, 1)
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3D(nn.Module):
    """Windows `(n, 3, T, 224, 224)` in -1..1, T >= 9, to the 400 Kinetics logits `(n, 400)`, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = _Unit(64, 64, 1), _Unit(64, 192, 3)
        for name, (channels, widths) in _MIXED.items():
            self.add_module(name, _Mixed(channels, widths))
        self.logits = _Unit(1024, 400, 1, last=True)

    def forward(self, x: Tensor) -> Tensor:
        for name, block in self.named_children():
            if name in _POOLS:
                kernel, stride = _POOLS[name]
                x = F.max_pool3d(_same(x, kernel, stride), kernel, stride)
            if name == "logits":
                x = F.avg_pool3d(x, (2, 7, 7), 1)
            x = block(x)
        return x.mean((2, 3, 4))
