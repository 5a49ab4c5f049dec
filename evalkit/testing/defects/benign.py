"""Changes that no viewer minds: a good re-encode, a frame more or less, a slightly other size or crop."""

from __future__ import annotations

from evalkit.testing.defects.registry import BENIGN, Benign, resized
from evalkit.video import Video, recompress

__all__: list[str] = []

_SCALE = 0.96
_CROP = 0.02


def _first_frame_less(video: Video) -> Video:
    return Video(video.frames[min(1, video.num_frames - 1) :], video.fps)


def _last_frame_less(video: Video) -> Video:
    return Video(video.frames[: max(1, video.num_frames - 1)], video.fps)


def _scaled(video: Video) -> Video:
    height, width = max(1, round(_SCALE * video.height)), max(1, round(_SCALE * video.width))
    return Video(resized(video.frames.cpu(), height, width), video.fps)


def _cropped(video: Video) -> Video:
    rows, columns = round(_CROP * video.height), round(_CROP * video.width)
    return Video(video.frames[:, :, rows : video.height - rows, columns : video.width - columns], video.fps)


for _id, _title, _change in (
    (
        "reencode_crf18",
        "H.264 at crf 18, which viewers take for the original",
        lambda video: recompress(video, crf=18),
    ),
    ("first_frame_less", "without its first frame", _first_frame_less),
    ("last_frame_less", "without its last frame", _last_frame_less),
    ("scaled", "scaled to 96%", _scaled),
    ("cropped", "2% cut off every side", _cropped),
):
    BENIGN[_id] = Benign(_id, _title, _change)
