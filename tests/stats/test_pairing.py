"""Pairing: no row disappears, whatever happened to its partner."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.stats.pairing import Outcome, coverage, impute_worst, pair_scores, prompt_means


def table(rows, metric="m"):
    columns = ["prompt_id", "sample_index", "value", "status"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(
        metric_id=metric,
        category="c",
        group="",
        seed=frame["sample_index"],
        clip_id=frame["prompt_id"] + frame["sample_index"].astype(str),
        reason=None,
    )


A = table(
    [
        ("p1", 0, 1.0, "ok"),
        ("p1", 1, None, "failed"),
        ("p2", 0, 3.0, "ok"),
        ("p2", 1, None, "generation_failed"),
        ("p3", 0, None, "not_applicable"),
        ("p3", 1, None, "not_applicable"),
        ("p4", 0, 5.0, "ok"),
    ]
)
B = table(
    [
        ("p1", 0, 2.0, "ok"),
        ("p1", 1, 9.0, "ok"),
        ("p2", 0, None, "generation_failed"),
        ("p2", 1, None, "failed"),
        ("p3", 0, None, "not_applicable"),
        ("p3", 1, 7.0, "ok"),
        ("p5", 0, 5.0, "ok"),
    ]
)


def test_every_planned_pair_has_exactly_one_outcome():
    pairs = pair_scores(A, B)
    found = {(row.prompt_id, row.sample_index): row.outcome for row in pairs.itertuples()}
    assert found == {
        ("p1", 0): "paired",
        ("p1", 1): "failed_a",
        ("p2", 0): "failed_b",
        ("p2", 1): "failed_both",
        ("p3", 0): "not_applicable",
        ("p3", 1): "failed_a",
        ("p4", 0): "only_a",
        ("p5", 0): "only_b",
    }
    counts = coverage(pairs).loc["m"]
    assert counts["planned"] == 8
    assert counts.drop("planned").sum() == 8


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.sampled_from("ofgn"), st.sampled_from("ab")))
)
@settings(max_examples=25, deadline=None)
def test_no_row_is_dropped(rows):
    status = {"o": "ok", "f": "failed", "g": "generation_failed", "n": "not_applicable"}
    sides = {"a": {}, "b": {}}
    for prompt, sample, what, side in rows:
        sides[side][(f"p{prompt}", sample)] = (1.0 if what == "o" else None, status[what])
    frames = [table([(*key, *value) for key, value in side.items()]) for side in sides.values()]
    pairs = pair_scores(*frames)
    assert len(pairs) == len(set(sides["a"]) | set(sides["b"]))
    assert set(pairs["outcome"]) <= {outcome.value for outcome in Outcome}
    paired = pairs[pairs["outcome"] == "paired"]
    assert paired["value_a"].notna().all()
    assert paired["value_b"].notna().all()


def test_pairing_refuses_two_values_for_one_clip_and_ok_without_a_value():
    with pytest.raises(ValueError, match="second run has several m scores for prompt 'p1', sample 0"):
        pair_scores(A, pd.concat([B, B.iloc[:1]]))
    with pytest.raises(ValueError, match="status ok but no number"):
        pair_scores(table([("p1", 0, None, "ok")]), B)


@pytest.mark.parametrize(("higher", "worst"), [(True, 1.0), (False, 9.0)])
def test_failed_clips_can_be_given_the_worst_score(higher, worst):
    filled = impute_worst(pair_scores(A, B), higher).set_index(["prompt_id", "sample_index"])
    assert ("p3", 0) not in filled.index
    assert filled.loc[("p2", 0), "value_b"] == worst
    assert filled.loc[("p2", 1), ["value_a", "value_b"]].tolist() == [worst, worst]
    assert filled.loc[("p1", 0), ["value_a", "value_b"]].tolist() == [1.0, 2.0]
    assert impute_worst(pair_scores(A, B), higher, worst=-4.0)["value_b"].min() == -4.0


def test_dropping_failures_would_have_hidden_a_worse_model():
    # A respected benchmark skips clips that it cannot decode, which raises the mean of a model that fails on
    # its hardest prompts.
    hard = [(f"p{i}", 0, 1.0 if i < 5 else 9.0, "ok") for i in range(20)]
    broken = [(p, s, None, "generation_failed") if v == 1.0 else (p, s, v, st_) for p, s, v, st_ in hard]
    pairs = pair_scores(table(hard), table(broken))
    skipping = np.nanmean(pairs["value_b"]) - np.nanmean(pairs["value_a"])
    filled = impute_worst(pairs, True, worst=0.0)
    assert skipping > 0
    assert (filled["value_b"] - filled["value_a"]).mean() < 0


def test_prompt_means_weigh_prompts_not_clips():
    means = prompt_means(["b", "a", "b", "b"], [1.0, 10.0, 2.0, 3.0])
    assert means.prompt_ids.tolist() == ["a", "b"]
    assert means.means.tolist() == [10.0, 2.0]
    assert means.samples.tolist() == [1, 3]
    with pytest.raises(ValueError):
        prompt_means(["a"], [np.nan])
    with pytest.raises(ValueError):
        prompt_means(["a", "b"], [1.0])


def test_order_of_rows_and_number_of_processes_do_not_change_a_mean():
    # Averages of per-process averages weigh a short shard as much as a long one; means here see only rows.
    rng = np.random.default_rng(0)
    prompts, values = np.repeat([f"p{i}" for i in range(7)], 3), rng.normal(size=21)
    expected = prompt_means(prompts, values)
    order = rng.permutation(21)
    shuffled = prompt_means(prompts[order], values[order])
    assert shuffled.prompt_ids.tolist() == expected.prompt_ids.tolist()
    assert shuffled.means == pytest.approx(expected.means, rel=1e-12)
