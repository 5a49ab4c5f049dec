from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.engine.executor import InlineExecutor, LocalExecutor
from evalkit.engine.run import make_executor, rescore, run_model, score_found
from evalkit.errors import EvalkitError, RunError
from evalkit.runs.store import Run, open_run
from evalkit.suites.layouts import scan_folder
from evalkit.suites.prompt import FrozenMapping, Prompt, Suite
from evalkit.testing.runs import make_suite
from evalkit.video import decode
from tests.engine import toys

METRICS = ("vbench.temporal_flickering", "visual.sharpness", "cost.seconds_per_clip")
MEASURED = {"seconds", "peak_memory_bytes", "elapsed_ms"}


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """Every table without what is measured on the clock."""
    found = {name: getattr(run, name) for name in ("scores", "series", "generations", "set_scores")}
    found["scores"] = found["scores"][~found["scores"].metric_id.str.startswith("cost.")]
    found["series"] = found["series"].assign(values=found["series"]["values"].map(tuple))
    return {name: table.drop(columns=list(MEASURED & set(table))) for name, table in found.items()}


def assert_same(first: Run, second: Run) -> None:
    for name, table in tables(first).items():
        pd.testing.assert_frame_equal(table, tables(second)[name], check_exact=True, obj=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return run_model(make_suite(4), toys.Toy(), out, samples=2, metrics=METRICS, executor=InlineExecutor())


def test_a_run_is_complete_and_explains_itself(undisturbed: Run) -> None:
    manifest = undisturbed.manifest
    assert manifest.status == "complete"
    assert manifest.counts is not None
    assert (manifest.counts.clips_planned, manifest.counts.clips_ok) == (8, 8)
    assert manifest.counts.scores == {"ok": 24}
    assert manifest.model.ignored_params == []
    assert undisturbed.suite.digest == manifest.suite.digest == make_suite(4).digest
    assert not (undisturbed.folder / "journal.jsonl").exists()
    assert {record.id for record in manifest.metrics} == set(METRICS)
    assert all(record.key for record in manifest.metrics)


def test_stored_clips_are_the_generated_ones_bit_for_bit(undisturbed: Run) -> None:
    for row in undisturbed.generations.itertuples():
        assert decode(undisturbed.path_of(row.path)).clip_id == row.clip_id
        assert undisturbed.path_of(row.preview).stat().st_size > 0
        assert undisturbed.path_of(row.poster).stat().st_size > 0


def test_scores_equal_the_formula_on_the_stored_pixels(undisturbed: Run) -> None:
    scores = undisturbed.scores.query("metric_id == 'vbench.temporal_flickering'").set_index("clip_id").value
    for row in undisturbed.generations.itertuples():
        frames = decode(undisturbed.path_of(row.path)).frames.numpy().astype(np.float64)
        expected = (255 - np.abs(np.diff(frames, axis=0)).mean()) / 255
        assert scores[row.clip_id] == pytest.approx(expected, abs=1e-6)


def test_two_workers_give_the_same_tables_as_one_process(undisturbed: Run, tmp_path: Path) -> None:
    run = run_model(make_suite(4), toys.Toy(), tmp_path / "run", samples=2, metrics=METRICS, workers=2)
    assert_same(run, undisturbed)


def test_the_same_command_again_computes_nothing(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    arguments = {"samples": 1, "metrics": METRICS, "executor": InlineExecutor()}
    first = run_model(make_suite(2), toys.Toy(calls), tmp_path / "run", **arguments)
    before = first.scores, {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "clips").iterdir()}
    again = run_model(make_suite(2), toys.Toy(calls), tmp_path / "run", **arguments)
    assert len(list(calls.iterdir())) == 2
    pd.testing.assert_frame_equal(before[0], again.scores)
    assert before[1] == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "clips").iterdir()}


def test_a_deleted_clip_is_made_again_and_only_it(undisturbed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed.folder, folder)
    lost = folder / open_run(folder).generations.path[3]
    lost.unlink()
    calls = tmp_path / "calls"
    calls.mkdir()
    run = run_model(
        make_suite(4), toys.Toy(calls), folder, samples=2, metrics=METRICS, executor=InlineExecutor()
    )
    assert lost.exists()
    # The lost clip's batch of two is asked for as it was planned, so that its noise is the same.
    assert Counter(path.name.rpartition("-")[0] for path in calls.iterdir()) == {"p0001-0": 1, "p0001-1": 1}
    assert_same(run, undisturbed)


def test_another_plan_in_the_same_folder_is_refused(undisturbed: Run) -> None:
    with pytest.raises(RunError, match=r"holds another run.*settings.*choose another --out"):
        run_model(make_suite(4), toys.Toy(), undisturbed.folder, samples=1, executor=InlineExecutor())


def test_parameters_that_the_model_does_not_use_are_named(tmp_path: Path) -> None:
    arguments = {"overrides": {"style": "sepia", "guidance_scale": 3}, "metrics": METRICS, "workers": 1}
    run = run_model(make_suite(2), toys.Toy(), tmp_path / "run", **arguments)
    assert run.manifest.model.ignored_params == ["style"]
    assert json.loads(run.generations.params[1])["ignored_params"] == ["style"]


def test_seeds_weights_and_negative_prompts_that_are_not_used_are_named_too(tmp_path: Path) -> None:
    prompts = (
        Prompt("plain", "a ball (red) at 3:15", "c"),
        Prompt(
            "weighted", "a (red:1.3) ball", "c", negative="blur", params=FrozenMapping({"camera": "left"})
        ),
    )
    suite = Suite("mine", "1.0", "CC0-1.0", "", prompts)
    run = run_model(suite, toys.Deaf(), tmp_path / "run", executor=InlineExecutor(), score=False)
    named = [json.loads(params)["ignored_params"] for params in run.generations.params]
    assert named == [["seed"], ["camera", "negative_prompt", "prompt_weights", "seed"]]
    assert run.manifest.model.ignored_params == named[1]


def test_a_run_can_be_moved(undisturbed: Run, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(undisturbed.folder, tmp_path / "elsewhere"))
    row = open_run(moved).generations.iloc[0]
    assert open_run(moved).path_of(row.path).is_relative_to(moved)
    assert rescore(moved, executor=InlineExecutor()).manifest.run_id == undisturbed.manifest.run_id


def test_a_clip_that_fails_keeps_its_rows_and_costs_no_other(tmp_path: Path) -> None:
    run = run_model(
        make_suite(6), toys.Unruly(batch_size=3), tmp_path / "run", metrics=METRICS, executor=InlineExecutor()
    )
    assert run.manifest.status == "partial"
    status = run.generations.set_index("prompt_id")
    assert list(status.status) == ["ok", "failed", "failed", "failed", "failed", "ok"]
    assert "RuntimeError: out of ideas" in status.error["p0001"]
    assert "returned a str" in status.error["p0002"]
    assert "2x8x8" in status.error["p0003"]
    assert "6x32x48" in status.error["p0003"]
    assert status.error["p0004"] == "the prompt was refused"
    scores = run.scores
    assert len(scores) == 6 * len(METRICS)
    lost = scores[scores.prompt_id.isin(["p0001", "p0002", "p0003", "p0004"])]
    assert set(lost.status) == {"generation_failed"}
    assert lost.value.isna().all()
    assert lost.reason.str.len().gt(0).all()


def test_transient_failures_are_asked_again(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    run = run_model(
        make_suite(2), toys.Fickle(calls), tmp_path / "run", metrics=METRICS, executor=InlineExecutor()
    )
    assert list(run.generations.status) == ["ok", "ok"]
    assert set(run.generations.attempts) == {3}


def test_a_model_that_cannot_be_loaded_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="weights are gone"):
        run_model(
            make_suite(2), toys.Unloadable(), tmp_path / "run", metrics=METRICS, executor=LocalExecutor(1)
        )


def test_rescore_adds_a_metric_without_touching_the_others(undisturbed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed.folder, folder)
    run = rescore(folder, metrics=["cost.seconds_per_frame"], executor=InlineExecutor())
    assert {record.id for record in run.manifest.metrics} == {*METRICS, "cost.seconds_per_frame"}
    kept = run.scores[run.scores.metric_id != "cost.seconds_per_frame"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, undisturbed.scores)
    added = run.scores[run.scores.metric_id == "cost.seconds_per_frame"]
    seconds = run.generations.seconds.to_numpy() / 6
    np.testing.assert_allclose(added.value.to_numpy(), seconds)


def test_a_new_metric_version_recomputes_that_metric_alone(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from evalkit.metrics.vbench import TemporalFlickering

    folder = tmp_path / "run"
    shutil.copytree(undisturbed.folder, folder)
    monkeypatch.setattr(TemporalFlickering, "spec", replace(TemporalFlickering.spec, version="999"))
    run = rescore(folder, executor=InlineExecutor())
    before, after = undisturbed.scores, run.scores
    changed = after.metric_id == "vbench.temporal_flickering"
    assert set(after[changed].metric_version) == {"999"}
    assert (after[changed].elapsed_ms.to_numpy() != before[changed].elapsed_ms.to_numpy()).any()
    pd.testing.assert_frame_equal(after[~changed], before[~changed])


def test_two_processes_cannot_write_one_folder(undisturbed: Run) -> None:
    from filelock import FileLock

    with FileLock(undisturbed.folder / ".lock"), pytest.raises(RunError, match="another evalkit process"):
        run_model(
            make_suite(4),
            toys.Toy(),
            undisturbed.folder,
            samples=2,
            metrics=METRICS,
            executor=InlineExecutor(),
        )


def test_existing_clips_are_scored_where_they_are(undisturbed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for row in undisturbed.generations[:2].itertuples():
        shutil.copy(undisturbed.path_of(row.path), folder / f"{row.prompt_id}-{row.sample_index}.mp4")
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is not a video\n")
    run = score_found(
        scan_folder(folder, layout="plain"), tmp_path / "run", metrics=METRICS, executor=InlineExecutor()
    )
    assert run.manifest.status == "partial"
    rows = run.generations.set_index(run.generations.path.map(lambda path: Path(path).name))
    assert list(rows.status[["p0000-0.mp4", "p0000-1.mp4"]]) == ["ok", "ok"]
    for name in ("broken.mp4", "empty.mp4", "text.mp4"):
        assert rows.status[name] == "failed"
        assert name in rows.error[name]
    assert not (tmp_path / "run" / "clips").exists()
    theirs = run.scores.query("metric_id == 'vbench.temporal_flickering' and status == 'ok'").value
    ours = undisturbed.scores.query("metric_id == 'vbench.temporal_flickering'").value[:2]
    assert sorted(theirs) == sorted(ours)


def test_a_file_that_changes_is_scored_again(undisturbed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    first, second = (undisturbed.path_of(path) for path in undisturbed.generations.path[:2])
    arguments = {"metrics": METRICS, "executor": InlineExecutor()}
    shutil.copy(first, folder / "a.mp4")
    before = score_found(scan_folder(folder, layout="plain"), tmp_path / "run", **arguments).generations
    shutil.copy(second, folder / "a.mp4")
    after = score_found(scan_folder(folder, layout="plain"), tmp_path / "run", **arguments).generations
    assert before.clip_id[0] == undisturbed.generations.clip_id[0]
    assert after.clip_id[0] == undisturbed.generations.clip_id[1]


def test_the_tables_have_the_declared_schema(undisturbed: Run) -> None:
    for name in ("scores", "series", "generations", "set_scores"):
        assert undisturbed.table(name).schema.metadata[b"schema_version"] == b"1"
    assert json.loads(undisturbed.generations.params[0])["num_frames"] == 6


@pytest.mark.parametrize(
    ("engine", "workers", "message"), [("rey", 1, "unknown engine"), ("local", -1, "--workers")]
)
def test_wrong_engines_are_refused(engine: str, workers: int, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        make_executor(engine, workers)
