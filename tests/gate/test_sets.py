"""Set metrics in a gate: KVD with a margin, FVD only with more clips than dimensions."""

import numpy as np
import pytest

from evalkit.gate.policy import load_policy
from evalkit.gate.run import gather
from evalkit.gate.selftest import selftest
from evalkit.stats.margins import Verdict

from .conftest import PROMPTS, SAMPLES, TODAY, of


def features(seed, shift=0.0, width=6):
    content = np.random.default_rng(60).normal(size=(PROMPTS, 1, width))
    return content + np.random.default_rng(seed).normal(shift, 0.5, (PROMPTS, SAMPLES, width))


REFERENCE = np.random.default_rng(61).normal(0, 1.1, (150, 6))
KVD = "id: kvd, metric: set.kvd, margin: 0.6"


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "PASS"), (1.5, "REGRESS")])
def test_kvd_is_gated_by_its_margin(make, gate, shift, verdict):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2, shift), REFERENCE)})
    result = of(gate(b, a, [KVD]), "kvd")
    assert result.verdict == verdict
    assert result.lower < result.estimate < result.upper
    assert result.clips == PROMPTS * SAMPLES


def test_the_selftest_moves_features(make, policy_file, tmp_path):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2), REFERENCE)})
    policy = load_policy(policy_file([KVD]))
    evidence = gather(b.folder, policy, baseline=str(a.folder), baselines=tmp_path)
    assert [entry.seen for entry in selftest(policy, evidence, TODAY)] == ["red", "red"]


def test_fvd_of_few_clips_is_not_gated(make, gate):
    width = PROMPTS * SAMPLES + 8
    reference = np.random.default_rng(3).normal(size=(20, width))
    sets = {"set.fvd": (features(1, width=width), reference)}
    params = {"set.fvd": {"params": {"network": "world"}}}
    result = gate(make("b", sets=sets, metrics=params), make("a", sets=sets, metrics=params), [
        "id: fvd, metric: set.fvd, margin: 10"
    ])  # fmt: skip
    assert of(result, "fvd").verdict is Verdict.INVALID
    assert "mostly bias" in of(result, "fvd").sentence


def test_an_absolute_limit_needs_an_interval(make, gate):
    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    result = gate(a, None, ["id: kvd, metric: set.kvd, kind: absolute, max: 1"])
    assert of(result, "kvd").verdict is Verdict.INVALID
    assert "no interval" in of(result, "kvd").sentence
    sliced = gate(a, None, ["id: kvd, metric: set.kvd, kind: absolute, max: 1, slice: {category: colour}"])
    assert "whole suite" in of(sliced, "kvd").sentence


def test_a_promoted_baseline_keeps_the_feature_rows(make, policy_file, tmp_path):
    from evalkit.gate.baselines import promote
    from evalkit.gate.run import run_gate

    a = make("a", sets={"set.kvd": (features(1), REFERENCE)})
    b = make("b", sets={"set.kvd": (features(2), REFERENCE)})
    promote(a, "r1", "why", tmp_path / "baselines")
    result = run_gate(
        b.folder, policy_file([KVD]), baseline="r1", baselines=tmp_path / "baselines", today=TODAY
    )
    assert of(result, "kvd").verdict is Verdict.PASS
