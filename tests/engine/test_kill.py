"""kill -9 at any moment, then the same command: the tables are those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
from tests.engine.toys import Toy
if __name__ == "__main__":
    run_model(make_suite({PROMPTS}), Toy(), Path(sys.argv[1]), samples={SAMPLES}, metrics={METRICS!r}, workers=1)
"""


def start(out: Path, script: Path) -> subprocess.Popen[bytes]:
    # A session of its own, so that the workers die with the driver, as they do when a machine is switched off.
    return subprocess.Popen(
        [sys.executable, str(script), str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


def entries(out: Path, kind: str) -> int:
    return sum(kind in entry for entry in read_journal(out / "journal.jsonl"))


@pytest.mark.parametrize(("kind", "count"), [("clip", 3), ("scores", 2), ("scores", 9)])
def test_kill_then_continue(kind: str, count: int, tmp_path: Path) -> None:
    script, out = tmp_path / "command.py", tmp_path / "run"
    script.write_text(COMMAND)
    process = start(out, script)
    deadline = time.monotonic() + 120
    while entries(out, kind) < count and process.poll() is None:
        assert time.monotonic() < deadline, "the run does not get anywhere"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    killed = process.returncode == -signal.SIGKILL
    if kind == "clip":
        assert killed, "the run ended before it could be killed"
    if killed:
        with (out / "journal.jsonl").open("ab") as journal:  # a line torn by the kill
            journal.write(b'{"clip": {"prompt_id": "p00')
    again = start(out, script)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors.decode()
    suite = make_suite(PROMPTS)
    whole = run_model(
        suite, toys.Toy(), tmp_path / "whole", samples=SAMPLES, metrics=METRICS, executor=InlineExecutor()
    )
    assert_same(open_run(out), whole)
    leftovers = [path.name for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    assert not [name for name in leftovers if name.endswith(".parquet")], leftovers
