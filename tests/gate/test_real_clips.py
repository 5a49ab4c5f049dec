"""The gate on real clips of a real model: what people use it for, end to end.

The `world` model renders the truth and is always there; the reference model is used where its weights are.
"""

import json
import shutil

import pytest

from evalkit.engine.run import run_model
from evalkit.gate.defects import spoil_clips
from evalkit.gate.noise import measure_noise
from evalkit.gate.policy import load_policy
from evalkit.gate.run import gather, run_gate
from evalkit.models import load_model
from evalkit.stats.margins import Verdict
from evalkit.suites import load_suite

from .conftest import TODAY

METRICS = ["temporal.flicker", "temporal.freeze", "temporal.warp_error", "visual.sharpness"]
PROMPTS = 12


def newest_release():
    """The newest released version of the reference model, or None."""
    from reference_model.release import manifest

    for version in ("v2", "v1"):
        try:
            manifest(version)
        except (ValueError, OSError):
            continue
        return version
    return None


NEWEST = newest_release()
NEEDS_WEIGHTS = pytest.mark.skipif(
    NEWEST is None, reason="the reference model's weights are not released yet"
)


class Study:
    """Two runs of one model with different seeds, and a policy with margins from their noise."""

    def __init__(self, folder, spec):
        self.folder, self.spec = folder, spec
        self.suite = load_suite("core").select(limit=PROMPTS)
        self.a, self.b = self.run("a"), self.run("b", seed=1)
        noise = [row for row in measure_noise(self.a, self.b) if row.margin_alone > 0]
        lines = [
            f"  - {{id: {row.metric_id}, metric: {row.metric_id}, margin: {row.margin_alone:.6g}}}"
            for row in noise
        ]
        self.policy = folder / "policy.yaml"
        self.policy.write_text("schema: evalkit.gate/v1\nchecks:\n" + "\n".join(lines) + "\n")

    def run(self, name, spec=None, seed=0, **options):
        model = load_model(spec or self.spec)
        return run_model(
            self.suite, model, self.folder / name, seed=seed, metrics=METRICS, workers=0, **options
        )

    def gate(self, candidate, baseline=None):
        return run_gate(candidate.folder, self.policy, baseline=str((baseline or self.a).folder), today=TODAY)


def red(result):
    return {check.id for check in result.results if check.verdict is Verdict.REGRESS}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("world"), "world")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("reference"), f"reference@{NEWEST}")


def test_another_seed_is_no_regression(world):
    result = world.gate(world.b)
    assert result.conclusion.exit_code in (0, 3)
    assert red(result) == set()


def test_flicker_in_the_clips_is_named(world, tmp_path):
    policy = load_policy(world.policy)
    evidence = gather(world.b.folder, policy, baseline=str(world.a.folder), baselines=tmp_path)
    (seen,) = spoil_clips(policy, evidence, [("flicker_gain", 0.6)], tmp_path / "spoiled", TODAY)
    assert seen.exit_code == 1
    assert "temporal.flicker" in seen.red


def test_a_run_with_missing_clips_is_incomplete(world, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(world.b.folder, damaged)
    first = world.b.generations["path"].iloc[0]
    (damaged / first).unlink()
    lost = run_model(
        world.suite,
        load_model(f"replay:run={damaged}"),
        tmp_path / "lost",
        seed=1,
        metrics=METRICS,
        workers=0,
    )
    assert lost.manifest.status == "partial"
    result = world.gate(lost)
    assert result.conclusion.exit_code == 4
    assert "completeness" in result.conclusion.text


def test_a_broken_policy_has_a_place(world, tmp_path):
    broken = tmp_path / "policy.yaml"
    broken.write_text("schema: evalkit.gate/v1\nchecks:\n  - {id: x, metric: temporal.flicker, margin: on}\n")
    result = run_gate(world.b.folder, broken, baseline=str(world.a.folder), today=TODAY)
    assert result.conclusion.exit_code == 2
    assert f"{broken}:3:47: error" in result.conclusion.text


def test_a_promoted_baseline_judges_like_its_run(world, tmp_path):
    from evalkit.gate.baselines import promote
    from evalkit.runs.manifest import write_manifest
    from evalkit.runs.store import open_run

    clean = tmp_path / "clean"
    shutil.copytree(world.a.folder, clean, ignore=shutil.ignore_patterns("clips", "previews", "features"))
    environment = world.a.manifest.environment | {"dirty": False}
    write_manifest(clean, world.a.manifest.model_copy(update={"environment": environment}))
    folder = promote(open_run(clean), "release-1", "test", tmp_path / "baselines", load_policy(world.policy))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 200_000
    direct = world.gate(world.b)
    promoted = run_gate(
        world.b.folder, world.policy, baseline="release-1", baselines=tmp_path / "baselines", today=TODAY
    )
    assert promoted.results == direct.results


@NEEDS_WEIGHTS
def test_two_seeds_of_the_reference_model_pass_or_are_inconclusive(reference):
    result = reference.gate(reference.b)
    assert result.conclusion.exit_code in (0, 3)
    assert red(result) == set()


@NEEDS_WEIGHTS
def test_the_reference_model_without_its_refiner_regresses(reference):
    # The same seeds as the baseline: only the setting differs, so the pairs share their noise.
    result = reference.gate(reference.run("no-refiner", f"reference@{NEWEST}:refine=false"))
    assert result.conclusion.exit_code == 1
    assert "visual.sharpness" in red(result)


@NEEDS_WEIGHTS
def test_too_few_sampling_steps_regress(tmp_path):
    # v2 was trained on the noise levels that few steps meet, and one step does it no harm that 12 prompts show.
    first = Study(tmp_path, "reference@v1")
    result = first.gate(first.run("one-step", "reference@v1:num_inference_steps=1"))
    assert result.conclusion.exit_code == 1
    assert red(result) == {"visual.sharpness"}


@NEEDS_WEIGHTS
def test_flicker_in_clips_of_the_reference_model_is_named(reference, tmp_path):
    policy = load_policy(reference.policy)
    evidence = gather(reference.b.folder, policy, baseline=str(reference.a.folder), baselines=tmp_path)
    (seen,) = spoil_clips(policy, evidence, [("flicker_gain", 0.6)], tmp_path / "spoiled", TODAY)
    assert seen.exit_code == 1
    assert "temporal.flicker" in seen.red


def test_the_command_line_does_the_same(world, tmp_path, capsys):
    from evalkit.cli import main

    with pytest.raises(SystemExit) as done:
        main(
            ["gate", "--run", str(world.b.folder), "--policy", str(world.policy), "--baseline", str(world.a.folder),
             "--out", str(tmp_path / "out"), "--json"]
        )  # fmt: skip
    result = world.gate(world.b)
    assert (done.value.code or 0) == result.conclusion.exit_code
    assert json.loads(capsys.readouterr().out)["text"] == result.conclusion.text
    assert (tmp_path / "out" / "comment.md").is_file()
