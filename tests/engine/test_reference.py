"""A reference file stands in for a reference run, and refuses to stand in for another network's."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from evalkit.engine.executor import InlineExecutor
from evalkit.engine.reference import write_reference
from evalkit.engine.run import rescore, run_model
from evalkit.errors import EvalkitError, EvidenceError, RunError
from evalkit.metrics.reference import load_reference, save_reference
from evalkit.testing.runs import make_suite
from tests.engine import toys

METRICS = ("set.frechet:components=3", "set.diversity")


def made(folder, prompts=5, seed=0, reference=None, metrics=METRICS, samples=2):
    return run_model(
        make_suite(prompts),
        toys.Toy(),
        folder,
        samples=samples,
        seed=seed,
        overrides={"num_frames": 2},
        metrics=metrics,
        reference=reference,
        executor=InlineExecutor(),
    )


def row(run, metric):
    return run.set_scores.query("metric_id == @metric and group == ''").iloc[0]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return made(tmp_path_factory.mktemp("real") / "run", seed=50)


def test_a_file_gives_the_numbers_of_the_run_it_was_made_from(real, tmp_path):
    from evalkit.cli import app

    path = tmp_path / "real.safetensors"
    command = ["metrics", "reference", str(real.folder), "--metric", "set.frechet", "--out", str(path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert load_reference(path).source == "10 clips of toy, suite synthetic"
    by_run, by_file = made(tmp_path / "a", reference=real.folder), made(tmp_path / "b", reference=path)
    columns = ["value", "protocol", "status", "n_reference"]
    assert row(by_file, "set.frechet")[columns].tolist() == row(by_run, "set.frechet")[columns].tolist()
    assert by_file.manifest.reference["num_clips"] == 10
    assert row(by_file, "set.frechet").reference_digest == by_file.manifest.reference["digest"]
    assert row(by_file, "set.diversity").status == "ok"
    again = rescore(by_file.folder, executor=InlineExecutor())
    assert row(again, "set.frechet").value == row(by_file, "set.frechet").value


def test_diversity_is_scored_without_any_reference(real):
    found = row(real, "set.diversity")
    assert found.status == "ok"
    assert found.n_reference == 0
    assert found.value > 0
    assert row(real, "set.frechet").status == "skipped"
    assert "FILE.safetensors" in row(real, "set.frechet").reason


def test_another_protocol_is_refused_before_any_clip_is_made(tmp_path):
    path = tmp_path / "other.safetensors"
    save_reference(
        path, torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), "i3d@abc", source="x"
    )
    with pytest.raises(EvidenceError, match=r"holds 'i3d@abc'.*set\.frechet reads 'image-v1"):
        made(tmp_path / "run", reference=path)
    assert not (tmp_path / "run").exists()
    (tmp_path / "text").write_text("no")
    with pytest.raises(EvalkitError, match="not a safetensors file"):
        made(tmp_path / "run", reference=tmp_path / "text")
    with pytest.raises(EvalkitError, match="does not exist"):
        made(tmp_path / "run", reference=tmp_path / "nowhere", prompts=1)


def test_metrics_that_need_rows_say_so_of_statistics_alone(real, tmp_path):
    path = tmp_path / "real.safetensors"
    write_reference(real, "set.frechet", path, statistics_only=True)
    assert load_reference(path).rows is None
    found = row(made(tmp_path / "run", prompts=2, reference=path), "set.frechet")
    assert found.status == "skipped"
    assert "statistics alone" in found.reason


def test_only_what_a_run_kept_can_be_written(real, tmp_path):
    with pytest.raises(RunError, match=r"was not scored with set\.fvd"):
        write_reference(real, "set.fvd", tmp_path / "x.safetensors")
    with pytest.raises(EvalkitError, match="compares with no reference"):
        write_reference(real, "set.diversity", tmp_path / "x.safetensors")
