"""Clips: the `Video` value, and the only code that reads and writes video and image files.

    probe, decode, decode_with_info       files and folders to `Video`
    decode_untrusted                      the same for uploads, in a child process with hard limits
    encode_lossless, encode_preview       `Video` to files
    recompress                            `Video` after a pass through a lossy file
    Limits, DEFAULT_LIMITS, decoder_id    caps on a clip; what decoded it

Names are resolved on first use, so that a decoding child process never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.video.clip import Video
    from evalkit.video.decoding import Decoded, decode, decode_with_info
    from evalkit.video.encoding import encode_lossless, recompress
    from evalkit.video.files import file_digest, probe
    from evalkit.video.info import VideoInfo
    from evalkit.video.limits import DEFAULT_LIMITS, UNTRUSTED_LIMITS, Limits
    from evalkit.video.preview import Preview, encode_preview
    from evalkit.video.reader import decoder_id
    from evalkit.video.untrusted import decode_untrusted

_HOMES = {
    "Video": "clip",
    "Decoded": "decoding",
    "decode": "decoding",
    "decode_with_info": "decoding",
    "encode_lossless": "encoding",
    "recompress": "encoding",
    "file_digest": "files",
    "probe": "files",
    "Preview": "preview",
    "encode_preview": "preview",
    "decode_untrusted": "untrusted",
    "VideoInfo": "info",
    "DEFAULT_LIMITS": "limits",
    "UNTRUSTED_LIMITS": "limits",
    "Limits": "limits",
    "decoder_id": "reader",
}

__all__ = [
    "DEFAULT_LIMITS",
    "UNTRUSTED_LIMITS",
    "Decoded",
    "Limits",
    "Preview",
    "Video",
    "VideoInfo",
    "decode",
    "decode_untrusted",
    "decode_with_info",
    "decoder_id",
    "encode_lossless",
    "encode_preview",
    "file_digest",
    "probe",
    "recompress",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
