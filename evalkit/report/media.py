"""Pictures and clips for the pages: previews, posters, film strips, heat maps, made in parallel and cached.

Everything lies in `RUN/previews`, named by the clip's content, so rendering again finds it there. Facts about
all clips are kept in one file beside them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import VideoError
from evalkit.remote import RemoteFile, is_url, local_copy
from evalkit.report.facts import ClipFacts, measure
from evalkit.runs.files import atomic_path, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evalkit.runs.store import Run
    from evalkit.video import Video

__all__ = ["FACTS", "ClipMedia", "Links", "prepare_media", "read_facts", "write_frames"]

FACTS = Path("previews") / "facts.json"
_FACTS_VERSION = 1
_STRIP_FRAMES = 12
_STRIP_HEIGHT = 72
_FRAME_WIDTH = 320


@dataclass(frozen=True)
class ClipMedia:
    """What there is to show of one clip; paths are absolute, None where it could not be made.

    Attributes:
        original: the scored file; the URL of one in an object store.
        preview: what the browser plays.
        poster: a still.
        strip: film strip, `strip_frames` equally wide pictures side by side.
        heat: preview of the motion-compensated error.
        facts: measurements on the scored pixels.
        problem: why something is missing.
    """

    clip_id: str
    original: Path | RemoteFile | None = None
    preview: Path | None = None
    poster: Path | None = None
    strip: Path | None = None
    heat: Path | None = None
    facts: ClipFacts | None = None
    problem: str = ""

    @property
    def strip_frames(self) -> list[int]:
        """Frames that the film strip shows."""
        return strip_frames(len(self.facts.brightness)) if self.facts else []


def strip_frames(num_frames: int) -> list[int]:
    """Up to 12 frames, evenly spread, first and last included.

    >>> strip_frames(3), strip_frames(16)[-2:]
    ([0, 1, 2], [14, 15])
    """
    count = min(num_frames, _STRIP_FRAMES)
    return [round(index * (num_frames - 1) / max(1, count - 1)) for index in range(count)]


class Links:
    """Where a page finds a file: relative where page and file lie in one run, copied beside the page otherwise.

    A page inside its run folder shares the run's previews and moves with it; a page written elsewhere has to
    carry its own.
    """

    def __init__(self, run: Run, page_folder: Path) -> None:
        self.run_folder = run.folder.resolve()
        self.folder = page_folder.resolve()
        self.inside = self.folder.is_relative_to(self.run_folder)

    def media(self, path: Path | None) -> str | None:
        """Address of a preview, poster, strip or heat map; copies it when the page lies outside the run."""
        if path is None:
            return None
        if self.inside and path.resolve().is_relative_to(self.run_folder):
            return _address(path, self.folder)
        target = self.folder / "media" / path.name
        if not target.exists():
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
        return f"media/{path.name}"

    def original(self, path: Path | RemoteFile | None) -> str | None:
        """Address of the scored file, only where it lies in the run folder and moves with the page."""
        if (
            not isinstance(path, Path)
            or not self.inside
            or not path.resolve().is_relative_to(self.run_folder)
        ):
            return None
        return _address(path, self.folder)


def _address(path: Path, folder: Path) -> str:
    from urllib.parse import quote

    return quote(Path(os.path.relpath(path.resolve(), folder)).as_posix())


def prepare_media(
    run: Run,
    *,
    featured: Iterable[str] = (),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ClipMedia]:
    """Make what is missing for all clips of a run: preview, poster, facts; strip and heat map for `featured`.

    Clips are decoded at most once, and not at all when everything exists. A clip that cannot be read is
    returned with its `problem`; the pages then show its numbers alone.

    Args:
        run: the run.
        featured: ids of the clips that get a film strip and a heat map.
        workers: threads; decoding and encoding run outside Python's lock. Defaults to the number of cores.
        progress: called with (done, total) as clips get ready.
    """
    chosen = set(featured)
    known = read_facts(run.folder)
    jobs = [
        _existing(run, row, known.get(row["clip_id"]))
        for row in run.generations.drop_duplicates("clip_id").to_dict("records")
        if isinstance(row["clip_id"], str)
    ]

    def finish(media: ClipMedia) -> ClipMedia:
        return _complete(run, media, featured=media.clip_id in chosen)

    ready: dict[str, ClipMedia] = {}
    with _one_opencv_thread(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for done, media in enumerate(pool.map(finish, jobs), start=1):
            ready[media.clip_id] = media
            if progress is not None:
                progress(done, len(jobs))
    _write_facts(run, known, ready)
    return ready


@contextlib.contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """OpenCV without threads of its own: every clip has one already, and flow takes three times the CPU with both."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _existing(run: Run, row: dict[Any, Any], facts: ClipFacts | None) -> ClipMedia:
    from evalkit.runs.clips import preview_paths

    clip_id = row["clip_id"]
    preview, poster = (run.folder / path for path in preview_paths(clip_id))
    return ClipMedia(
        clip_id=clip_id,
        original=_original(run, row["path"]),
        preview=_if_there(preview),
        poster=_if_there(poster),
        strip=_if_there(preview.with_suffix(".strip.jpg")),
        heat=_if_there(preview.with_suffix(".heat.mp4")),
        facts=facts,
    )


def _original(run: Run, path: object) -> Path | RemoteFile | None:
    if not isinstance(path, str):
        return None
    if is_url(path):
        return RemoteFile(path)
    there = run.path_of(path)
    return there if there.exists() else None


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _complete(run: Run, media: ClipMedia, *, featured: bool) -> ClipMedia:
    wanted = [media.preview, media.poster, media.facts]
    if featured:
        moves = media.facts is None or bool(media.facts.change)
        wanted += [media.strip, media.heat] if moves else [media.strip]
    if all(part is not None for part in wanted):
        return media
    if media.original is None:
        return replace(media, problem="the scored file is no longer where the run recorded it")
    from evalkit.video import decode, encode_preview

    try:
        with local_copy(str(media.original)) as path:
            video = decode(path)
    except VideoError as error:
        return replace(media, problem=str(error))
    from evalkit.runs.clips import store_preview

    columns = store_preview(run.folder, video, media.clip_id)
    media = replace(
        media,
        preview=run.folder / str(columns["preview"]),
        poster=run.folder / str(columns["poster"]),
        facts=media.facts or measure(video),
    )
    if not featured:
        return media
    base = run.folder / str(columns["preview"])
    strip, heat = base.with_suffix(".strip.jpg"), base.with_suffix(".heat.mp4")
    if not strip.exists():
        _write_strip(video, strip)
    if not heat.exists() and video.num_frames > 1:
        from evalkit.report.heat import warp_error_heat

        encode_preview(warp_error_heat(video), heat)
    return replace(media, strip=strip, heat=_if_there(heat))


def _write_strip(video: Video, path: Path) -> None:
    width = max(1, round(video.width * _STRIP_HEIGHT / video.height))
    pictures = [_resized(video, frame, width, _STRIP_HEIGHT) for frame in strip_frames(video.num_frames)]
    _write_jpeg(np.concatenate(pictures, axis=1), path)


def write_frames(run: Run, media: ClipMedia, frames: Iterable[int]) -> list[Path]:
    """Stills of single frames of a clip, 320 pixels wide, cached; empty when the clip cannot be read."""
    targets = {frame: run.folder / "previews" / f"{media.clip_id}.f{frame}.jpg" for frame in frames}
    if any(not path.exists() for path in targets.values()):
        if media.original is None:
            return []
        from evalkit.video import decode

        try:
            with local_copy(str(media.original)) as local:
                video = decode(local)
        except VideoError:
            return []
        height = max(1, round(video.height * _FRAME_WIDTH / video.width))
        for frame, path in targets.items():
            if frame < video.num_frames and not path.exists():
                _write_jpeg(_resized(video, frame, _FRAME_WIDTH, height), path)
    return [path for path in targets.values() if path.exists()]


def _resized(video: Video, frame: int, width: int, height: int) -> NDArray[np.uint8]:
    import cv2

    pixels = video.frames[frame].permute(1, 2, 0).contiguous().numpy()
    enlarges = width > video.width
    resized = cv2.resize(
        pixels, (width, height), interpolation=cv2.INTER_CUBIC if enlarges else cv2.INTER_AREA
    )
    return np.asarray(resized, dtype=np.uint8)


def _write_jpeg(pixels: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="JPEG", quality=82, optimize=True)


def read_facts(folder: Path) -> dict[str, ClipFacts]:
    """What was measured on the clips of the run in `folder`, by clip id; empty before the first report or gallery."""
    path = folder / FACTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a cache: whatever is wrong with it, measuring again puts it right
    if content.get("version") != _FACTS_VERSION:
        return {}
    return {clip_id: ClipFacts.from_dict(facts) for clip_id, facts in content["clips"].items()}


def _write_facts(run: Run, known: dict[str, ClipFacts], ready: dict[str, ClipMedia]) -> None:
    measured = {clip_id: media.facts for clip_id, media in ready.items() if media.facts is not None}
    if all(known.get(clip_id) == facts for clip_id, facts in measured.items()):
        return
    clips = {clip_id: facts.to_dict() for clip_id, facts in sorted({**known, **measured}.items())}
    write_json(run.folder / FACTS, {"version": _FACTS_VERSION, "clips": clips})
