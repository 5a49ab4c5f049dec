"""What can break while a run is going on: nothing is lost or counted twice, and errors stay on their rows."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from evalkit.engine.executor import InlineExecutor
from evalkit.engine.run import rescore, run_model, score_found
from evalkit.errors import RunError
from evalkit.features.registry import EXTRACTORS
from evalkit.metrics.registry import METRICS
from evalkit.runs.journal import Journal, read_journal
from evalkit.runs.store import Run, open_run
from evalkit.suites.layouts import scan_folder
from evalkit.testing.runs import make_suite
from tests.engine import faulty, toys
from tests.engine.test_run import assert_same

ROOT = Path(__file__).parents[2]
PLAIN = ("vbench.temporal_flickering", "faulty.brightness")
INLINE = InlineExecutor()


@pytest.fixture(autouse=True)
def _plugins(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    faulty.install(folder)
    monkeypatch.syspath_prepend(str(folder))
    for registry in (METRICS, EXTRACTORS):
        registry.__dict__.pop("plugins", None)
    yield
    for registry in (METRICS, EXTRACTORS):
        registry.__dict__.pop("plugins", None)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Number of forward passes of the cached extractor so far."""
    folder = tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("FAULTY_CALLS", str(folder))
    return lambda: len(list(folder.iterdir()))


def small(out: Path, metrics: tuple[str, ...] = PLAIN) -> Run:
    return run_model(make_suite(3), toys.Toy(), out, metrics=metrics, executor=INLINE)


def test_what_breaks_while_generating_stays_on_its_row(tmp_path: Path) -> None:
    model = faulty.FaultyModel(batch_size=2)
    run = run_model(make_suite(8), model, tmp_path / "run", metrics=PLAIN, workers=2, timeout_s=3)
    rows = run.generations.set_index("prompt_id")
    assert list(rows.status) == ["ok", *["failed"] * 5, "ok", "ok"]
    assert "SIGKILL" in rows.error["p0001"]
    assert rows.error["p0002"] == "took longer than 3 s and was stopped"
    assert "must be uint8" in rows.error["p0003"]
    assert "2x8x8 (frames x height x width) where 6x32x48" in rows.error["p0004"]
    assert "exit code 1" in rows.error["p0005"]
    assert len(run.scores) == 8 * len(PLAIN)
    assert (run.scores.status == "ok").sum() == 3 * len(PLAIN)
    assert run.manifest.status == "partial"


def test_what_breaks_while_scoring_stays_on_its_row(tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = (*PLAIN, "faulty.everything", "faulty.distance")
    reference = small(tmp_path / "reference").folder
    arguments = {"metrics": metrics, "reference": reference, "workers": 2, "timeout_s": 3}
    run = run_model(make_suite(8), faulty.Blackout(), out, **arguments)
    assert set(run.generations.status) == {"ok"}
    scores = run.scores
    assert set(scores.status[scores.metric_id.isin(PLAIN)]) == {"ok"}
    culprit = scores[scores.metric_id == "faulty.everything"].set_index("prompt_id")
    assert list(culprit.status) == ["ok", *["failed"] * 6, "ok"]
    assert "SIGKILL" in culprit.reason["p0001"]
    assert culprit.reason["p0002"] == "took longer than 3 s and was stopped"
    assert "not finite" in culprit.reason["p0003"]
    assert "not finite" in culprit.reason["p0004"]
    assert "exit code 1" in culprit.reason["p0005"]
    assert "RuntimeError" in culprit.reason["p0006"]
    assert culprit.value[culprit.status != "ok"].isna().all()
    distance = run.set_scores.iloc[0]
    assert (distance.status, distance.n_generated, distance.n_reference) == ("ok", 7, 3)
    assert distance.reason == "1 clips without features were left out"
    assert len(scores) == len(scores.drop_duplicates(["prompt_id", "metric_id"])) == 8 * 3


def test_a_model_that_miscounts_is_asked_clip_by_clip(tmp_path: Path) -> None:
    run = run_model(
        make_suite(4), faulty.Miscounting(batch_size=2), tmp_path / "run", metrics=PLAIN, executor=INLINE
    )
    assert set(run.generations.status) == {"ok"}


DISK = """
import subprocess, sys
from pathlib import Path
from evalkit.engine.executor import InlineExecutor
from evalkit.engine.run import run_model
from evalkit.errors import RunError
from evalkit.runs.journal import read_journal
from evalkit.testing.runs import make_suite
from tests.engine.test_run import METRICS, assert_same
from tests.engine.toys import Toy

def run(out, **how):
    return run_model(make_suite(12), Toy(), out, metrics=METRICS, **how)

def refused(**how):
    try:
        run(disk / "run", **how)
    except RunError as error:
        return str(error)
    raise SystemExit("the run did not stop")

if __name__ == "__main__":
    disk, safe = map(Path, sys.argv[1:])
    mount = lambda *options: subprocess.run(["mount", *options, str(disk)], check=True)
    mount("-t", "tmpfs", "-o", "size=192k", "tmpfs")
    message = refused(workers=1)
    assert "No space left on device): free some space and run the same command again" in message, message
    kept = [entry["clip"]["clip_id"] for entry in read_journal(disk / "run/journal.jsonl")]
    assert 0 < len(kept) < 12, kept
    before = {clip: (disk / f"run/clips/{clip}.mp4").stat().st_mtime_ns for clip in kept}
    mount("-o", "remount,ro")
    assert "Read-only file system" in refused(executor=InlineExecutor())
    mount("-o", "remount,rw,size=64m")
    finished = run(disk / "run", workers=1)
    assert_same(finished, run(safe / "run", executor=InlineExecutor()))
    after = {clip: (disk / f"run/clips/{clip}.mp4").stat().st_mtime_ns for clip in kept}
    whole_batches = kept[: len(kept) // 2 * 2]
    assert [after[clip] for clip in whole_batches] == [before[clip] for clip in whole_batches]
    assert not list((disk / "run").rglob("*.part"))
"""


def test_a_disk_that_fills_up_or_turns_read_only_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = [*namespace, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(
            "this machine does not let a process mount a small disk of its own (unshare --user --mount)"
        )
    script = tmp_path / "disk.py"
    script.write_text(DISK)
    done = subprocess.run(
        [*namespace, sys.executable, str(script), str(disk), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("stage", "code", "said"),
    [
        ("clip", errno.ENOSPC, r"No space left on device.*free some space"),
        ("feature", errno.ENOSPC, r"No space left on device.*free some space"),
        ("journal", errno.ENOSPC, r"No space left on device.*free some space"),
        ("table", errno.ENOSPC, r"No space left on device.*free some space"),
        ("clip", errno.EROFS, r"Read-only file system.*make it writable"),
        ("feature", errno.EACCES, r"Permission denied.*make it writable"),
    ],
)
def test_a_folder_that_cannot_be_written_stops_the_run_and_the_next_one_completes_it(
    stage: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = OSError(code, os.strerror(code))
    seen = 0

    def third_time(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal seen
            seen += 1
            if seen == 3:
                raise refused
            return real(*arguments, **named)

        return call

    target = {
        "clip": "evalkit.video.encode_lossless",
        "feature": "pathlib.Path.write_bytes",
        "journal": "evalkit.runs.journal.os.fsync",
        "table": "evalkit.engine.session.write_table",
    }[stage]
    module, _, name = target.rpartition(".")
    import pkgutil

    monkeypatch.setattr(target, third_time(getattr(pkgutil.resolve_name(module), name)))
    with pytest.raises(RunError, match=f"{said}.*same command"):
        small(tmp_path / "run")
    monkeypatch.undo()
    assert_same(
        small_with_plugins(tmp_path / "run", tmp_path), small_with_plugins(tmp_path / "whole", tmp_path)
    )


def small_with_plugins(out: Path, site: Path) -> Run:
    """`small`, after monkeypatch.undo() has taken the plugins off sys.path."""
    if not (site / "plugins").exists():
        faulty.install(site / "plugins")
    sys.path.insert(0, str(site / "plugins"))
    try:
        return small(out)
    finally:
        sys.path.remove(str(site / "plugins"))


def test_a_journal_that_cannot_grow_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"clip": 1})

        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("evalkit.runs.journal.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append({"clip": 2}, {"clip": 3})
        monkeypatch.undo()
        journal.append({"clip": 4})
    assert list(read_journal(path)) == [{"clip": 1}, {"clip": 4}]


def test_clips_that_vanish_between_plan_and_score_fail_alone(tmp_path: Path) -> None:
    source, clips = small(tmp_path / "source"), tmp_path / "clips"
    clips.mkdir()
    for row in source.generations.itertuples():
        shutil.copy(source.path_of(row.path), clips / f"{row.prompt_id}.mp4")
    scan = scan_folder(clips, layout="plain")
    (clips / "p0001.mp4").unlink()
    run = score_found(scan, tmp_path / "run", metrics=PLAIN, executor=INLINE)
    rows = run.generations.set_index(run.generations.path.map(lambda path: Path(path).stem))
    assert list(rows.status[["p0000", "p0001", "p0002"]]) == ["ok", "failed", "ok"]
    assert "is gone" in rows.error["p0001"]
    lost = run.scores[run.scores.status != "ok"]
    assert len(lost) == len(PLAIN)
    assert lost.reason.str.contains("is gone").all()
    shutil.copy(source.path_of(source.generations.path[1]), clips / "p0001.mp4")
    assert score_found(scan, tmp_path / "run", metrics=PLAIN, executor=INLINE).manifest.status == "complete"


def test_an_own_clip_that_vanished_or_was_damaged_is_made_again(tmp_path: Path) -> None:
    whole = small(tmp_path / "whole")
    folder = Path(shutil.copytree(whole.folder, tmp_path / "run"))
    paths = [folder / path for path in whole.generations.path]
    paths[0].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-200])
    shutil.rmtree(folder / "features")
    damaged = rescore(folder, metrics=["faulty.contrast"], executor=INLINE)
    assert list(damaged.generations.status) == ["failed", "ok", "failed"]
    assert damaged.manifest.status == "partial"
    metrics = (*PLAIN, "faulty.contrast")
    assert_same(small(folder, metrics), small(tmp_path / "again", metrics))


def test_another_clip_under_a_clips_name_is_noticed(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    first, second = (run.folder / path for path in run.generations.path[:2])
    shutil.copy(second, first)
    shutil.rmtree(run.folder / "features")
    again = rescore(run.folder, metrics=["faulty.contrast"], executor=INLINE)
    assert list(again.generations.status) == ["failed", "ok", "ok"]
    assert "does not hold the clip it was written with" in again.generations.error[0]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage"])
def test_damaged_features_are_computed_again(damage: str, tmp_path: Path, calls: Callable[[], int]) -> None:
    run = small(tmp_path / "run")
    assert calls() == 3
    files = sorted((run.folder / "features").rglob("*.safetensors"))
    assert len(files) == 3
    content = bytearray(files[0].read_bytes())
    content[-2] ^= 0x10
    files[0].write_bytes(
        {"flip": bytes(content), "truncate": content[:-9], "empty": b"", "garbage": b"\xff" * 64}[damage]
    )
    again = rescore(run.folder, metrics=["faulty.contrast"], executor=INLINE)
    assert calls() == 4
    assert_same(again, small(tmp_path / "whole", (*PLAIN, "faulty.contrast")))


def test_clock_jumps_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small(tmp_path / "whole")
    jumps = iter(range(10**6))
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: 1e9 * ((next(jumps) * 7919) % 5))
        run = small(tmp_path / "run")
    assert_same(run, whole)
    assert (run.generations.seconds >= 0).all()
    assert (run.scores.elapsed_ms >= 0).all()
    for path in run.folder.rglob("*"):
        os.utime(path, (4e9, 4e9))
    before = run.scores
    pd.testing.assert_frame_equal(small(run.folder).scores, before)


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_driver_is_refused_and_a_dead_one_does_not_block(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    before = run.scores
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.folder / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(RunError, match="another evalkit process"):
        small(run.folder)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    pd.testing.assert_frame_equal(small(run.folder).scores, before)


def test_a_rerun_decodes_nothing_and_computes_nothing(
    tmp_path: Path, calls: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small(tmp_path / "source")
    clips = tmp_path / "clips"
    clips.mkdir()
    for row in source.generations.itertuples():
        shutil.copy(source.path_of(row.path), clips / f"{row.prompt_id}.mp4")
    arguments = {"metrics": (*PLAIN, "faulty.distance"), "reference": clips, "executor": INLINE}
    scan = scan_folder(clips, layout="plain")
    first = score_found(scan, tmp_path / "run", **arguments)
    made, before = calls(), (first.scores, first.set_scores)
    assert before[1].status[0] == "ok"

    def decode(*arguments: object, **named: object) -> None:
        raise AssertionError("a clip was decoded")

    monkeypatch.setattr("evalkit.video.files.read_container", decode)
    again = score_found(scan, tmp_path / "run", **arguments)
    assert calls() == made
    pd.testing.assert_frame_equal(again.scores, before[0])
    pd.testing.assert_frame_equal(again.set_scores, before[1])
    assert open_run(tmp_path / "run").manifest.status == "complete"
