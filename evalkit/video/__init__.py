"""Clips: the `Video` value, and the only code that reads and writes video and image files.

    probe, decode, decode_with_info       files and folders to `Video`
    decode_untrusted                      the same for uploads, in a child process with hard limits
    encode_lossless, encode_preview       `Video` to files
    Limits, DEFAULT_LIMITS, decoder_id    caps on a clip; what decoded it

Names are resolved on first use, so that a decoding child process never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.video.clip import Video
    from evalkit.video.decoding import Decoded, decode, decode_with_info, file_digest, probe
    from evalkit.video.encoding import encode_lossless
    from evalkit.video.info import VideoInfo
    from evalkit.video.limits import DEFAULT_LIMITS, UNTRUSTED_LIMITS, Limits
    from evalkit.video.reader import decoder_id

_HOMES = {
    "Video": "clip",
    "Decoded": "decoding",
    "decode": "decoding",
    "decode_with_info": "decoding",
    "file_digest": "decoding",
    "probe": "decoding",
    "encode_lossless": "encoding",
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
    "Video",
    "VideoInfo",
    "decode",
    "decode_with_info",
    "decoder_id",
    "encode_lossless",
    "file_digest",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
