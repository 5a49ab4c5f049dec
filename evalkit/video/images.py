"""Animated WebP and folders of numbered images, through Pillow (PyAV cannot read animated WebP)."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from evalkit.errors import UnreadableVideo, UnsupportedVideo, VideoLimitExceeded
from evalkit.video.frame_rate import check_rate, frame_rate
from evalkit.video.info import VideoInfo
from evalkit.video.limits import Limits
from evalkit.video.reader import FrameBuffer, RawClip

__all__ = ["RATE_FILE", "image_files", "probe_images", "probe_webp", "read_images", "read_webp"]

RATE_FILE = "fps.txt"
"""A folder of images tells its frame rate in this file: `24` or `24000/1001`."""

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in the order of their numbers (`frame2` before `frame10`).

    Raises:
        UnreadableVideo: there are none.
    """
    found = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file()]
    if not found:
        raise UnreadableVideo(
            f"{folder}: no images in the folder; an image sequence holds files such as 0001.png "
            f"(formats: {', '.join(sorted(_SUFFIXES))})"
        )
    return sorted(found, key=lambda path: [_number_or_text(part) for part in re.split(r"(\d+)", path.name)])


def _number_or_text(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdecimal() else (1, 0, part)


def probe_images(folder: Path, limits: Limits, fps: Fraction | None) -> VideoInfo:
    """Facts of a folder of images, from the first one's header."""
    files = image_files(folder)
    with _open(files[0]) as image:
        width, height = image.size
        limits.check_size(files[0], width, height)
        limits.check_length(folder, len(files), width, height)
        return VideoInfo(
            container="images",
            codec=(image.format or "").lower(),
            pix_fmt=image.mode,
            width=width,
            height=height,
            fps=fps,
            num_frames=len(files),
            duration=len(files) / fps if fps else None,
            rotation=None,
            has_alpha=image.has_transparency_data,
            bit_depth=8,
            variable_frame_rate=False,
            file_bytes=sum(path.stat().st_size for path in files),
            metadata=_tags(image),
        )


def read_images(folder: Path, limits: Limits, fps: Fraction | None, max_frames: int | None) -> RawClip:
    """Decode a folder of images; the rate is `fps`, or what the folder's `fps.txt` says."""
    files = image_files(folder)
    fps = fps or _rate_of(folder)
    info = probe_images(folder, limits, fps)
    limits.check_file_size(folder, info.file_bytes)
    limits.check_duration(folder, len(files) / fps)
    converter = _PillowConverter()
    buffer = FrameBuffer(folder, limits, len(files))
    for path in files[:max_frames]:
        with _open(path) as image:
            limits.check_size(path, *image.size)
            buffer.append(converter(path, image))
    return _finish(folder, buffer, info, fps, variable=False, converter=converter)


def probe_webp(path: Path, limits: Limits) -> VideoInfo:
    """Facts of an animated WebP, from its header."""
    limits.check_file_size(path, path.stat().st_size)
    with _open(path) as image:
        return _webp_header(path, image, limits)


def read_webp(path: Path, limits: Limits, max_frames: int | None) -> RawClip:
    """Decode an animated WebP."""
    limits.check_file_size(path, path.stat().st_size)
    with _open(path) as image:
        info = _webp_header(path, image, limits)
        total = info.num_frames or 1
        converter = _PillowConverter()
        buffer = FrameBuffer(path, limits, total)
        clock = 0
        times: list[int] = []
        shown = 0
        for index in range(min(total, max_frames or total)):
            try:
                image.seek(index)
                image.load()
            except (OSError, EOFError, SyntaxError) as error:
                raise UnreadableVideo(
                    f"{path}: corrupt webp file at frame {index} ({error}); copy or generate the clip again"
                ) from error
            buffer.append(converter(path, image))
            times.append(clock)
            shown = int(image.info.get("duration", 0))
            clock += shown
            limits.check_duration(path, clock / 1000)
        rate = frame_rate(times, shown, Fraction(1, 1000), [])
        if rate is None:
            raise UnsupportedVideo(
                f"{path}: the frames have no duration, so the frame rate is unknown; save the animation with one"
            )
        return _finish(path, buffer, info, rate.fps, variable=rate.variable, converter=converter)


def _webp_header(path: Path, image: Image.Image, limits: Limits) -> VideoInfo:
    frames = int(getattr(image, "n_frames", 1))
    limits.check_size(path, *image.size)
    limits.check_length(path, frames, *image.size)
    return VideoInfo(
        container="webp",
        codec="webp",
        pix_fmt=image.mode,
        width=image.width,
        height=image.height,
        fps=None,
        num_frames=frames,
        duration=None,
        rotation=None,
        has_alpha=image.mode == "RGBA",
        bit_depth=8,
        variable_frame_rate=None,
        file_bytes=path.stat().st_size,
        metadata=_tags(image),
    )


def _tags(image: Image.Image) -> dict[str, str]:
    """Texts that travel with an image: PNG text, EXIF (generators put prompts there), XMP, the place."""
    tags = {
        key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)
    }
    xmp = image.info.get("xmp")
    if isinstance(xmp, bytes):
        tags["xmp"] = xmp.decode("utf-8", "replace")
    exif = image.getexif()
    for number, value in {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}.items():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(text, str) and text.strip("\0 "):
            tags[f"exif:{ExifTags.TAGS.get(number, number)}"] = text.strip("\0 ")
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    if place:
        tags["exif:GPSInfo"] = ", ".join(str(value) for value in place.values())
    return tags


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns of a picture that is ten times larger than any frame, and goes on.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=_FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise VideoLimitExceeded(f"{path}: {error}; scale the frames down") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UnreadableVideo(
            f"{path}: not a readable image ({type(error).__name__}); replace it, or take it out of the folder"
        ) from error


class _PillowConverter:
    """Pillow images to RGB arrays, and what that took."""

    def __init__(self) -> None:
        self.used_alpha = False

    def __call__(self, path: Path, image: Image.Image) -> NDArray[np.uint8]:
        if image.mode not in _MODES:
            raise UnsupportedVideo(
                f"{path}: image mode {image.mode} cannot be read as 8-bit RGB faithfully; save it as RGB"
            )
        try:
            image = ImageOps.exif_transpose(image)
            if not image.has_transparency_data:
                return np.asarray(image.convert("RGB"))
            rgba = np.asarray(image.convert("RGBA"))
        except (OSError, SyntaxError) as error:
            raise UnreadableVideo(
                f"{path}: corrupt or truncated image ({error}); copy or generate the clip again"
            ) from error
        alpha = rgba[..., 3:].astype(np.uint16)
        if alpha.min() == 255:
            return rgba[..., :3]
        self.used_alpha = True
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _rate_of(folder: Path) -> Fraction:
    file = folder / RATE_FILE
    if not file.is_file():
        raise UnsupportedVideo(
            f"{folder}: an image sequence has no frame rate; write it into {file} (24 or 24000/1001), or pass fps="
        )
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if fps <= 0:
        raise UnsupportedVideo(f"{file}:1:1: {text[:40]!r} is not a frame rate; write 24 or 24000/1001")
    return fps


def _finish(
    path: Path,
    buffer: FrameBuffer,
    info: VideoInfo,
    fps: Fraction,
    *,
    variable: bool,
    converter: _PillowConverter,
) -> RawClip:
    check_rate(path, fps)
    frames = buffer.frames()
    notes = []
    if converter.used_alpha:
        notes.append("transparent pixels were laid over white")
    if variable:
        notes.append(
            f"variable frame rate: frames kept as stored, the rate is their mean of {float(fps):.3f} fps"
        )
    return RawClip(
        frames,
        replace(
            info,
            width=frames.shape[2],
            height=frames.shape[1],
            num_frames=len(frames),
            fps=fps,
            duration=len(frames) / fps,
            rotation=0,
            has_alpha=converter.used_alpha,
            variable_frame_rate=variable,
            notes=tuple(notes),
        ),
    )
