"""Which container a file really is, and whether it is all there, read from its bytes.

FFmpeg guesses a format from the content and, for some, from the name. A text file named `clip.mp4` that
holds `ffconcat` or a playlist would make it open other files. So the format is chosen here, from magic
bytes, out of a closed list, and the demuxer is forced to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from evalkit.errors import UnreadableVideo, UnsupportedVideo

__all__ = ["Container", "sniff"]


class Container(NamedTuple):
    """What `sniff` found.

    name: `mp4`, `mov`, `matroska`, `webm`, `gif`, `webp` or `images` (a folder).
    demuxer: FFmpeg's name for it; None where Pillow reads it.
    """

    name: str
    demuxer: str | None


_HEAD = 4096
# Top-level boxes that may open an ISO file; old QuickTime files have no `ftyp`.
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_TEXT_BYTES = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D}
_OTHER_KINDS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"OggS", "an Ogg file"),
    (b"FLV", "a Flash video"),
    (b"\x00\x00\x01\xba", "an MPEG program stream"),
    (b"\x47\x40", "an MPEG transport stream"),
    (b"\x30\x26\xb2\x75", "a Windows Media file"),
)
_FORMATS = "mp4, mov, webm, mkv, gif, animated webp, or a folder of numbered images"


def sniff(path: Path) -> Container:
    """The container of `path`, by its first bytes; the file's name plays no part.

    Raises:
        UnreadableVideo: missing, empty, truncated, or text.
        UnsupportedVideo: another kind of file.
    """
    if path.is_dir():
        return Container("images", None)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise UnreadableVideo(f"{path}: no such file") from None
    except OSError as error:
        raise UnreadableVideo(f"{path}: cannot be read ({error.strerror or error})") from error
    if not head:
        raise UnreadableVideo(f"{path}: the file is empty (0 bytes); copy or generate the clip again")

    if head[4:8] in _ISO_BOXES:
        return Container("mov" if head[4:8] != b"ftyp" or head[8:12] == b"qt  " else "mp4", "mov")
    if head.startswith(b"\x1aE\xdf\xa3"):
        _check_matroska_complete(path, head, size)
        return Container("webm" if b"webm" in head[:64] else "matroska", "matroska")
    if head[:6] in (b"GIF87a", b"GIF89a"):
        _check_gif_complete(path, size)
        return Container("gif", "gif")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        if int.from_bytes(head[4:8], "little") + 8 > size:
            raise _truncated(path, int.from_bytes(head[4:8], "little") + 8, size)
        return Container("webp", None)

    if all(byte in _TEXT_BYTES for byte in head[:256]):
        start = head[:24].decode("ascii", "replace").splitlines()[0] if head.strip() else ""
        raise UnreadableVideo(
            f"{path}: a text file (it begins {start!r}), not a video; playlists and concat scripts are "
            f"never followed. Give the clip itself: {_FORMATS}"
        )
    for magic, kind in _OTHER_KINDS:
        if head.startswith(magic):
            raise UnsupportedVideo(f"{path}: {kind}, not a supported video; convert it to {_FORMATS}")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        raise UnsupportedVideo(f"{path}: an AVI file; convert it, e.g. ffmpeg -i IN.avi -crf 0 OUT.mp4")
    raise UnreadableVideo(
        f"{path}: not a video that evalkit knows (first bytes {head[:8].hex(' ')}); give {_FORMATS}"
    )


def _truncated(path: Path, expected: int, size: int) -> UnreadableVideo:
    return UnreadableVideo(
        f"{path}: truncated: the header announces {expected:,} bytes and the file has {size:,}; "
        "copy or generate the clip again"
    )


def _check_gif_complete(path: Path, size: int) -> None:
    with path.open("rb") as file:
        file.seek(max(0, size - 64))
        tail = file.read()
    if not tail.rstrip(b"\0").endswith(b";"):
        raise UnreadableVideo(
            f"{path}: truncated: the GIF has no end mark after {size:,} bytes; copy or generate the clip again"
        )


def _check_matroska_complete(path: Path, head: bytes, size: int) -> None:
    """FFmpeg reads a cut Matroska file without a word, so compare the announced size with the real one."""
    position = 4
    length, position = _ebml_size(head, position)
    if length is None:
        return
    position += length
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return
    length, position = _ebml_size(head, position + 4)
    if length is not None and position + length > size:
        raise _truncated(path, position + length, size)


def _ebml_size(data: bytes, position: int) -> tuple[int | None, int]:
    """An EBML variable-length size at `position`: (value, or None where unknown; position after it)."""
    if position >= len(data) or data[position] == 0:
        return None, position
    width = 9 - data[position].bit_length()
    raw = int.from_bytes(data[position : position + width], "big") & ((1 << 7 * width) - 1)
    return (None if raw == (1 << 7 * width) - 1 else raw), position + width
