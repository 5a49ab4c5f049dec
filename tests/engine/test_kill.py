"""kill -9 at any moment, then the same command: the tables are those of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from evalkit.engine.executor import InlineExecutor
from evalkit.engine.run import run_model
from evalkit.runs.journal import read_journal
from evalkit.runs.store import open_run
from evalkit.testing.runs import make_suite
from tests.engine import toys
from tests.engine.test_run import METRICS, assert_same

ROOT = Path(__file__).parents[2]
PROMPTS, SAMPLES = 5, 2

COMMAND = f"""
import sys
from pathlib import Path
from evalkit.engine.run import run_model
from evalkit.testing.runs import make_suite
from tests.engine.toys import HangsOnce
if __name__ == "__main__":
    run_model(make_suite({PROMPTS}), HangsOnce(Path(sys.argv[2])), Path(sys.argv[1]), samples={SAMPLES}, metrics={METRICS!r},
              workers=1)
"""


def start(out: Path, script: Path) -> subprocess.Popen[bytes]:
    # A session of its own, so that the workers die with the driver, as they do when a machine is switched off.
    return subprocess.Popen(
        [sys.executable, str(script), str(out), str(out.parent / "calls")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


def entries(out: Path, kind: str) -> int:
    return sum(kind in entry for entry in read_journal(out / "journal.jsonl"))


def test_killed_again_and_again_then_continued(tmp_path: Path) -> None:
    script, out = tmp_path / "command.py", tmp_path / "run"
    (tmp_path / "calls").mkdir()
    script.write_text(COMMAND)
    deadline = time.monotonic() + 240

    # The driver alone dies while its worker is busy: the worker ends by itself, it is not left behind.
    process = start(out, script)
    while not (tmp_path / "calls" / "hung").exists():
        assert time.monotonic() < deadline, "the run does not get anywhere"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while members := session_of(process.pid):
        assert time.monotonic() < deadline, f"still there: {members}"
        time.sleep(0.01)
    assert entries(out, "clip") == 2

    # Everything dies while clips are scored.
    process = start(out, script)
    while entries(out, "scores") < 2 and process.poll() is None:
        assert time.monotonic() < deadline, "the run does not get anywhere"
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if (out / "journal.jsonl").exists():
        with (out / "journal.jsonl").open("ab") as journal:  # a line torn by the kill
            journal.write(b'{"clip": {"prompt_id": "p00')

    process = start(out, script)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()
    whole = run_model(
        make_suite(PROMPTS),
        toys.Toy(),
        tmp_path / "whole",
        samples=SAMPLES,
        metrics=METRICS,
        executor=InlineExecutor(),
    )
    assert_same(open_run(out), whole)
    leftovers = [path.name for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    assert not [name for name in leftovers if name.endswith(".parquet")], leftovers


def session_of(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *_, session = folder.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(folder.name))
    return found
