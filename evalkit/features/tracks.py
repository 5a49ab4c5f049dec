"""Paths of points through a clip, from optical flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.features.requests import FLOW

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["TRACK_SIZE", "Tracks"]

TRACK_SIZE = 256
"""Positions are given in pixels of a square picture of this size, as FVMD's published code scales its frames."""

# As FVMD lays its grid: 20 x 20 points, 8 pixels from the border.
_SIDE, _MARGIN = 20, 8


class Tracks:
    """Follows a grid of points: `{"positions": float32 (windows, T, 400, 2)}`, (x, y) in a 256 x 256 picture.

    Windows overlap by one frame, and the grid starts anew in each. A rest shorter than a window is left out.

    Args:
        window: frames a window.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def __init__(self, window: int = 16) -> None:
        if window < 4:
            raise EvalkitError(f"tracks: window is {window}; motion histograms need at least 4 frames")
        self.window = window

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor."""
        return ExtractorSpec(
            id="tracks",
            version="1",
            subject="clip",
            title="points followed along optical flow (OpenCV DIS)",
            preprocessing=f"{_SIDE}x{_SIDE} grid in {TRACK_SIZE}x{TRACK_SIZE}, {self.window}f windows, overlap 1",
            citation="Grid and windows of FVMD (Liu et al., 2024), which tracks with PIPs++",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Follow the points of one clip.

        Raises:
            NotApplicable: the clip is shorter than a window.
        """
        from evalkit.metrics.functional.tracks import follow

        forward = inputs[FLOW]["forward"]
        frames = len(forward) + 1
        if frames < self.window:
            raise NotApplicable(f"tracks need {self.window} frames, the clip has {frames}")
        height, width = forward.shape[-2:]
        scale = torch.tensor([width - 1.0, height - 1.0]) / (TRACK_SIZE - 1)
        line = torch.linspace(_MARGIN, TRACK_SIZE - _MARGIN, _SIDE)
        y, x = torch.meshgrid(line, line, indexing="ij")
        start = torch.stack([x, y], -1).reshape(-1, 2) * scale
        step = self.window - 1
        windows = [
            follow(forward[first : first + step], start) / scale
            for first in range(0, frames - self.window + 1, step)
        ]
        return {"positions": torch.stack(windows)}
