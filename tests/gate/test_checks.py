"""Each kind of check: passes what is good, catches what is bad, and says what it cannot judge."""

import numpy as np
import pytest
import yaml

from evalkit.gate.junit import to_junit
from evalkit.stats.margins import Verdict
from evalkit.suites.case_files import load_cases
from evalkit.suites.cases import to_suite
from evalkit.testing.runs import make_run

from .conftest import PROMPTS, SAMPLES, of, values

QUALITY = "id: q, metric: quality, margin: 0.5"
FLICKER = "id: f, metric: flicker, margin: 0.5"


@pytest.mark.parametrize(
    ("quality", "flicker", "verdict", "code", "named"),
    [
        (0.0, 0.0, "PASS", 0, set()),
        (-1.0, 0.0, "REGRESS", 1, {"q"}),
        (0.0, 1.0, "REGRESS", 1, {"f"}),
        (-1.0, 1.0, "REGRESS", 1, {"q", "f"}),
        (1.0, -1.0, "PASS", 0, set()),
        (-0.5, 0.0, "REGRESS", 1, {"q"}),
    ],
)
def test_non_inferiority_names_what_got_worse(make, gate, quality, flicker, verdict, code, named):
    result = gate(make("b", seed=1, quality=quality, flicker=flicker), make("a"), [QUALITY, FLICKER])
    assert (result.conclusion.verdict, result.conclusion.exit_code) == (verdict, code)
    assert {check.id for check in result.results if check.verdict is Verdict.REGRESS} == named
    for name in named:
        assert name in result.conclusion.text


def test_non_inferiority_shows_its_evidence(make, gate):
    check = of(gate(make("b", seed=1, quality=-1.0), make("a"), [QUALITY]), "q")
    assert check.estimate == pytest.approx(-1.0, abs=0.3)
    assert check.lower < check.estimate < check.upper < 0
    assert (check.prompts, check.clips, check.missing) == (PROMPTS, PROMPTS * SAMPLES, 0)
    assert check.drop == pytest.approx(-check.estimate)
    assert check.p_adjusted < 0.001
    assert len(check.examples) == 5
    drops = [clip.candidate - clip.baseline for clip in check.examples]
    assert drops == sorted(drops)
    assert "got worse by" in check.sentence


def test_too_few_prompts_are_inconclusive(make, gate):
    steps = np.array([[-1.0], [1.0], [-0.5], [0.5], [-0.8], [0.7]])
    base = {"quality": np.full((6, SAMPLES), 5.0)}
    a, b = (
        make("a", prompts=6, scores=base),
        make("b", prompts=6, scores={"quality": base["quality"] + steps}),
    )
    result = gate(b, a, [QUALITY])
    assert (result.conclusion.verdict, result.conclusion.exit_code) == ("INCONCLUSIVE", 3)
    check = of(result, "q")
    assert check.more_prompts > 10
    assert f"about {check.more_prompts} more prompts" in check.sentence
    relaxed = gate(b, a, [QUALITY], defaults="{inconclusive: warn}")
    assert relaxed.conclusion.exit_code == 0
    assert "warned of: q" in relaxed.conclusion.text
    assert "<failure" not in to_junit(relaxed)


def test_identical_runs_pass_any_margin(make, gate):
    result = gate(make("b"), make("a"), ["id: q, metric: quality, margin: 1e-9"])
    assert result.conclusion.exit_code == 0


def test_among_many_checks_a_single_small_drop_is_not_called_a_regression(make, gate):
    rng = np.random.default_rng(0)
    base, after = {}, {}
    for i in range(12):
        noise = rng.normal(size=(PROMPTS, 1))
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        base[f"m{i}"] = np.zeros((PROMPTS, SAMPLES))
        # One metric with t = -2.2, which alone would be called worse at 5%.
        after[f"m{i}"] = np.repeat(noise + (-2.2 / 8 if i == 0 else 0.1), SAMPLES, axis=1)
    a, b = make("a", scores=base), make("b", scores=after)
    checks = [f"id: m{i}, metric: m{i}, margin: 0.3" for i in range(12)]
    alone = gate(b, a, checks[:1])
    assert of(alone, "m0").verdict is Verdict.REGRESS
    together = of(gate(b, a, checks), "m0")
    assert together.verdict is Verdict.INCONCLUSIVE
    assert "among 12 checks that may be chance" in together.sentence


@pytest.mark.parametrize(("limit", "verdict"), [(9.0, "PASS"), (10.0, "INCONCLUSIVE"), (11.5, "REGRESS")])
def test_absolute_floor(make, gate, limit, verdict):
    scores = {"quality": np.random.default_rng(0).normal(10, 1, (PROMPTS, SAMPLES))}
    result = gate(make("b", scores=scores), None, [f"id: q, metric: quality, kind: absolute, min: {limit}"])
    assert of(result, "q").verdict == verdict
    assert result.conclusion.exit_code == {"PASS": 0, "INCONCLUSIVE": 3, "REGRESS": 1}[verdict]
    upside = gate(
        make("c", scores=scores), None, [f"id: q, metric: quality, kind: absolute, max: {20 - limit}"]
    )
    assert of(upside, "q").verdict == verdict


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "PASS"), (0.05, "PASS"), (0.2, "INCONCLUSIVE"), (0.5, "REGRESS")]
)
def test_rate_of_bad_clips(make, gate, share, verdict):
    flicker = np.where(np.random.default_rng(2).random((PROMPTS, SAMPLES)) < share, 1.0, 0.0)
    check = "id: f, metric: flicker, kind: rate, worse_than: 0.5, max_rate: 0.2"
    result = of(gate(make("b", scores={"flicker": flicker}), None, [check]), "f")
    assert result.verdict == verdict
    assert f"({int(flicker.sum())} of {PROMPTS * SAMPLES} clips)" in result.sentence


def test_zero_tolerance_is_zero_cases(make, gate):
    check = "id: f, metric: flicker, kind: rate, worse_than: 0.5, max_rate: 0"
    flicker = np.zeros((PROMPTS, SAMPLES))
    assert of(gate(make("b", scores={"flicker": flicker}), None, [check]), "f").verdict is Verdict.PASS
    flicker[3, 1] = 1.0
    assert of(gate(make("c", scores={"flicker": flicker}), None, [check]), "f").verdict is not Verdict.PASS


@pytest.mark.parametrize(("limit", "verdict"), [(6.0, "PASS"), (8.35, "INCONCLUSIVE"), (9.9, "REGRESS")])
def test_quantile_of_the_worst_clips(make, gate, limit, verdict):
    scores = {"quality": np.random.default_rng(0).normal(10, 1, (PROMPTS, SAMPLES))}
    check = f"id: w, metric: quality, kind: quantile, q: 0.05, min: {limit}"
    result = of(gate(make("b", scores=scores), None, [check]), "w")
    assert result.verdict == verdict
    assert result.estimate == pytest.approx(np.quantile(scores["quality"], 0.05))


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "PASS"), (1.1, "PASS"), (1.15, "INCONCLUSIVE"), (1.4, "REGRESS")]
)
def test_budget_compares_costs_on_one_machine(make, gate, factor, verdict):
    rng = np.random.default_rng(0)
    before = rng.uniform(1, 3, (PROMPTS, SAMPLES))
    after = before * factor * rng.uniform(0.9, 1.1, (PROMPTS, SAMPLES))
    a = make("a", scores={"cost.seconds_per_clip": before})
    b = make("b", scores={"cost.seconds_per_clip": after})
    check = "id: c, metric: cost.seconds_per_clip, kind: budget, max_relative_increase: 0.15"
    result = of(gate(b, a, [check]), "c")
    assert result.verdict == verdict
    warned = gate(b, a, [f"{check}, level: warn"])
    assert warned.conclusion.exit_code == 0
    assert (
        of(gate(b, a, ["id: c, metric: cost.seconds_per_clip, kind: budget, max: 9"]), "c").verdict
        is Verdict.PASS
    )


def test_costs_of_different_machines_are_not_compared(make, gate):
    from evalkit.runs.manifest import write_manifest

    a, b = make("a"), make("b")
    moved = b.manifest.model_copy(update={"environment": {"device": "cuda:0"}})
    write_manifest(b.folder, moved)
    result = gate(b, a, ["id: c, metric: cost.seconds_per_clip, kind: budget, max_relative_increase: 0.15"])
    assert of(result, "c").verdict is Verdict.INVALID
    assert "different machines" in of(result, "c").sentence


def test_slices_judge_only_their_prompts(make, gate):
    worse = values(1)
    worse[::4] -= 3.0  # the prompts with the tag
    a, b = make("a"), make("b", seed=1, scores={"quality": worse})
    result = gate(
        b,
        a,
        [
            "id: close, metric: quality, margin: 0.9, slice: {tag: close-up}",
            "id: motion, metric: quality, margin: 0.9, slice: {category: motion}",
            "id: nobody, metric: quality, margin: 0.9, slice: {tag: nothing}",
        ],
    )
    assert of(result, "close").verdict is Verdict.REGRESS
    assert of(result, "close").prompts == PROMPTS // 4
    assert of(result, "motion").verdict is Verdict.PASS
    assert of(result, "nobody").verdict is Verdict.INVALID
    assert "no prompt of the suite has the tag 'nothing'" in of(result, "nobody").sentence
    assert result.conclusion.exit_code == 4


def test_failed_clips_make_the_evidence_incomplete_or_count_as_the_worst(make, gate):
    failed = [(i, 0) for i in range(8)]
    a, b = make("a"), make("b", failed=failed)
    strict = gate(b, a, [QUALITY])
    assert (strict.conclusion.verdict, strict.conclusion.exit_code) == ("INVALID", 4)
    assert "8 of 192 clips of the candidate failed, 0 are tolerated" in of(strict, "completeness").sentence
    assert "'p000', sample 0" in of(strict, "q").sentence
    tolerant = gate(b, a, [QUALITY], defaults="{max_failed_clips: 8}")
    check = of(tolerant, "q")
    assert check.missing == 8
    assert check.estimate < 0
    assert "8 clips without a value count as the worst score" in check.sentence
    worst = gate(b, a, [QUALITY], defaults="{failed_clips: worst_case}")
    assert of(worst, "q").estimate == check.estimate
    assert of(worst, "completeness").verdict is Verdict.PASS
    # 8 new failures of 192: exact one-sided McNemar p is 2^-8.
    failures = of(worst, "generation-failures")
    assert failures.verdict is Verdict.REGRESS
    assert failures.p_value == pytest.approx(2**-8)


def test_missing_clips_are_never_tolerated(make, gate, tmp_path):
    import pyarrow.parquet as pq

    a, b = make("a"), make("b")
    table = pq.read_table(b.folder / "generations.parquet").to_pylist()
    table[5] |= {"status": "missing", "clip_id": None}
    from evalkit.runs.tables import GENERATIONS, write_table

    write_table(b.folder / "generations.parquet", GENERATIONS, table)
    result = gate(b, a, [QUALITY], defaults="{failed_clips: worst_case, max_failed_clips: 50}")
    assert result.conclusion.exit_code == 4
    assert "1 of 192 clips of the candidate are missing" in of(result, "completeness").sentence


def test_rows_that_vanished_are_noticed(make, gate):
    import pyarrow.parquet as pq

    a, b = make("a"), make("b")
    path = b.folder / "scores.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(10), path)
    result = gate(b, a, [QUALITY])
    assert of(result, "q").verdict is Verdict.INVALID
    assert result.conclusion.exit_code == 4


def test_an_unscored_metric_and_other_prompts_are_invalid(make, gate):
    result = gate(make("b"), make("a"), ["id: x, metric: nope, margin: 0.1"])
    assert of(result, "x").verdict is Verdict.INVALID
    assert "evalkit rescore" in of(result, "x").sentence
    other = gate(make("d", prompts=10), make("c"), [QUALITY])
    assert other.conclusion.exit_code == 4
    assert "the suites differ" in of(other, "completeness").sentence


def test_another_metric_version_is_invalid(make, gate):
    b = make("b", metrics={"quality": {"version": "2"}})
    result = of(gate(b, make("a"), [QUALITY]), "q")
    assert result.verdict is Verdict.INVALID
    assert "version 1 and 2" in result.sentence


def test_a_relative_check_needs_a_baseline(make, gate):
    result = gate(make("b"), None, [QUALITY])
    assert (result.conclusion.verdict, result.conclusion.exit_code) == ("USAGE", 2)
    assert "--baseline" in result.conclusion.text
    unknown = gate(make("c"), None, [QUALITY], baseline="release-9")
    assert unknown.conclusion.exit_code == 2
    assert "no baseline 'release-9'" in unknown.conclusion.text


def test_regression_cases(make, gate, tmp_path):
    folder = tmp_path / "regressions"
    folder.mkdir()
    for name, state in (("wall", "fixed"), ("ball", "open")):
        case = {
            "schema": "evalkit.case/v1",
            "id": name,
            "state": state,
            "category": "temporal.flicker",
            "prompt": {"text": f"a {name}"},
            "seeds": [7, 8, 9],
            "must_pass": 2,
            "detector": {"metric": "flicker", "max": 0.5},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(case))
    cases_suite = to_suite(load_cases(folder))
    order = [prompt.id for prompt in cases_suite.prompts]

    def cases_run(name, wall, ball):
        flicker = np.array([[wall if prompt.startswith("wall") else ball] for prompt in order])
        return make_run(
            tmp_path / name, values={"flicker": flicker}, suite=cases_suite, directions={"flicker": "lower"}
        )

    def judge(run):
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = run.folder / "scores.parquet"
        table = pq.read_table(path)
        seeds = pa.array([int(p.split("-")[-1]) for p in table["prompt_id"].to_pylist()], pa.int64())
        pq.write_table(table.set_column(table.schema.get_field_index("seed"), "seed", seeds), path)
        checks = ["id: cases, kind: cases, suite: regressions/*.yaml"]
        return gate(make(run.folder.name + "-candidate"), None, checks, cases=run.folder)

    good = judge(cases_run("good", 0.1, 0.9))
    assert good.conclusion.exit_code == 0
    assert "1 expected failure" in of(good, "cases").sentence
    back = judge(cases_run("back", 0.9, 0.1))
    assert back.conclusion.exit_code == 1
    assert "case wall fails again" in of(back, "cases").sentence
    assert "case ball is open but passes" in of(back, "cases").sentence
    assert of(back, "cases").examples[0].seed == 7
    nothing = gate(make("n"), None, ["id: cases, kind: cases, suite: regressions/*.yaml"])
    assert nothing.conclusion.exit_code == 4
    none = gate(make("m"), None, ["id: cases, kind: cases, suite: elsewhere/*.yaml"])
    assert none.conclusion.exit_code == 2
