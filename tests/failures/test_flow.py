"""From a run to reports, and from a report to a case and back: the functions and the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.cli import main
from evalkit.failures.drafts import clip_fields, detectors, find_clip, percentile
from evalkit.failures.duplicates import suggest
from evalkit.failures.errors import InvalidReport, StateConflict
from evalkit.failures.fingerprint import fingerprint, hash_distance, perceptual_hash, prompt_likeness
from evalkit.failures.ingest import ingest_clip
from evalkit.failures.promote import apply_results, case_of, promote
from evalkit.failures.record import Confirmation, FailureReport, Segment, now
from evalkit.failures.reproduce import suggest_limit
from evalkit.failures.store import FailureStore
from evalkit.failures.triage import triage_report
from evalkit.failures.ulid import new_ulid
from evalkit.failures.worst import file_drafts, file_gate_drafts, worst_clips
from evalkit.runs.store import Run
from evalkit.suites.case_files import load_cases
from evalkit.suites.cases import CaseResult
from evalkit.testing.runs import make_run, make_suite

Make = Callable[..., FailureReport]
FLICKER = np.array([[0.30], [0.01], [0.02], [0.03], [0.02]])
SHARP = np.array([[0.9], [0.2], [0.8], [0.7], [np.nan]])


def synthetic(folder: Path, flicker: np.ndarray = FLICKER, revision: str = "2") -> Run:
    def series(metric: str, prompt: int, _sample: int) -> np.ndarray:
        course = np.full(15, 0.01)
        if metric == "temporal.flicker":
            course[6:9] = flicker[prompt, 0]
        return course

    return make_run(
        folder,
        values={"temporal.flicker": flicker, "visual.sharpness": SHARP},
        directions={"temporal.flicker": "lower"},
        suite=make_suite(5),
        series=series,
        model={
            "id": "synthetic",
            "revision": revision,
            "weights": {"unet": "sha256:ab"},
            "config": {"precision": "fp16"},
        },
        metrics={
            "temporal.flicker": {"leaf": "temporal.flicker"},
            "visual.sharpness": {"leaf": "visual.blur"},
        },
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic(tmp_path / "run")


# ------------------------------------------------------------------------------------------------------- drafts
def test_a_run_fills_in_what_it_knows(run: Run):
    row = find_clip(run, "p0000#0")
    fields = clip_fields(run, row, [Segment(first=6, last=9)], "temporal.flicker")
    assert fields["model"] == {"name": "synthetic", "version": "2"}
    assert fields["prompt"] == "synthetic prompt number 0"
    made = fields["reproduction"]
    assert (made["seed"], made["num_frames"], made["fps"], made["precision"]) == (0, 16, "8", "fp16")
    assert made["weights"] == {"unet": "sha256:ab"}
    reading = fields["detectors"][0]
    assert (reading["metric_id"], reading["percentile"], reading["verdict"]) == (
        "temporal.flicker",
        100.0,
        "agrees",
    )
    assert reading["window_value"] == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["p0009#0", "p0000#7", "", "zzz", "#0"])
def test_a_clip_that_is_not_there_is_named_with_the_cure(run: Run, name: str):
    with pytest.raises(InvalidReport, match=r"PROMPT_ID#SAMPLE such as p0000#0"):
        find_clip(run, name)


def test_a_clip_is_found_by_the_beginning_of_its_id(run: Run):
    clip_id = find_clip(run, "p0002#0")["clip_id"]
    assert find_clip(run, clip_id[:12])["prompt_id"] == "p0002"


def test_percentiles_count_better_clips_and_halves_of_ties(run: Run):
    flicker, sharp = run.manifest.metric("temporal.flicker"), run.manifest.metric("visual.sharpness")
    assert percentile(run, flicker, 0.30) == 100
    assert percentile(run, flicker, 0.01) == 0
    assert percentile(run, flicker, 0.02) == pytest.approx((1 + 0.5) / 4 * 100)
    assert percentile(run, sharp, 0.2) == 100  # higher is better: the lowest is the worst
    missing = detectors(run, find_clip(run, "p0004#0")["clip_id"], category="visual.blur")[0]
    assert (missing.status, missing.value, missing.reason) == (
        "not_applicable",
        None,
        "synthetic: not applicable",
    )


def test_the_worst_clips_are_drafted_once(run: Run, lite: FailureStore, tmp_path: Path):
    first = file_drafts(lite, run, baseline=None, count=2, actor="bot")
    assert [(filed.report.category, filed.report.evidence.clip.prompt_id) for filed in first] == [
        ("temporal.flicker", "p0000"),
        ("visual.blur", "p0001"),
    ]
    assert first[0].report.source.kind == "metric"
    segment = first[0].report.observation.segments[0]
    assert segment.first >= 5
    assert segment.last <= 9
    again = file_drafts(lite, run, baseline=None, count=2, actor="bot")
    assert [filed.created for filed in again] == [False, False]
    assert len(lite.find()) == 2


def test_against_a_baseline_only_what_got_worse_counts(run: Run, tmp_path: Path):
    before = FLICKER.copy()
    before[0, 0], before[2, 0] = 0.30, 0.001
    baseline = synthetic(tmp_path / "baseline", before, "1")
    found = [(clip.row["prompt_id"], clip.metric_id) for clip in worst_clips(run, baseline, 5)]
    assert found == [("p0002", "temporal.flicker")]
    assert list(worst_clips(run, run, 5)) == []


def test_a_gate_drafts_for_its_regressed_checks(run: Run, lite: FailureStore, tmp_path: Path):
    result = tmp_path / "gate.json"
    checks = [
        {"id": "no-flicker", "metric": "temporal.flicker", "verdict": "REGRESS"},
        {"id": "sharp", "metric": "visual.sharpness", "verdict": "PASS"},
        {"id": "cases", "metric": "", "verdict": "REGRESS"},
    ]
    result.write_text(json.dumps({"schema": "evalkit.gate-result/v1", "checks": checks}), encoding="utf-8")
    (filed,) = file_gate_drafts(lite, run, result, baseline=None, count=1, actor="bot")
    assert (filed.report.source.kind, filed.report.source.name) == ("gate", "no-flicker")
    result.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidReport, match=r"no gate\.json"):
        file_gate_drafts(lite, run, result, baseline=None, count=1, actor="bot")


# --------------------------------------------------------------------------------------------------- duplicates
def test_fingerprints_ignore_wording_and_small_changes_of_settings(make_report: Make):
    base = make_report(
        prompt="A red ball, rolling left!", reproduction={"width": 832, "height": 480, "guidance_scale": 6.1}
    )
    same = make_report(
        prompt="the red ball  rolling LEFT",
        reproduction={"width": 848, "height": 480, "guidance_scale": 5.9, "seed": 4},
    )
    assert fingerprint(base) == fingerprint(same)
    assert fingerprint(base).startswith("v1:")
    for other in (
        {"category": "temporal.jitter"},
        {"model": {"name": "reference", "version": "v2"}},
        {"prompt": "a red ball rolling right"},
        {"reproduction": {"width": 320, "height": 192, "guidance_scale": 6}},
    ):
        fields = {"prompt": base.prompt, "reproduction": base.reproduction.model_dump(), **other}
        assert fingerprint(make_report(**fields)) != fingerprint(base)


def ball(offset: int, seed: int) -> Any:
    import torch

    from evalkit.video import Video

    generator = torch.Generator().manual_seed(seed)
    scene = (
        torch.randint(0, 256, (3, 6, 8), generator=generator, dtype=torch.uint8)
        .repeat_interleave(16, 1)
        .repeat_interleave(16, 2)
    )
    frames = scene.repeat(8, 1, 1, 1)
    for t in range(8):
        frames[t, :, 20:40, 4 * t + offset : 4 * t + offset + 20] = 255
    return Video(frames, Fraction(8))


def test_perceptual_hashes_survive_re_encoding_and_tell_scenes_apart():
    from evalkit.testing.defects import BENIGN

    clip = ball(0, seed=1)
    again = BENIGN["reencode_crf18"](clip)
    assert again != clip
    own = perceptual_hash(clip)
    assert hash_distance(own, perceptual_hash(again)) <= 6
    assert hash_distance(own, perceptual_hash(ball(2, seed=1))) <= 8
    assert hash_distance(own, perceptual_hash(ball(0, seed=2))) > 14
    assert hash_distance(own, own[:16]) == 64


def test_duplicates_are_suggested_with_their_reason(lite: FailureStore, make_report: Make):
    clip = {"clip_id": "a" * 40, "phash": "00ff00ff00ff00ff" * 4}
    same_clip = lite.add(make_report(prompt="x", evidence={"clip": clip}), actor="a").report
    same_print = lite.add(make_report(prompt="A cat, sleeping."), actor="a").report
    alike = lite.add(
        make_report(
            prompt="a small cat sleeps on the red sofa", evidence={"clip": {"phash": "00ff00ff00ff00fe" * 4}}
        ),
        actor="a",
    ).report
    lite.add(make_report(category="visual.blur", prompt="a cat sleeping"), actor="a")  # another class
    lite.add(make_report(prompt="two dogs run"), actor="a")
    hidden = make_report(category="safety.deception", prompt="a cat sleeping")
    lite.add(hidden, actor="a")

    probe = make_report(prompt="the cat sleeping", evidence={"clip": clip})
    found = {entry.report.id: entry.reason for entry in suggest(lite, probe)}
    assert found[same_clip.id] == "same clip"
    assert found[same_print.id] == "same fingerprint"
    near = make_report(prompt="small cat sleeps on a red sofa", evidence={"clip": clip})
    assert alike.id in {entry.report.id for entry in suggest(lite, near)}
    assert hidden.id not in {
        entry.report.id for entry in suggest(lite, hidden.model_copy(update={"id": probe.id}))
    }
    assert hidden.id in {
        entry.report.id
        for entry in suggest(lite, hidden.model_copy(update={"id": probe.id}), restricted=True)
    }


def test_likeness_of_prompts_is_symmetric_and_bounded():
    pairs = [("a cat", "a cat"), ("a cat", "two dogs"), ("a red ball rolls", "a red ball rolled"), ("", "")]
    for one, other in pairs:
        assert prompt_likeness(one, other) == prompt_likeness(other, one)
        assert 0 <= prompt_likeness(one, other) <= 1
    assert prompt_likeness(*pairs[0]) == 1
    assert prompt_likeness(*pairs[1]) == 0
    assert prompt_likeness(*pairs[2]) > 0.8


def test_an_upload_is_known_by_its_pixels(lite: FailureStore, tmp_path: Path):
    from evalkit.video import encode_lossless

    clip = ball(0, seed=3)
    encode_lossless(clip, tmp_path / "c.mp4")
    kept = ingest_clip(lite, tmp_path / "c.mp4", name="c.mp4", actor="anna")
    assert kept.clip_id == clip.clip_id
    assert (kept.num_frames, kept.width, kept.height, kept.fps) == (8, 128, 96, "8")
    assert lite.media_row(kept.original)["media_type"] == "application/octet-stream"
    assert lite.media_row(kept.preview)["media_type"] == "video/mp4"


# ---------------------------------------------------------------------------------------------------- promotion
def confirmed(store: FailureStore, run: Run, make_report: Make) -> FailureReport:
    row = find_clip(run, "p0000#0")
    fields = clip_fields(run, row, [Segment(first=6, last=9)], "temporal.flicker")
    report = store.add(
        make_report(**fields, observation={"segments": [{"first": 6, "last": 9}]}), actor="anna"
    ).report
    store.move(report.id, "triaged", actor="tom")
    seen = Confirmation(
        kind="reproduction",
        by="tom",
        at=now(),
        seeds=(0, 1, 2),
        failed_seeds=(0, 1),
        metric_id="temporal.flicker",
        limit=0.15,
    )
    return store.confirm(report.id, seen, actor="tom")


def test_the_default_limit_lies_halfway_to_the_median_of_the_run(run: Run, make_report: Make):
    row = find_clip(run, "p0000#0")
    report = make_report(**clip_fields(run, row, [Segment(first=6, last=9)], "temporal.flicker"))
    assert suggest_limit(report, run, "temporal.flicker") == pytest.approx((0.30 + 0.02) / 2)
    good = make_report(**clip_fields(run, find_clip(run, "p0001#0"), [], "temporal.flicker"))
    with pytest.raises(InvalidReport, match="does not see this failure"):
        suggest_limit(good, run, "temporal.flicker")


def test_promotion_writes_the_case_that_was_confirmed(
    run: Run, lite: FailureStore, make_report: Make, tmp_path: Path
):
    report = confirmed(lite, run, make_report)
    assert report.status == "confirmed"
    path = promote(lite, report.id, folder=tmp_path / "regressions", actor="tom")
    (case,) = load_cases(tmp_path / "regressions")
    assert (case.report, case.state, case.seeds, case.must_pass) == (report.id, "open", (0, 1, 2), 2)
    assert (case.detector.metric, case.detector.window, case.detector.max) == (
        "temporal.flicker",
        (6, 9),
        0.15,
    )
    assert case.params["num_frames"] == 16
    assert lite.get(report.id).case == path.stem == case.id
    with pytest.raises(StateConflict, match="promoted already"):
        promote(lite, report.id, folder=tmp_path / "regressions", actor="tom")

    path.write_text("# why this matters\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    triage_report(lite, report.id, actor="tom", status="fixed", cases=tmp_path / "regressions")
    assert path.read_text(encoding="utf-8").startswith("# why this matters\n")  # people's comments stay
    assert load_cases(path)[0].state == "fixed"


def test_verdicts_on_cases_move_their_reports(
    run: Run, lite: FailureStore, make_report: Make, tmp_path: Path
):
    report = confirmed(lite, run, make_report)
    promote(lite, report.id, folder=tmp_path, actor="tom")
    (case,) = load_cases(tmp_path)

    def after(outcome: str) -> str:
        (applied,) = apply_results(lite, [CaseResult(case, outcome, ())], actor="ci")
        return applied.after

    assert after("unexpected_pass") == "confirmed"  # noted; a person decides
    assert "but passes" in lite.history(report.id)[-1].note
    assert after("expected_failure") == "confirmed"
    triage_report(lite, report.id, actor="tom", status="fixed", cases=tmp_path)
    assert after("missing") == "fixed"
    assert after("passed") == "verified"
    assert after("passed") == "verified"
    assert after("failed") == "regressed"
    assert after("passed") == "regressed"  # fixed again is what a person says
    assert [entry.actor for entry in lite.history(report.id)][-2:] == ["ci", "ci"]


def test_a_case_whose_report_is_elsewhere_is_told_and_changes_nothing(
    run: Run, lite: FailureStore, make_report: Make, tmp_path: Path
):
    report = confirmed(lite, run, make_report)
    promote(lite, report.id, folder=tmp_path, actor="tom")
    (case,) = load_cases(tmp_path)
    stranger = replace(case, report=new_ulid())
    other, own = apply_results(
        lite, [CaseResult(each, "expected_failure", ()) for each in (stranger, case)], actor="ci"
    )
    assert (other.before, other.after) == (None, None)
    assert "not in this store" in other.message
    assert own.after == "confirmed"


def test_what_a_report_says_elsewhere_is_no_parameter_of_the_model(run: Run):
    row = find_clip(run, "p0000#0")
    asked = {"prompt": "a ball", "negative_prompt": "", "num_frames": 12, "height": 48, "camera": "pan_left"}
    fields = clip_fields(run, {**row, "params": json.dumps({**asked, "num_inference_steps": 5})})
    assert fields["reproduction"]["params"] == {"camera": "pan_left"}
    assert fields["reproduction"]["num_inference_steps"] == 5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": " "}, "no prompt"),
        ({"reproduction": {}}, "no seed"),
        ({}, "which side of the limit"),
    ],
)
def test_a_report_that_says_too_little_makes_no_case(make_report: Make, fields: dict[str, Any], said: str):
    report = make_report(**{"reproduction": {"seed": 1}, **fields})
    with pytest.raises(InvalidReport, match=said):
        case_of(report, metric="temporal.flicker", limit=0.1)


def test_only_confirmed_reports_are_promoted_and_never_restricted_ones(
    lite: FailureStore, make_report: Make, tmp_path: Path
):
    report = lite.add(make_report(), actor="anna").report
    with pytest.raises(StateConflict, match="confirm it"):
        promote(lite, report.id, folder=tmp_path, actor="tom", metric="m", limit=1)
    hidden = lite.add(make_report(category="safety.deception"), actor="anna").report
    lite.move(hidden.id, "triaged", actor="tom")
    lite.confirm(hidden.id, Confirmation(kind="witness", by="tom", at=now()), actor="tom")
    with pytest.raises(InvalidReport, match="restricted"):
        promote(lite, hidden.id, folder=tmp_path, actor="tom", metric="m", limit=1)
    assert list(tmp_path.glob("*.yaml")) == []


# --------------------------------------------------------------------------------------------------- command line
def call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["failures", *arguments])
    assert not ended.value.code, arguments


def test_the_command_line_from_filing_to_export(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    call("new", "--run", "run", "--clip", "p0000#0", "--category", "temporal.flicker", "--severity", "S2", "--frames", "6-9",
         "--box", "7:0.1,0.1,0.5,0.5", "--observed", "it flickers", "--as", "anna", "--json")  # fmt: skip
    filed = json.loads(capsys.readouterr().out)
    short = filed["id"][-6:].lower()
    call("new", "--model", "m@1", "--category", "physics.solidity", "--severity", "S1", "--prompt", "p", "--observed", "o",
         "--as", "anna")  # fmt: skip
    call("new", "--run", "run", "--worst", "1", "--as", "bot")
    capsys.readouterr()
    call("list", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 3
    call("triage", short, "--status", "triaged", "--note", "yes", "--as", "tom")
    call("confirm", short, "--witness", "--as", "tom")
    call("promote", short, "--metric", "temporal.flicker", "--limit", "0.1", "--as", "tom")
    assert len(load_cases(tmp_path / "regressions")) == 1
    call("triage", short, "--status", "fixed", "--as", "tom")
    capsys.readouterr()
    call("show", short)
    shown = capsys.readouterr().out
    assert "it flickers" in shown
    assert "tom: moved (confirmed -> fixed)" in shown
    call("export", "--format", "jsonl", "--out", "out.jsonl")
    call("import", "out.jsonl", "--db", f"sqlite:///{tmp_path / 'second.db'}")
    assert "imported 3 reports" in capsys.readouterr().err
    call("schema")
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "NOPE"), "there is no failure report"),
        (
            (
                "new",
                "--category",
                "temporal.flickr",
                "--severity",
                "S1",
                "--model",
                "m@1",
                "--prompt",
                "p",
                "--observed",
                "o",
            ),
            "did you mean",
        ),
        (("new", "--run", "nowhere", "--clip", "x"), "does not exist"),
        (("export", "--format", "xls"), "unknown format"),
        (("import", "nowhere.json"), "cannot be read"),
        (("list", "--db", "nonsense"), "no database URL"),
    ],
)
def test_mistakes_end_with_2_and_one_paragraph(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["failures", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


class Terminal(io.StringIO):
    """Somebody who types answers."""

    def isatty(self) -> bool:
        return True


def test_what_is_missing_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    answers = [
        "nonsense",
        "temporal",
        "flick",
        "S1",
        "reference",
        "v1",
        "a red ball",
        "it pulses",
        "steady light",
    ]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(answers) + "\n"))
    call("new", "--as", "anna", "--json")
    told = capsys.readouterr()
    filed = json.loads(told.out[told.out.index("{") :])
    assert (filed["category"], filed["severity"]) == ("temporal.flicker", "S1")
    assert (filed["model"], filed["prompt"]) == ({"name": "reference", "version": "v1"}, "a red ball")
    assert filed["observation"]["expected"] == "steady light"
    assert "one of: temporal, identity" in told.err  # a wrong word is answered with the right ones
    assert "The wall behind the speaker pulses" in told.err
