"""Invisible watermarks: whether the model's mark can be read, and whether it survives ordinary handling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from evalkit.errors import EvalkitError, MissingExtra, NotApplicable
from evalkit.metrics.base import FRAMES, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evalkit.features.protocol import ClipFeatures, FeatureRequest
    from evalkit.video import Video

__all__ = ["HANDLING", "Watermark", "WatermarkRobustness"]

_METHODS = ("dwtDct", "dwtDctSvd", "rivaGan")
# The embedding of the package is defined from this size on.
_SMALLEST_PIXELS = 256 * 256


def _reencoded(crf: int) -> Callable[[Video], Video]:
    def change(video: Video) -> Video:
        from evalkit.video import recompress

        return recompress(video, crf=crf)

    return change


def _resized(video: Video, height: int, width: int) -> Video:
    import torch
    from torch.nn.functional import interpolate

    from evalkit.video import Video

    pixels = interpolate(
        video.frames.float(), (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return Video(pixels.round().clamp(0, 255).to(torch.uint8), video.fps)


def _scaled_and_back(video: Video) -> Video:
    return _resized(_resized(video, 3 * video.height // 4, 3 * video.width // 4), video.height, video.width)


def _cropped(video: Video) -> Video:
    from evalkit.video import Video

    rows, columns = video.height // 40, video.width // 40
    inner = video.frames[:, :, rows : video.height - rows, columns : video.width - columns]
    return _resized(Video(inner, video.fps), video.height, video.width)


HANDLING: dict[str, Callable[[Video], Video]] = {
    "re-encoded at crf 23": _reencoded(23),
    "re-encoded at crf 28": _reencoded(28),
    "scaled to 75% and back": _scaled_and_back,
    "cropped by 2.5% on every side and enlarged back": _cropped,
}
"""What sites and messengers do to a clip."""


class Watermark(BaseMetric):
    """Bits of the watermark that are read correctly.

    Args:
        payload: the mark that the model embeds, in hexadecimal.
        method: `dwtDct`, `dwtDctSvd` or `rivaGan`, as `invisible-watermark` names them.
        frames: how many frames are read, evenly spread over the clip.
    """

    spec = MetricSpec(
        id="provenance.watermark",
        version="1",
        title="Watermark bits read",
        description="The model's invisible watermark is missing.",
        direction="higher",
        range=(0.0, 1.0),
        formula="correct bits / bits, mean over frames; an unmarked clip gives about 0.5",
        limits="Needs the payload and the method that the model uses, and frames of at least 256x256 pixels.",
        evidence="measured",
        citation="invisible-watermark; Zhang et al., Robust invisible video watermarking with attention, 2019",
        default=False,
        leaf="provenance.watermark",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def __init__(self, payload: str = "", method: str = "dwtDctSvd", frames: int = 8) -> None:
        # A payload of digits alone arrives as a number from the command line.
        self.payload, self.method, self.frames = str(payload), method, frames

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Share of bits read from the clip as it is."""
        return ClipScore(self.bit_accuracy(self._sampled(clip)))

    def bit_accuracy(self, video: Video) -> float:
        """Mean share of correct bits over the frames of `video`."""
        import numpy as np

        expected = self._bits()
        if video.height * video.width < _SMALLEST_PIXELS:
            raise NotApplicable(f"watermarks need 256x256 pixels, the clip has {video.width}x{video.height}")
        decode = self._decoder(len(expected))
        frames = video.frames.permute(0, 2, 3, 1).flip(3).numpy()
        return float(np.mean([(decode(np.ascontiguousarray(frame)) == expected).mean() for frame in frames]))

    def _sampled(self, clip: ClipFeatures) -> Video:
        import torch

        from evalkit.video import Video

        frames = clip.tensor(FRAMES, "frames")
        count = min(self.frames, len(frames))
        picked = torch.linspace(0, len(frames) - 1, count).round().long()
        return Video(frames[picked], clip.record.fps)

    def _bits(self) -> NDArray[np.bool_]:
        import numpy as np

        if not self.payload:
            raise NotApplicable(
                f"nobody said which mark to look for; ask for {self.spec.id}:payload=HEX,method=dwtDctSvd"
            )
        try:
            content = bytes.fromhex(self.payload)
        except ValueError as error:
            raise EvalkitError(
                f"watermark payload {self.payload!r} is not hexadecimal; write e.g. c0ffee42"
            ) from error
        return np.unpackbits(np.frombuffer(content, np.uint8)).astype(bool)

    def _decoder(self, length: int) -> Callable[[NDArray[np.uint8]], NDArray[np.bool_]]:
        import numpy as np

        if self.method not in _METHODS:
            raise EvalkitError(
                f"watermark method {self.method!r} is unknown; use one of {', '.join(_METHODS)}"
            )
        try:
            from imwatermark import WatermarkDecoder

            if self.method == "rivaGan":
                WatermarkDecoder.loadModel()
        except ImportError as error:
            raise MissingExtra(error.name or "imwatermark", "watermark", "reading watermarks") from error
        decoder = WatermarkDecoder("bits", length)
        return lambda frame: np.asarray(decoder.decode(frame, self.method)).astype(bool)


class WatermarkRobustness(Watermark):
    """Bits of the watermark that survive the worst of what sites and messengers do (`HANDLING`)."""

    spec = MetricSpec(
        id="provenance.watermark_robustness",
        version="1",
        title="Watermark bits that survive",
        description="After an upload the invisible watermark can no longer be read.",
        direction="higher",
        range=(0.0, 1.0),
        formula=f"smallest share of correct bits after: {'; '.join(HANDLING)}",
        limits="The mark is read without searching for the crop or scale; a detector that searches may find more.",
        evidence="measured",
        citation=Watermark.spec.citation,
        default=False,
        leaf="provenance.watermark",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Smallest share of bits over all handling."""
        video = self._sampled(clip)
        return ClipScore(min(self.bit_accuracy(change(video)) for change in HANDLING.values()))
