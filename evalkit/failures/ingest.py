"""Clips and files that come from people: checked, decoded with limits, and kept by their content."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import VideoError
from evalkit.failures.errors import InvalidReport
from evalkit.failures.fingerprint import perceptual_hash
from evalkit.failures.media import sniff_attachment
from evalkit.failures.record import ClipEvidence

if TYPE_CHECKING:
    from evalkit.failures.store import FailureStore
    from evalkit.video import Limits

__all__ = ["MAX_ATTACHMENT_BYTES", "ORIGINAL", "ingest_attachment", "ingest_clip"]

MAX_ATTACHMENT_BYTES = 5 << 20
ORIGINAL = "application/octet-stream"
"""Media type of files as strangers sent them: kept for detectors and evidence, never rendered by a browser."""


def ingest_clip(
    store: FailureStore, path: Path, *, name: str, actor: str, limits: Limits | None = None
) -> ClipEvidence:
    """Take a clip that no run knows into the store.

    The file is decoded by a child process with limits on memory, time, pixels, frames and streams. What browsers
    play later is a preview encoded here from the decoded frames, never the file that was sent.

    Args:
        store: where original, preview and poster are kept. Nothing is kept when the clip is refused.
        path: the file; its name plays no part.
        name: what the sender calls it, for people.
        actor: who sent it.
        limits: caps; by default those for uploads.

    Raises:
        VideoError: not a video, damaged, or beyond the limits.
    """
    from evalkit.video import UNTRUSTED_LIMITS, decode_untrusted, encode_preview

    try:
        decoded = decode_untrusted(path, limits=limits or UNTRUSTED_LIMITS)
    except VideoError as error:  # in the sender's words: where the file lies here is nobody's business
        raise type(error)(str(error).replace(str(path.resolve()), name)) from None
    video = decoded.video
    with tempfile.TemporaryDirectory(prefix="evalkit-preview-") as folder:
        preview = encode_preview(video, Path(folder) / "preview.mp4")
        shown = store.add_media(preview.video, "video/mp4", name=name, actor=actor)
        still = store.add_media(preview.poster, "image/webp", name=name, actor=actor)
    original = store.add_media(path, ORIGINAL, name=name, actor=actor)
    return ClipEvidence(
        clip_id=video.clip_id,
        num_frames=video.num_frames,
        width=video.width,
        height=video.height,
        fps=str(video.fps),
        phash=perceptual_hash(video),
        original=original.digest,
        preview=shown.digest,
        poster=still.digest,
    )


def ingest_attachment(store: FailureStore, content: bytes, *, name: str, actor: str) -> str:
    """Keep a picture or a text (a workflow file, a log) and return its digest.

    Raises:
        InvalidReport: too large, or another kind of file.
    """
    if len(content) > MAX_ATTACHMENT_BYTES:
        raise InvalidReport(
            f"the attachment {name!r} has {len(content):,} bytes, more than {MAX_ATTACHMENT_BYTES:,}; shorten it"
        )
    return store.add_media(content, sniff_attachment(content), name=name, actor=actor).digest
