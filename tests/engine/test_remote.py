"""Clips behind URLs: the same rows as from a folder, read from a store that speaks S3's protocol."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
import torch

from evalkit.engine.executor import InlineExecutor
from evalkit.engine.run import score_found
from evalkit.errors import MissingExtra, SuiteError, UnreadableVideo
from evalkit.remote import list_remote, local_copy
from evalkit.report.media import prepare_media
from evalkit.suites.layouts import scan_folder
from evalkit.video import Video, encode_lossless
from tests.engine.object_store import object_store

pytest.importorskip("obstore")
METRICS = ("vbench.temporal_flickering", "provenance.metadata_leak")
NAMES = ("a red ball-0.mp4", "a red ball-1.mp4", "theirs/a blue cube-0.mp4")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    folder = tmp_path / "store" / "videos" / "set one"
    generator = torch.Generator().manual_seed(0)
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        frames = torch.randint(0, 256, (4, 3, 32, 48), generator=generator, dtype=torch.uint8)
        encode_lossless(Video(frames, Fraction(8)), folder / name)
    (folder / "broken-0.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    with object_store(tmp_path / "store") as (variables, log):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield folder, log


def test_a_store_gives_the_rows_of_the_folder(bucket: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, log = bucket
    url = "s3://videos/set one"
    assert list_remote(url) == sorted([*NAMES, "broken-0.mp4"])
    inline = {"metrics": METRICS, "executor": InlineExecutor()}
    near = score_found(scan_folder(folder, layout="vbench"), tmp_path / "near", **inline)
    far = score_found(scan_folder(url, layout="vbench"), tmp_path / "far", **inline)
    ours, theirs = far.generations, near.generations
    assert list(ours.path) == [path.replace(str(folder), url) for path in theirs.path]
    same = ["prompt_id", "group", "sample_index", "clip_id", "file_digest", "status", "num_frames"]
    pd.testing.assert_frame_equal(ours[same], theirs[same])
    assert ours.error.tolist() == [error and error.replace(str(folder), url) for error in theirs.error]
    assert far.scores.value.tolist() == pytest.approx(near.scores.value.tolist(), nan_ok=True)
    assert far.scores.status.tolist() == near.scores.status.tolist()
    assert sum(entry.startswith("GET /videos/") for entry in log) >= len(NAMES)

    # The report measures and shows what lies in the store.
    media = prepare_media(far)
    ok = ours[ours.status == "ok"]
    assert {clip_id: one.problem for clip_id, one in media.items()} == dict.fromkeys(ok.clip_id, "")
    assert all(media[clip_id].facts is not None for clip_id in ok.clip_id)

    # Another file under the same name is noticed, and nothing else is scored again.
    changed = folder / NAMES[0]
    changed.write_bytes((folder / NAMES[1]).read_bytes())
    again = score_found(scan_folder(url, layout="vbench"), tmp_path / "far", **inline)
    ids = dict(zip(again.generations.path, again.generations.clip_id, strict=True))
    assert ids[f"{url}/{NAMES[0]}"] == ids[f"{url}/{NAMES[1]}"]
    kept, before = again.scores, far.scores
    others = ~kept.prompt_id.isin(again.generations.prompt_id[again.generations.path == f"{url}/{NAMES[0]}"])
    pd.testing.assert_series_equal(kept[others].elapsed_ms, before[others].elapsed_ms)


def test_worker_processes_read_the_store_too(bucket: tuple[Path, list[str]], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evalkit", "score", "s3://videos/set one", "--layout", "vbench"]
    command += ["--metrics", METRICS[0], "--out", str(tmp_path / "run"), "--workers", "1", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr  # one clip is broken on purpose
    from evalkit.runs.store import open_run

    rows = open_run(tmp_path / "run").generations
    assert sorted(rows.status) == ["failed", "ok", "ok", "ok"]


def test_clips_that_vanish_from_the_store_fail_alone(bucket: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = bucket
    scan = scan_folder("s3://videos/set one", layout="vbench")
    (folder / NAMES[1]).unlink()
    run = score_found(scan, tmp_path / "run", metrics=METRICS[:1], executor=InlineExecutor())
    rows = run.generations.set_index("path")
    assert "is not there" in rows.error[f"s3://videos/set one/{NAMES[1]}"]
    assert rows.status[f"s3://videos/set one/{NAMES[0]}"] == "ok"


def test_what_is_wrong_with_a_url_is_said(
    bucket: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SuiteError, match=r"s3://videos/empty.*holds no clips"):
        scan_folder("s3://videos/empty")
    with pytest.raises(UnreadableVideo, match=r"nothing://x.*scheme"), local_copy("nothing://x"):
        pass
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    with pytest.raises(UnreadableVideo, match="credentials"), local_copy("s3://videos/set one/other.mp4"):
        pass
    monkeypatch.setitem(sys.modules, "obstore.fsspec", None)
    with pytest.raises(MissingExtra, match=r"evalkit\[remote\]"), local_copy("s3://videos/a.mp4"):
        pass


def test_any_file_system_of_fsspec_will_do(bucket: tuple[Path, list[str]], tmp_path: Path) -> None:
    import fsspec

    folder, _ = bucket
    memory = fsspec.filesystem("memory")
    memory.pipe("/clips/x-0.mp4", (folder / NAMES[0]).read_bytes())
    for url in ("memory://clips", f"file://{folder}"):
        run = score_found(
            scan_folder(url, layout="plain"),
            tmp_path / url[:4],
            metrics=METRICS[:1],
            executor=InlineExecutor(),
        )
        assert "ok" in set(run.generations.status)
        assert all("://" in path for path in run.generations.path)
    memory.rm("/clips", recursive=True)
