"""The clips of a run on disk: a lossless copy of what was generated, a browser preview and a poster.

Files are named by the clip's content, so that the same clip is stored once and a preview can never belong to
another clip. Scores are always computed from the lossless copy or the original, never from a preview.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["preview_paths", "store_clip", "store_preview"]


def preview_paths(clip_id: str) -> tuple[str, str]:
    """Paths of a clip's preview and poster, relative to the run."""
    return f"previews/{clip_id}.mp4", f"previews/{clip_id}.webp"


def store_preview(folder: Path, video: Video, clip_id: str) -> dict[str, str | None]:
    """Write the preview and the poster unless they exist.

    Returns:
        the columns `preview` and `poster` of the generations table.
    """
    from evalkit.video import encode_preview

    preview, poster = preview_paths(clip_id)
    (folder / "previews").mkdir(parents=True, exist_ok=True)
    if not ((folder / preview).exists() and (folder / poster).exists()):
        encode_preview(video, folder / preview)
    return {"preview": preview, "poster": poster}


def store_clip(folder: Path, video: Video, clip_id: str) -> dict[str, str | None]:
    """Write the lossless copy, the preview and the poster of a generated clip.

    Returns:
        the columns `path`, `file_digest`, `preview` and `poster` of the generations table.
    """
    from evalkit.video import encode_lossless, file_digest

    path = f"clips/{clip_id}.mp4"
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    # Written even if it exists: a clip is made again because its file was lost or damaged.
    encode_lossless(video, folder / path)
    return {"path": path, "file_digest": file_digest(folder / path), **store_preview(folder, video, clip_id)}
