"""The torchmetrics classes give the harness's numbers, however clips are sharded."""

from __future__ import annotations

import pytest
import torch

from evalkit.features.flow import dis_flow
from evalkit.features.pixels import planes_of
from evalkit.metrics.functional import frechet_distance, mmd
from evalkit.metrics.functional.flicker import flicker
from evalkit.metrics.modules import (
    FrechetMotionDistance,
    FrechetVideoDistance,
    KernelVideoDistance,
    ProjectedFrechetDistance,
    SeedDiversity,
    TemporalFlicker,
    VideoManifold,
)
from evalkit.metrics.registry import load_metric
from tests.metrics.clips import moving_texture


def rows(n, dimension, seed, shift=0.0):
    return torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed)) + shift


def filled(metric, generated, real, batch):
    for part in generated.split(batch):
        metric.update(part, real=False)
    for part in real.split(batch):
        metric.update(part, real=True)
    return metric


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_fvd_is_the_functional_one_for_every_batch_size(batch):
    x, y = rows(60, 5, 1), rows(50, 5, 2, 0.5)
    metric = filled(FrechetVideoDistance(feature_dim=5), x, y, batch)
    assert float(metric.compute()) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_two_processes_merge_to_the_value_of_one():
    x, y = rows(60, 4, 1), rows(50, 4, 2, 0.5)
    whole = filled(FrechetVideoDistance(feature_dim=4), x, y, 16)
    first = filled(FrechetVideoDistance(feature_dim=4), x[:11], y[:40], 16)
    second = filled(FrechetVideoDistance(feature_dim=4), x[11:], y[40:], 16)
    for state in ("real", "generated"):
        gathered = torch.stack([getattr(first, state), getattr(second, state)])
        setattr(first, state, first._reductions[state](gathered))
    assert float(first.compute()) == pytest.approx(float(whole.compute()), rel=1e-12)


def test_fvd_agrees_with_torchmetrics_fid_formula_on_the_same_features():
    from torchmetrics.image.fid import _compute_fid

    x, y = rows(300, 6, 1).double(), rows(200, 6, 2, 0.4).double()
    metric = filled(FrechetVideoDistance(feature_dim=6), x, y, 64)
    expected = _compute_fid(y.mean(0), y.T.cov(), x.mean(0), x.T.cov())
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-6)


def test_feature_network_and_reset():
    metric = FrechetVideoDistance(lambda clips: clips.float().mean((1, 3, 4)), feature_dim=3)
    clips = torch.randint(0, 256, (6, 4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    metric.update(clips, real=True)
    metric.update(clips, real=False)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-9)
    metric.reset()
    metric.update(clips[:1], real=True)
    with pytest.raises(ValueError, match="at least 2"):
        metric.compute()


def test_kvd_is_the_functional_one():
    x, y = rows(20, 5, 1), rows(30, 5, 2, 0.5)
    metric = filled(KernelVideoDistance(), x, y, 8)
    assert float(metric.compute()) == pytest.approx(mmd(x, y), rel=1e-12)


def test_flicker_is_the_mean_of_the_clips():
    clips = torch.stack([moving_texture(4, 48, seed=seed) for seed in (0, 1)])
    metric = TemporalFlicker()
    metric.update(clips)
    values = []
    for clip in clips:
        planes = planes_of(clip, 256)
        luma = planes[..., 0].contiguous()
        values.append(flicker(luma, planes[..., 1:].contiguous(), *dis_flow(luma)).value)
    assert float(metric.compute()) == pytest.approx(sum(values) / 2, rel=1e-12)
    with pytest.raises(ValueError, match="expected uint8"):
        metric.update(clips.float())


def test_wrong_features_are_named():
    with pytest.raises(ValueError, match=r"expected \(clips, D\)"):
        FrechetVideoDistance(feature_dim=3).update(torch.zeros(2, 3, 4), real=True)


def synced(metric, other):
    """What a process computes after torchmetrics gathered the states of two processes."""

    def packed(one):
        states = ((name, getattr(one, name)) for name in one._reductions)
        return [torch.cat(state) if isinstance(state, list) else state for _, state in states]

    theirs = iter(packed(other))
    metric.dist_sync_fn = lambda mine, group=None: [mine, next(theirs)]
    metric.distributed_available_fn = lambda: True
    return metric.compute()


def as_floats(value):
    return {name: float(item) for name, item in value.items()} if isinstance(value, dict) else float(value)


SETS = {
    "set.fvd": (lambda: FrechetVideoDistance(feature_dim=4), {}),
    "set.kvd": (KernelVideoDistance, {}),
    "set.jedi": (lambda: KernelVideoDistance(degree=2, offset=0.0, scale=100.0), {}),
    "set.frechet": (lambda: ProjectedFrechetDistance(components=3), {"components": 3}),
    "set.precision": (VideoManifold, {}),
    "set.recall": (VideoManifold, {}),
    "set.density": (VideoManifold, {}),
    "set.coverage": (VideoManifold, {}),
}


@pytest.mark.parametrize("name", SETS)
def test_every_set_metric_has_a_class_that_gives_its_value_on_one_process_and_on_two(name, monkeypatch):
    make, params = SETS[name]
    metric = load_metric(name, **params)
    monkeypatch.setattr(type(metric), "feature_protocol", lambda self: "rows")
    x, y = rows(60, 4, 1), rows(50, 4, 2, 0.5)
    expected = metric.score(x, y, seed=0).value
    whole = as_floats(filled(make(), x, y, 16).compute())
    first, second = filled(make(), x[:11], y[:40], 16), filled(make(), x[11:], y[40:], 16)
    both = as_floats(synced(first, second))
    if isinstance(whole, dict):
        whole, both = (item[name.removeprefix("set.")] for item in (whole, both))
    assert whole == pytest.approx(expected, rel=1e-9)
    assert both == pytest.approx(expected, rel=1e-9)


def test_jedis_published_statistic():
    x, y = rows(20, 5, 1), rows(30, 5, 2, 0.5)
    metric = filled(KernelVideoDistance(degree=2, offset=0.0, unbiased=False, scale=100.0), x, y, 8)
    expected = 100 * mmd(x, y, degree=2, offset=0.0, unbiased=False)
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)


def test_diversity_counts_prompts_across_processes():
    x = rows(12, 5, 3) + 1
    prompts = torch.arange(12) % 3
    whole = SeedDiversity()
    whole.update(x, prompts)
    first, second = SeedDiversity(), SeedDiversity()
    first.update(x[:5], prompts[:5])
    second.update(x[5:], prompts[5:])
    expected = load_metric("set.diversity").per_prompt(x, prompts.tolist())[1]
    assert float(whole.compute()) == pytest.approx(sum(expected) / 3, rel=1e-12)
    assert float(synced(first, second)) == pytest.approx(sum(expected) / 3, rel=1e-12)
    with pytest.raises(ValueError, match="one a clip"):
        whole.update(x, prompts[:4])
    lonely = SeedDiversity()
    lonely.update(x[:3], prompts[:3])
    with pytest.raises(ValueError, match="no prompt has two clips"):
        lonely.compute()


def test_motion_distance_tells_speeds_apart():
    metric = FrechetMotionDistance()
    for seed in range(2):
        metric.update(moving_texture(16, 32, (0.5, 0.1 * seed), seed)[None], real=True)
        metric.update(moving_texture(16, 32, (0.5, 0.1 * seed), seed)[None], real=False)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-6)
    metric.update(moving_texture(16, 32, (3.0, 0.0), 5)[None], real=False)
    assert float(metric.compute()) > 1
    with pytest.raises(ValueError, match="expected uint8"):
        metric.update(torch.zeros(1, 16, 3, 32, 32), real=True)
