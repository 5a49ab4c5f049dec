"""The main job with the reference model, as `make demo` runs it: prompts -> clips -> scores -> report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.runs.journal import read_journal
from evalkit.runs.store import Run, open_run
from tests.engine.test_run import assert_same

PROMPTS = 3
# One metric of every kind: analytic, flow, image network, world encoder, missing weights, set, cost.
METRICS = (
    "temporal.flicker", "visual.sharpness", "temporal.subject_consistency", "alignment.world", "alignment.clip",
    "set.fvd", "cost.seconds_per_clip",
)  # fmt: skip
COMMAND = (
    "run", "--suite", "core", "--model", "reference", "--limit", str(PROMPTS), "--set", "num_inference_steps=4",
    *(part for metric in METRICS for part in ("--metrics", metric)),
)  # fmt: skip


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "evalkit", *COMMAND, "--out", str(out), *more]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("main") / "run"
    done = subprocess.run(command(out, "--workers", "1"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"report: {out}/report/index.html" in done.stderr
    return open_run(out)


def test_every_metric_is_ok_or_says_why(undisturbed: Run) -> None:
    assert undisturbed.manifest.status == "complete"
    assert set(undisturbed.generations.status) == {"ok"}
    scores = undisturbed.scores
    assert len(scores) == PROMPTS * len(
        [record for record in undisturbed.manifest.metrics if record.kind == "clip"]
    )
    assert set(scores.status) <= {"ok", "skipped", "not_applicable"}
    assert scores[scores.status != "ok"].reason.str.len().gt(10).all()
    ok = set(scores[scores.status == "ok"].metric_id)
    assert {"temporal.flicker", "temporal.subject_consistency", "visual.sharpness", "alignment.world"} <= ok
    sets = undisturbed.set_scores.set_index("metric_id")
    assert sets.status["set.fvd"] == "skipped"
    assert "--reference" in sets.reason["set.fvd"]


def test_two_workers_give_the_same_tables(undisturbed: Run, tmp_path: Path) -> None:
    subprocess.run(command(tmp_path / "run", "--workers", "2", "--quiet"), check=True)
    assert_same(open_run(tmp_path / "run"), undisturbed)


@pytest.mark.parametrize("kind", ["clip", "scores"])
def test_kill_nine_and_the_same_command_give_the_same_tables(
    kind: str, undisturbed: Run, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(out, "--workers", "1"), start_new_session=True, stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 180
    while not any(kind in entry for entry in read_journal(out / "journal.jsonl")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run does not get anywhere"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / "journal.jsonl").exists()
    subprocess.run(command(out, "--workers", "1", "--quiet"), check=True)
    assert_same(open_run(out), undisturbed)


def test_the_truth_is_nearer_to_itself_than_the_model_is(undisturbed: Run, tmp_path: Path) -> None:
    """FVD on the world: rendered truth against the model's clips, with the world's own video encoder."""
    truth = tmp_path / "truth"
    world = [
        sys.executable,
        "-m",
        "evalkit",
        "generate",
        "--suite",
        "core",
        "--model",
        "world",
        "--limit",
        "16",
    ]
    subprocess.run([*world, "--out", str(truth), "--quiet"], check=True)
    other = [*world[:3], "run", *world[4:], "--seed", "1", "--metrics", "set.fvd", "--reference", str(truth)]
    subprocess.run([*other, "--out", str(tmp_path / "other"), "--quiet"], check=True)
    rescore = [sys.executable, "-m", "evalkit", "rescore", str(undisturbed.folder), "--reference", str(truth)]
    subprocess.run([*rescore, "--quiet"], check=True)
    ours = open_run(undisturbed.folder).set_scores.set_index("metric_id")
    theirs = open_run(tmp_path / "other").set_scores.set_index("metric_id")
    assert ours.status["set.fvd"] == theirs.status["set.fvd"] == "ok", ours.reason["set.fvd"]
    assert ours.protocol["set.fvd"].split("/n=")[0] == theirs.protocol["set.fvd"].split("/n=")[0]
    assert 0 <= theirs.value["set.fvd"] < ours.value["set.fvd"]
