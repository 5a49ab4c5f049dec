"""Previews, posters, strips, heat maps: made once, found again, honest about what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.report import render_gallery, render_report
from evalkit.report.heat import warp_error_heat
from evalkit.report.media import Links, prepare_media, strip_frames, write_frames
from evalkit.runs.store import Run, open_run
from evalkit.video import decode

from .conftest import FRAMES, moving_square


@pytest.fixture
def copy(candidate: Run, tmp_path: Path) -> Run:
    """The run with its previews, without its pages."""
    target = tmp_path / "run"
    shutil.copytree(candidate.folder, target, ignore=shutil.ignore_patterns("report", "gallery"))
    return open_run(target)


def test_missing_previews_are_made_and_found_again(copy: Run):
    first = next(clip_id for clip_id in copy.generations["clip_id"] if clip_id)
    shutil.rmtree(copy.folder / "previews")
    seen: list[tuple[int, int]] = []
    media = prepare_media(copy, featured=[first], workers=2, progress=lambda *step: seen.append(step))
    assert seen[-1] == (15, 15)
    assert len(media) == 15
    for clip_id, clip in media.items():
        assert clip.preview.is_file()
        assert clip.poster.is_file()
        assert (clip.strip is not None) == (clip.heat is not None) == (clip_id == first)
    stamps = {path: path.stat().st_mtime_ns for path in (copy.folder / "previews").iterdir()}
    shutil.rmtree(copy.folder / "clips")
    again = prepare_media(open_run(copy.folder), featured=[first])
    assert again[first].facts == media[first].facts
    assert {path: path.stat().st_mtime_ns for path in (copy.folder / "previews").iterdir()} == stamps


def test_a_clip_that_cannot_be_read_keeps_its_numbers_and_says_why(copy: Run):
    rows = copy.generations.dropna(subset=["clip_id"])
    gone, broken = rows.iloc[0], rows.iloc[1]
    copy.path_of(gone["path"]).unlink()
    copy.path_of(broken["path"]).write_bytes(b"ffconcat version 1.0\nfile /etc/passwd\n")
    for row in (gone, broken):
        (copy.folder / "previews" / f"{row['clip_id']}.mp4").unlink()
    media = prepare_media(copy)
    assert "no longer where" in media[gone["clip_id"]].problem
    assert media[broken["clip_id"]].problem
    assert media[broken["clip_id"]].preview is None
    assert render_report(copy).is_file()
    assert render_gallery(copy).is_file()


def test_a_damaged_cache_of_facts_is_measured_again(copy: Run):
    before = prepare_media(copy)
    (copy.folder / "previews" / "facts.json").write_text('{"version": 1, "clips": ')
    assert prepare_media(open_run(copy.folder)) == before


def test_a_page_inside_the_run_shares_its_previews_and_moves_with_it(candidate: Run):
    links = Links(candidate, candidate.folder / "gallery")
    clip = next(iter(prepare_media(candidate).values()))
    assert links.media(clip.preview) == f"../previews/{clip.preview.name}"
    assert links.original(clip.original).startswith("../clips/")


def test_a_page_elsewhere_carries_its_own(candidate: Run, tmp_path: Path):
    page = render_gallery(candidate, out=tmp_path / "away")
    shown = {path.name for path in (tmp_path / "away" / "media").iterdir()}
    clip_ids = set(candidate.generations["clip_id"].dropna())
    assert {f"{clip_id}.mp4" for clip_id in clip_ids} <= shown
    assert ".." not in (page.parent / "data" / "clips.js").read_text(encoding="ascii")


def test_the_strip_shows_the_frames_it_names(candidate: Run):
    clip_id = candidate.generations.query("prompt_id == 'p0002'")["clip_id"].iloc[0]
    clip = prepare_media(candidate, featured=[clip_id])[clip_id]
    strip = np.asarray(Image.open(clip.strip).convert("RGB"), dtype=float)
    frames = clip.strip_frames
    assert frames == strip_frames(FRAMES)
    assert (frames[0], frames[-1], len(frames)) == (0, FRAMES - 1, 12)
    video = decode(clip.original).frames.permute(0, 2, 3, 1).numpy()
    width = strip.shape[1] // len(frames)
    small = [
        np.asarray(
            Image.fromarray(frame).resize((width, strip.shape[0]), Image.Resampling.BICUBIC), dtype=float
        )
        for frame in video
    ]
    for position, frame in enumerate(frames):
        cell = strip[:, position * width : (position + 1) * width]
        assert int(np.argmin([np.abs(cell - picture).mean() for picture in small])) == frame


def test_single_frames_are_cached_and_right(candidate: Run):
    clip = next(iter(prepare_media(candidate).values()))
    paths = write_frames(candidate, clip, [3, 4])
    stamp = paths[0].stat().st_mtime_ns
    assert write_frames(candidate, clip, [3, 4]) == paths
    assert paths[0].stat().st_mtime_ns == stamp
    shown = np.asarray(Image.open(paths[0]).resize((64, 64)), dtype=float)
    assert np.abs(shown - decode(clip.original).frames[3].permute(1, 2, 0).numpy()).mean() < 8


def test_heat_is_where_the_flicker_is_and_not_where_motion_explains():
    calm, flicker = warp_error_heat(moving_square(1)), warp_error_heat(moving_square(1, flicker=True))
    assert calm.num_frames == flicker.num_frames == FRAMES
    heat = flicker.frames.double().mean(dim=(1, 2, 3)) - calm.frames.double().mean(dim=(1, 2, 3))
    assert heat[7:12].min() > 10
    assert heat[:6].abs().max() < 1
    assert calm.frames[0].max() == calm.frames[0].min()
