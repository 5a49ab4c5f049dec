"""Comparisons of synthetic runs against independent calculations."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from evalkit.compare.runs import compare_runs
from evalkit.compare.types import Word
from evalkit.errors import EvalkitError, EvidenceError, UnknownName

from .conftest import PROMPTS, SAMPLES, suite, values


def by_metric(comparison, candidate=None):
    return {row.metric_id: row for row in comparison.effects if candidate in (None, row.candidate)}


def test_effect_is_the_mean_over_prompts_with_a_t_interval(make):
    before, after = values(seed=1), values(seed=5, shift=0.2)
    row = by_metric(compare_runs([make("a", quality=before), make("b", quality=after)]))["quality"]
    oracle = DescrStatsW((after - before).mean(axis=1))
    assert row.effect == pytest.approx(oracle.mean)
    assert (row.low, row.high) == pytest.approx(oracle.tconfint_mean())
    assert row.standard_error == pytest.approx(oracle.std_mean)
    assert row.p_value == pytest.approx(oracle.ttest_mean()[1], abs=0.02)
    assert row.smallest_detectable == pytest.approx(2.487 * oracle.std_mean, rel=1e-3)
    assert (row.prompts, row.samples, row.paired, row.planned) == (PROMPTS, SAMPLES, 72, 72)
    assert row.robust_low == pytest.approx(row.low, abs=row.standard_error)


@pytest.mark.parametrize(("metric", "shift", "word"), [
    ("quality", 1.0, Word.BETTER), ("quality", -1.0, Word.WORSE),
    ("flicker", 1.0, Word.WORSE), ("flicker", -1.0, Word.BETTER),
])  # fmt: skip
def test_direction_of_the_metric_decides_what_better_means(make, metric, shift, word):
    base = {"quality": values(seed=1), "flicker": values(seed=2)}
    a = make("a", **base)
    b = make("b", **(base | {metric: values(seed=3, shift=shift)}))
    rows = by_metric(compare_runs([a, b]))
    assert rows[metric].word is word
    other = rows["flicker" if metric == "quality" else "quality"]
    assert other.effect == 0
    assert other.word is Word.NO_CLEAR_CHANGE
    swapped = by_metric(compare_runs([b, a]))[metric]
    assert swapped.effect == pytest.approx(-rows[metric].effect)


def test_margins_turn_silence_into_a_statement(make):
    a, b = make("a"), make("b", quality=values(seed=11))
    effect = by_metric(compare_runs([a, b]))["quality"]
    wide, narrow = 5.0, effect.standard_error / 100
    assert effect.word is Word.NO_CLEAR_CHANGE
    assert by_metric(compare_runs([a, b], margins={"quality": wide}))["quality"].word is Word.NO_WORSE
    tight = by_metric(compare_runs([a, b], margins={"quality": narrow}))["quality"]
    assert tight.word is Word.TOO_FEW
    assert tight.more_prompts > 1000
    assert f"about {tight.more_prompts} more prompts" in tight.sentence
    slight = by_metric(compare_runs([a, make("c", quality=values(seed=1) - 0.1)], margins={"quality": 0.5}))
    assert slight["quality"].word is Word.SLIGHTLY_WORSE


def test_p_values_are_corrected_over_all_rows(make):
    runs = [
        make("a"),
        make("b", quality=values(seed=5, shift=-0.15)),
        make("c", flicker=values(seed=6, shift=0.2)),
    ]
    rows = compare_runs(runs).effects
    assert len(rows) == 4
    expected = multipletests([row.p_value for row in rows], method="holm")[1]
    assert [row.p_adjusted for row in rows] == pytest.approx(list(expected))


def test_slices_are_exploratory_and_corrected_by_themselves(make):
    after = values(seed=1)
    after[1::3] -= 1.0  # only the category "motion"
    comparison = compare_runs([make("a"), make("b", quality=after)])
    rows = {(row.slice_name, row.metric_id): row for row in comparison.slices}
    assert {row.slice_kind for row in comparison.slices} == {"category", "tag"}
    assert all(row.exploratory for row in comparison.slices)
    assert rows["motion", "quality"].effect == pytest.approx(-1.0)
    assert rows["motion", "quality"].p_value == pytest.approx(2 / 2**8)  # 8 prompts, all sign patterns
    # Eight slices were looked at, and the smallest p of eight prompts does not survive that.
    assert rows["motion", "quality"].word is Word.NO_CLEAR_CHANGE
    assert rows["colour", "quality"].effect == 0
    assert rows["temporal.flicker", "quality"].prompts == 6
    expected = multipletests([row.p_value for row in comparison.slices], method="fdr_bh")[1]
    assert [row.p_adjusted for row in comparison.slices] == pytest.approx(list(expected))
    assert not any(row.exploratory for row in comparison.effects)


def test_failed_clips_are_counted_and_never_dropped(make):
    failed = [(0, 0), (0, 1), (0, 2), (7, 1)]
    comparison = compare_runs([make("a"), make("b", failed=failed)])
    row = by_metric(comparison)["quality"]
    assert row.missing == {"failed_b": 4}
    assert (row.prompts, row.paired, row.planned) == (PROMPTS - 1, 68, 72)
    assert row.effect == 0
    assert row.worst_case_effect < 0
    failure = comparison.failures[0]
    assert (failure.baseline_failed, failure.candidate_failed, failure.newly_failed, failure.recovered) == (
        0,
        4,
        4,
        0,
    )
    assert failure.p_value == pytest.approx(2 / 16)
    assert failure.p_more == pytest.approx(1 / 16)
    clips = comparison.clips.query("metric_id == 'quality'")
    assert len(clips) == 72
    lost = clips[clips["outcome"] == "newly failed"]
    assert len(lost) == 4
    assert lost["reason"].str.contains("out of ideas").all()
    assert (
        compare_runs([make("c", failed=failed), make("d")]).clips.query("outcome == 'recovered'").shape[0]
        == 8
    )


def test_a_metric_without_any_value_has_a_reason(make):
    nothing = np.full((PROMPTS, SAMPLES), np.nan)
    row = by_metric(compare_runs([make("a", quality=nothing), make("b", quality=nothing)]))["quality"]
    assert row.word is Word.NOT_COMPARABLE
    assert row.reason == "the metric does not apply to any of these clips"
    assert row.effect is None


def test_clips_that_moved_far_are_named(make):
    base = values(seed=1)
    after = values(seed=1) + np.random.default_rng(3).normal(0, 0.05, (PROMPTS, SAMPLES))
    after[3, 1] -= 2
    after[4, 0] += 2
    clips = compare_runs([make("a", quality=base), make("b", quality=after)]).clips
    moved = clips[(clips["metric_id"] == "quality") & clips["outcome"].isin(["regressed", "fixed"])]
    found = {(r.prompt_id, r.sample_index): r.outcome for r in moved.itertuples()}
    assert found["p03", 1] == "regressed"
    assert found["p04", 0] == "fixed"
    assert len(found) <= 2
    wide = compare_runs([make("c", quality=base), make("d", quality=after)], margins={"quality": 3.0}).clips
    assert set(wide.query("metric_id == 'quality'")["outcome"]) == {"unchanged"}


def test_the_prompt_table_holds_the_means_behind_the_effect(make):
    comparison = compare_runs([make("a"), make("b", quality=values(seed=8))])
    table = comparison.prompts.query("metric_id == 'quality'")
    assert len(table) == PROMPTS
    assert table["effect"].mean() == pytest.approx(by_metric(comparison)["quality"].effect)
    assert (table["candidate_mean"] - table["baseline_mean"]).to_numpy() == pytest.approx(
        table["effect"].to_numpy()
    )


def test_results_do_not_depend_on_the_order_of_rows_or_on_other_metrics(make, tmp_path):
    import pyarrow.parquet as pq

    from evalkit.runs.store import open_run

    a, b = make("a"), make("b", quality=values(seed=4))
    expected = compare_runs([a, b])
    path = b.folder / "scores.parquet"
    table = pq.read_table(path)
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(order), path)
    shuffled = compare_runs([a, open_run(b.folder)])
    assert shuffled.effects == expected.effects
    pd.testing.assert_frame_equal(shuffled.clips, expected.clips)
    alone = compare_runs([a, b], metrics=["quality"]).effects[0]
    assert alone.p_value == by_metric(expected)["quality"].p_value
    assert alone.robust_low == pytest.approx(by_metric(expected)["quality"].robust_low, rel=1e-12)


def test_other_prompts_are_refused_with_an_example(make):
    a, b = make("a"), make("b", the_suite=suite(version="2"))
    with pytest.raises(EvidenceError, match=r"the suites differ: synthetic 1 .* synthetic 2") as caught:
        compare_runs([a, b])
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2"}, "quality was computed differently .version 1 and 2."),
        ({"params": {"size": 5}}, "parameters size=None and 5"),
        ({"features": {"image": "CLIP 1 abc"}}, "encoder of image: none and CLIP 1 abc"),
        ({"key": "abc"}, "content key  and abc"),
    ],
)
def test_metrics_that_were_computed_differently_are_refused_by_name(make, change, message):
    a, b = make("a"), make("b", metrics={"quality": change})
    with pytest.raises(EvidenceError, match=message):
        compare_runs([a, b])
    assert [row.metric_id for row in compare_runs([a, b], metrics=["flicker"]).effects] == ["flicker"]


def test_bad_requests_say_what_to_do(make):
    a, b = make("a"), make("b")
    with pytest.raises(EvalkitError, match="at least two runs"):
        compare_runs([a])
    with pytest.raises(UnknownName, match="did you mean 'quality'"):
        compare_runs([a, b], metrics=["qualty"])
    with pytest.raises(EvalkitError, match="which is not compared"):
        compare_runs([a, b], margins={"nope": 1.0})
    with pytest.raises(EvalkitError, match="at least 0"):
        compare_runs([a, b], margins={"quality": -1.0})
    with pytest.raises(EvalkitError, match="alpha must"):
        compare_runs([a, b], alpha=0.7)
    with pytest.raises(EvalkitError, match="one unique label"):
        compare_runs([a, b], labels=["x", "x"])


def test_a_metric_of_one_run_is_noted(make, tmp_path):
    from evalkit.testing.runs import make_run

    only = make_run(tmp_path / "only", values={"quality": values(seed=1)}, suite=suite())
    comparison = compare_runs([only, make("b")])
    assert [row.metric_id for row in comparison.effects] == ["quality"]
    assert comparison.notes == ("flicker is left out: not scored in only",)


def test_settings_that_differ_are_listed(make):
    a = make("a", model={"revision": "r1", "config": {"steps": 20, "refiner": {"on": True}}})
    b = make("b", model={"revision": "r2", "config": {"steps": 20, "refiner": {"on": False}}})
    found = {(d.area, d.key): d.values for d in compare_runs([a, b]).differences}
    assert found == {
        ("model", "revision"): {"a": "r1", "b": "r2"},
        ("model", "config.refiner.on"): {"a": "true", "b": "false"},
    }
