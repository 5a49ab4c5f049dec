"""Metrics on clips that no run knows: the same numbers as in a run, read inside the marked span, with a reason where none."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from evalkit.cli import main
from evalkit.failures.detect import add_detectors, detect
from evalkit.failures.errors import InvalidReport
from evalkit.failures.ingest import ingest_clip
from evalkit.failures.media import MediaFolder
from evalkit.failures.record import FailureReport
from evalkit.failures.store import FailureStore
from evalkit.runs.store import open_run
from evalkit.video import Video, encode_lossless

Make = Callable[..., FailureReport]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Sixteen frames whose light goes on and off in frames 8 to 15."""
    frames = torch.full((16, 3, 48, 64), 120, dtype=torch.uint8)
    frames[:, :, 10:30, 10:40] = 60
    frames[9::2] += 40
    path = tmp_path / "clips" / "clip.mp4"
    path.parent.mkdir()
    encode_lossless(Video(frames, Fraction(8)), path)
    return path


def uploaded(store: FailureStore, clip: Path, make_report: Make, **fields: object) -> FailureReport:
    evidence = {"clip": ingest_clip(store, clip, name="clip.mp4", actor="anna").model_dump()}
    return store.add(make_report(evidence=evidence, **fields), actor="anna").report


def test_an_uploaded_clip_is_measured_as_a_clip_of_a_run_would_be(
    lite: FailureStore, clip: Path, make_report: Make, tmp_path: Path
):
    command = ["score", str(clip.parent), "--out", str(tmp_path / "run"), "--metrics", "temporal.flicker"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--workers", "0", "--quiet"])
    assert not ended.value.code
    run = open_run(tmp_path / "run")
    (expected,) = run.scores["value"]
    (course,) = run.series["values"]
    report = uploaded(
        lite,
        clip,
        make_report,
        observation={"segments": [{"first": 8, "last": 15}]},
        reproduction={"seed": 3},
    )
    reading = next(entry for entry in detect(lite, report) if entry.metric_id == "temporal.flicker")
    assert reading.value == pytest.approx(expected, rel=1e-6)
    assert reading.window_value == pytest.approx(sum(course[8:15]) / 7, rel=1e-6)
    assert reading.window_value > 1.5 * reading.value
    assert (reading.direction, reading.percentile, reading.verdict) == ("lower", None, "unsure")


def test_what_cannot_be_measured_says_why(lite: FailureStore, clip: Path, make_report: Make):
    report = uploaded(lite, clip, make_report, category="prompt.spatial", prompt="a star left of a ball")
    (reading,) = detect(lite, report)
    assert (reading.metric_id, reading.value) == ("alignment.relation", None)
    assert reading.reason
    assert detect(lite, uploaded(lite, clip, make_report, category="physics.solidity")) == []
    with pytest.raises(InvalidReport, match="no uploaded clip"):
        detect(lite, make_report())


def test_readings_go_into_the_report_once(lite: FailureStore, clip: Path, make_report: Make):
    report = uploaded(lite, clip, make_report)
    for _ in range(2):
        measured = add_detectors(lite, report.id, actor="anna")
    assert [entry.metric_id for entry in measured.detectors] == [
        "temporal.flicker",
        "vbench.temporal_flickering",
    ]
    assert [entry.action for entry in lite.history(report.id)] == [
        "filed",
        "measured",
    ]  # the second found no news


def test_filing_a_file_measures_it(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVALKIT_DB", f"sqlite:///{tmp_path / 'f.db'}")
    workflow = tmp_path / "workflow.json"
    workflow.write_text('{"nodes": []}', encoding="utf-8")
    new = ["failures", "new", "--file", str(clip), "--category", "temporal.flicker", "--severity", "S1"]
    new += ["--workflow", str(workflow)]
    with pytest.raises(SystemExit) as ended:
        main([*new, "--model", "m@1", "--prompt", "a wall", "--json"])
    assert not ended.value.code
    filed = json.loads(capsys.readouterr().out)
    assert [entry["status"] for entry in filed["detectors"]] == ["ok", "ok"]
    kept = MediaFolder(tmp_path / "media").path(filed["reproduction"]["workflow"])
    assert kept.read_bytes() == workflow.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["failures", "measure", filed["id"][-8:], "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["detectors"] == filed["detectors"]
