"""Files to frames through PyAV (FFmpeg). Knows numpy, not torch, so that a decoding child starts quickly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from evalkit.errors import UnreadableVideo, UnsupportedVideo, VideoLimitExceeded
from evalkit.video.container import Container
from evalkit.video.frame_rate import check_rate, frame_rate
from evalkit.video.info import VideoInfo
from evalkit.video.limits import Limits

__all__ = ["FrameBuffer", "RawClip", "decoder_id", "probe_container", "read_container"]

Pixels = NDArray[np.uint8]

# PQ and HLG code brightness for HDR displays; read as ordinary video they look grey and score as such.
_HDR_TRANSFERS = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}


class RawClip(NamedTuple):
    """frames: uint8 `(T, H, W, 3)` RGB; info: the file's facts, `fps` never None."""

    frames: Pixels
    info: VideoInfo


def decoder_id() -> str:
    """Name and version of what turns files into pixels; part of every run's provenance."""
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    libswscale = ".".join(map(str, av.library_versions["libswscale"]))
    return f"pyav-{av.__version__}/libavcodec-{libavcodec}/libswscale-{libswscale}"


class FrameBuffer:
    """Frames of one size collected into one array, allocated once where the length is known.

    A header may lie, so the array grows when more frames come, and `limits` hold on what really came.
    """

    def __init__(self, path: Path, limits: Limits, expected: int | None) -> None:
        self._path, self._limits = path, limits
        self._expected = min(expected or 32, limits.max_frames)
        self._array: Pixels | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, frame: Pixels) -> None:
        height, width, _ = frame.shape
        array = self._array
        if array is None:
            self._limits.check_size(self._path, width, height)
            affordable = max(1, self._limits.max_decoded_bytes // frame.nbytes)
            array = self._array = np.empty((min(self._expected, affordable), *frame.shape), np.uint8)
        elif frame.shape != array.shape[1:]:
            first_height, first_width = array.shape[1:3]
            raise UnsupportedVideo(
                f"{self._path}: the frame size changes from {first_width}x{first_height} to {width}x{height} "
                f"at frame {self._length}; scale all frames to one size first"
            )
        self._limits.check_length(self._path, self._length + 1, width, height)
        if self._length == len(array):
            grown = np.empty((len(array) * 3 // 2 + 1, *frame.shape), np.uint8)
            grown[: self._length] = array
            array = self._array = grown
        array[self._length] = frame
        self._length += 1

    def frames(self) -> Pixels:
        if self._array is None:
            raise UnreadableVideo(f"{self._path}: no frame could be decoded; copy or generate the clip again")
        frames = self._array[: self._length]
        # A view of a much larger buffer would keep all of it alive.
        return frames if self._length * 4 >= len(self._array) * 3 else frames.copy()


def probe_container(path: Path, container: Container, limits: Limits) -> VideoInfo:
    """The header's facts, within `limits`; nothing is decoded on purpose."""
    with _opened(path, container, limits) as (_, _, info):
        return info


def read_container(path: Path, container: Container, limits: Limits, max_frames: int | None) -> RawClip:
    """Decode the first video stream, at most `max_frames` of it."""
    with _opened(path, container, limits) as (source, stream, info):
        buffer = FrameBuffer(path, limits, _at_most(info.num_frames, max_frames))
        converter = _Converter(path)
        times: list[int] = []
        last_duration: int | None = None
        time_base = stream.time_base or Fraction(1, 90_000)
        most_ticks = int(limits.max_seconds / time_base)
        for packet in source.demux(stream):
            if packet.is_corrupt:
                raise _damaged(path, len(buffer), "a damaged packet")
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _damaged(path, len(buffer), "a damaged frame")
                buffer.append(converter(frame))
                times.append(frame.pts if frame.pts is not None else len(times))
                last_duration = frame.duration or None
                if times[-1] - times[0] > most_ticks:
                    limits.check_duration(path, (times[-1] - times[0]) * time_base)
                if len(buffer) == max_frames:
                    break
            if len(buffer) == max_frames:
                break
        frames = buffer.frames()
        rate = frame_rate(times, last_duration, time_base, [stream.average_rate, stream.base_rate])
        if rate is None:
            raise UnsupportedVideo(
                f"{path}: a single frame without a duration, so its frame rate is unknown; "
                "write the clip with a frame rate"
            )
        check_rate(path, rate.fps)
        notes = [*info.notes, *converter.notes]
        if rate.variable:
            notes.append(
                f"variable frame rate: frames kept as stored, the rate is their mean of {float(rate.fps):.3f} fps"
            )
        return RawClip(
            frames,
            replace(
                info,
                width=frames.shape[2],
                height=frames.shape[1],
                num_frames=len(frames),
                fps=rate.fps,
                duration=len(frames) / rate.fps,
                rotation=converter.rotation,
                has_alpha=converter.used_alpha,
                variable_frame_rate=rate.variable,
                notes=tuple(notes),
            ),
        )


@contextlib.contextmanager
def _opened(
    path: Path, container: Container, limits: Limits
) -> Iterator[tuple[InputContainer, VideoStream, VideoInfo]]:
    """The open file, its video stream and the header's facts; FFmpeg's errors become ours."""
    size = path.stat().st_size
    limits.check_file_size(path, size)
    try:
        with _open(path, container, limits, decoders=True) as source:
            limits.check_streams(path, len(source.streams))
            stream = _video_stream(path, source)
            _check_all_samples_present(path, stream, size)
            info = _header(path, container, source, stream, size, limits)
            stream.codec_context.options = _decoder_options(limits)
            stream.thread_type = "NONE"
            yield source, stream, info
    except (av.FFmpegError, _NoStreamsError) as error:
        if isinstance(error, MemoryError):
            raise VideoLimitExceeded(
                f"{path}: reading it asks for more memory than there is; the header is damaged or hostile, "
                "or the clip is too large: copy it again, or scale it down"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableVideo(
            f"{path}: corrupt or truncated {container.name} file ({reason}); copy or generate the clip again"
        ) from error


class _NoStreamsError(Exception):
    """The container opened and holds nothing."""


def _decoder_options(limits: Limits) -> dict[str, str]:
    # The decoder itself refuses a picture that is larger than the header said, before allocating it.
    return {"max_pixels": str(limits.max_pixels), "threads": "1"}


def _open(path: Path, container: Container, limits: Limits, *, decoders: bool) -> InputContainer:
    """`decoders`: let FFmpeg decode a first picture to learn the pixel format; without, it reads the header."""
    most_streams = limits.max_streams + 1
    options = {"protocol_whitelist": "file", "max_streams": str(most_streams)}
    if container.demuxer == "mov":
        options["export_xmp"] = "1"
    if not decoders:
        options["codec_whitelist"] = "none"
    try:
        source: InputContainer = av.open(
            # `file:` keeps a name such as "concat:a|b" or "http:..." from selecting another protocol.
            f"file:{path.resolve()}",
            mode="r",
            format=container.demuxer,
            options=options,
            stream_options=[_decoder_options(limits)] * most_streams,
            metadata_errors="replace",
        )
    except ValueError as error:
        # PyAV's answer to options for streams where there are none.
        raise _NoStreamsError("no streams in the file") from error
    return source


def _video_stream(path: Path, source: InputContainer) -> VideoStream:
    for stream in source.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    kinds = ", ".join(sorted({stream.type for stream in source.streams})) or "none"
    raise UnsupportedVideo(f"{path}: no video stream in the file (streams: {kinds}); give a file with video")


def _header(
    path: Path,
    container: Container,
    source: InputContainer,
    stream: VideoStream,
    size: int,
    limits: Limits,
) -> VideoInfo:
    # Typed as always there; PyAV gives None where FFmpeg has no decoder.
    context = cast("VideoCodecContext | None", stream.codec_context)
    if context is None:
        raise UnsupportedVideo(
            f"{path}: no decoder knows the codec of the video stream; the file is damaged, or its codec is rare: "
            "convert it, e.g. ffmpeg -i IN -crf 0 OUT.mp4"
        )
    if context.format is None or not context.width or not context.height:
        # A picture beyond max_pixels makes the decoder fail and leaves no size behind, so ask the header.
        with _open(path, container, limits, decoders=False) as header_only:
            announced = header_only.streams.video[0].codec_context
            limits.check_size(path, announced.width, announced.height)
        raise UnreadableVideo(
            f"{path}: the header names no picture size or pixel format; the file is damaged or cut short, "
            "copy or generate the clip again"
        )
    limits.check_size(path, context.width, context.height)
    duration = _duration(source, stream)
    if duration is not None:
        limits.check_duration(path, duration)
    num_frames = stream.frames or None
    if num_frames is not None:
        limits.check_length(path, num_frames, context.width, context.height)
    if context.color_trc in _HDR_TRANSFERS:
        raise UnsupportedVideo(
            f"{path}: HDR video, {_HDR_TRANSFERS[context.color_trc]}; metrics read SDR. Tone-map it first, "
            "e.g. ffmpeg -i IN -vf zscale=t=linear,tonemap=hable,zscale=t=bt709:m=bt709,format=yuv420p OUT.mp4"
        )
    if stream.metadata.get("alpha_mode") == "1":
        raise UnsupportedVideo(
            f"{path}: WebM with a transparency layer, which the decoder would drop; "
            "composite it over a background first"
        )
    depth = max(component.bits for component in context.format.components)
    notes = []
    if depth > 8:
        notes.append(f"{depth} bits a channel were converted to 8")
    if len(source.streams.video) > 1:
        notes.append(f"the first of {len(source.streams.video)} video streams was used")
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect != 1:
        notes.append(f"pixels are not square ({aspect}); frames were not stretched")
    rate, base = stream.average_rate, stream.base_rate
    metadata = {**source.metadata, **{f"stream:{key}": value for key, value in stream.metadata.items()}}
    return VideoInfo(
        container=container.name,
        codec=context.name,
        pix_fmt=context.format.name,
        width=context.width,
        height=context.height,
        fps=rate or base,
        num_frames=num_frames,
        duration=duration,
        rotation=None,
        has_alpha=any(component.is_alpha for component in context.format.components),
        bit_depth=depth,
        variable_frame_rate=None,
        sample_aspect_ratio=aspect,
        colour=f"{int(context.colorspace)}/{int(context.color_range)}/{int(context.color_trc)}",
        num_streams=len(source.streams),
        file_bytes=size,
        metadata=metadata,
        notes=tuple(notes),
    )


def _duration(source: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    return Fraction(source.duration, av.time_base) if source.duration is not None else None


def _check_all_samples_present(path: Path, stream: VideoStream, size: int) -> None:
    """An MP4 whose index comes first still opens when its end is missing; FFmpeg would return fewer frames."""
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if end > size:
        raise UnreadableVideo(
            f"{path}: truncated: the index points to byte {end:,} and the file has {size:,}; "
            "copy or generate the clip again"
        )


def _at_most(expected: int | None, cap: int | None) -> int | None:
    return cap if expected is None else min(expected, cap or expected)


def _damaged(path: Path, index: int, what: str) -> UnreadableVideo:
    return UnreadableVideo(f"{path}: {what} after frame {index}; copy or generate the clip again")


class _Converter:
    """Decoded frames to upright RGB, and what that took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rotation = 0
        self.used_alpha = False
        self.notes: list[str] = []
        self._turned = False
        # Shared by all frames: a frame's own would set swscale up anew for every one of them.
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        if any(component.is_alpha for component in frame.format.components):
            pixels = self._composite(self._array(frame, "rgba"))
        else:
            pixels = self._array(frame, "rgb24")
        matrix = cast("Any", frame.side_data).get(SideDataType.DISPLAYMATRIX)
        return pixels if matrix is None else self._upright(pixels, bytes(matrix))

    def _array(self, frame: VideoFrame, pixel_format: str) -> Pixels:
        # PyAV's default of several threads a conversion is 2-3 times slower (benchmarks/perf/decode.py).
        return cast("Pixels", self._reformatter.reformat(frame, format=pixel_format, threads=1).to_ndarray())

    def _composite(self, rgba: Pixels) -> Pixels:
        """Over white, as a web page shows it, rounded to the nearest level."""
        alpha = rgba[..., 3:]
        if alpha.min() == 255:
            return rgba[..., :3]
        if not self.used_alpha:
            self.used_alpha = True
            self.notes.append("transparent pixels were laid over white")
        wide = alpha.astype(np.uint16)
        mixed = rgba[..., :3] * wide + 255 * (255 - wide)
        return ((mixed + 127) // 255).astype(np.uint8)

    def _upright(self, pixels: Pixels, matrix: bytes) -> Pixels:
        """Apply a display matrix: nine 32-bit integers, of which a, b, c, d map (x, y) to (ax+cy, bx+dy)."""
        a, b, _, c, d = np.sign(np.frombuffer(matrix, np.int32)[:5]).tolist()
        if abs(a * d - b * c) != 1 or abs(a) + abs(b) != 1:
            raise UnsupportedVideo(
                f"{self._path}: the file asks to show its frames at an angle that is not a quarter turn; "
                "rotate the pixels first"
            )
        if (a, d) == (1, 1):
            return pixels
        self.rotation = {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[a, b]
        if not self._turned:
            mirrored = " and mirrored" if a * d - b * c < 0 else ""
            self.notes.append(
                f"frames were turned {self.rotation} degrees clockwise{mirrored}, as the file asks"
            )
        self._turned = True
        if a == 0:
            pixels = pixels.transpose(1, 0, 2)
        return pixels[:: d or b, :: a or c]
