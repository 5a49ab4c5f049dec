"""Set metrics between two runs: aligned clip by clip, judged by label swaps, refused under another protocol."""

import numpy as np
import pytest
import torch

from evalkit.compare.render import to_markdown
from evalkit.compare.runs import compare_runs
from evalkit.compare.sets import compare_set_metric, shared_vectors
from evalkit.compare.types import Word
from evalkit.errors import EvidenceError, RunError
from evalkit.metrics.functional.kernels import mmd
from evalkit.stats.sets import unbiased_mmd

from .conftest import PROMPTS, SAMPLES

WIDTH = 6


def features(seed, shift=0.0):
    content = np.random.default_rng(50).normal(size=(PROMPTS, 1, WIDTH))
    return content + np.random.default_rng(seed).normal(shift, 0.5, (PROMPTS, SAMPLES, WIDTH))


REFERENCE = np.random.default_rng(51).normal(0, 1.1, (90, WIDTH))


def test_our_kernel_is_the_metrics_kernel():
    x, y = features(0).reshape(-1, WIDTH), REFERENCE
    assert unbiased_mmd(x, y) == pytest.approx(mmd(torch.from_numpy(x), torch.from_numpy(y)), rel=1e-9)


def test_a_shifted_run_is_further_from_the_reference(make):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2, shift=0.7), REFERENCE)})
    (row,) = compare_runs([a, b]).sets
    assert row.word is Word.WORSE
    assert row.effect < 0
    assert row.high < 0
    assert row.p_value <= 0.002
    assert row.candidate_value - row.baseline_value == pytest.approx(-row.effect)
    assert (row.prompts, row.n_generated, row.n_reference) == (PROMPTS, 72, 90)
    (back,) = compare_runs([b, a]).sets
    assert back.word is Word.BETTER


def test_the_same_model_is_no_clear_change_and_margins_apply(make):
    a = make("a", sets={"set.kvd": (features(7), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(4), REFERENCE)})
    row = compare_runs([a, b]).sets[0]
    assert row.word is Word.NO_CLEAR_CHANGE
    assert "Label swaps: p = " in row.sentence
    assert compare_runs([a, b], margins={"set.kvd": 5.0}).sets[0].word is Word.NO_WORSE


def test_any_set_metric_is_compared_by_its_own_distance(make):
    params = {"set.jedi": {"params": {"network": "world"}}}
    a = make("a", sets={"set.jedi": (features(1), REFERENCE)}, metrics=params)
    b = make("b", sets={"set.jedi": (features(2, shift=0.7), REFERENCE)}, metrics=params)
    found = compare_set_metric(a, b, a.manifest.metric("set.jedi"), 0, 0.05)
    x = torch.from_numpy(features(1).reshape(-1, WIDTH))
    expected = 100 * mmd(x, torch.from_numpy(REFERENCE), degree=2, offset=0.0)
    assert found.difference.distance_a == pytest.approx(expected, rel=1e-9)
    assert found.difference.difference.estimate > 0
    assert found.difference.p_value <= 0.02


def test_other_protocols_and_references_are_refused(make):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    fewer = make("b", sets={"set.kvd": (features(1), REFERENCE[:50])})
    with pytest.raises(EvidenceError, match=r"different protocols .*n=72/m=90.*n=72/m=50"):
        compare_runs([a, fewer])
    other = make("c", sets={"set.kvd": (features(1), REFERENCE + 1)})
    with pytest.raises(EvidenceError, match="different references"):
        compare_runs([a, other])
    assert compare_runs([a, other], metrics=["quality"]).sets == ()


def test_the_permutation_test_of_each_run_reaches_the_output(make):
    close = np.random.default_rng(52).normal(0, 1.1, (PROMPTS, SAMPLES, WIDTH))
    a = make("a", sets={"set.kvd": (close, REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2, shift=0.7), REFERENCE)})
    result = compare_runs([a, b])
    (row,) = result.sets
    assert row.baseline_p > 0.05
    assert row.candidate_p == pytest.approx(1 / 200)
    assert f"{row.baseline_p:.2g} in the baseline, 0.005 in the candidate" in row.sentence
    assert result.to_dict()["sets"][0]["candidate_p"] == row.candidate_p
    assert "permutation test" in to_markdown(result)


def test_another_number_of_clips_is_refused_and_unequal_sides_are_said(make):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(1), REFERENCE)}, failed=[(0, 0)])
    with pytest.raises(
        EvidenceError, match=r"of 72 clips in .* and of 71 in .*falls with the number of clips"
    ):
        compare_runs([a, b])
    (note,) = [
        note
        for note in compare_runs([a, make("c", sets={"set.kvd": (features(3), REFERENCE)})]).notes
        if "both sides" in note
    ]
    assert "72 generated clips with 90 of the reference" in note
    even = REFERENCE[:72]
    pair = [make(name, sets={"set.kvd": (features(k), even)}) for k, name in ((1, "d"), (2, "e"))]
    assert not [note for note in compare_runs(pair).notes if "both sides" in note]


def test_without_feature_rows_the_values_are_shown_and_nothing_is_claimed(make):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2), REFERENCE)})
    (b.folder / "features" / "sets" / "set.kvd.safetensors").unlink()
    (row,) = compare_runs([a, b]).sets
    assert row.word is Word.NOT_COMPARABLE
    assert row.low is None
    assert row.effect is not None
    assert "evalkit rescore" in row.reason
    with pytest.raises(RunError):
        shared_vectors(a, b, "set.kvd")


def test_clips_are_aligned_by_prompt_and_sample(make):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2), REFERENCE)}, failed=[(3, 1)])
    shared = shared_vectors(a, b, "set.kvd")
    assert shared.left_out == 1
    kept = [(p, s) for p in range(PROMPTS) for s in range(SAMPLES) if (p, s) != (3, 1)]
    assert shared.a == pytest.approx(np.stack([features(1)[p, s] for p, s in kept]))
    assert shared.b == pytest.approx(np.stack([features(2)[p, s] for p, s in kept]))
    assert shared.prompt_ids == [f"p{p:02d}" for p, _ in kept]


def test_diversity_needs_no_reference_and_is_judged_prompt_by_prompt(make):
    from evalkit.metrics.functional.kernels import mean_pairwise_distance

    near, far = features(1), features(2)
    near = near.mean(1, keepdims=True) + (near - near.mean(1, keepdims=True)) / 4
    a, b = (
        make("a", sets={"set.diversity": (far, REFERENCE)}),
        make("b", sets={"set.diversity": (near, REFERENCE)}),
    )
    found = compare_set_metric(a, b, a.manifest.metric("set.diversity"), 0, 0.05)
    expected = np.mean([mean_pairwise_distance(torch.from_numpy(rows)) for rows in near])
    assert found.difference.distance_b == pytest.approx(expected, rel=1e-9)
    assert found.difference.difference.high < 0
    assert found.difference.p_value <= 0.01
    same = compare_set_metric(a, a, a.manifest.metric("set.diversity"), 0, 0.05)
    assert same.difference.difference.estimate == 0
