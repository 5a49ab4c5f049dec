"""Set metrics: protocol strings, intervals, noise floors and refusals."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import pytest
import torch

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.compute import FeaturePlan, vector_of
from evalkit.features.protocol import ClipRecord, ExtractorSpec, FeatureRequest
from evalkit.features.registry import EXTRACTORS, load_extractor
from evalkit.metrics.functional import frechet_distance
from evalkit.metrics.registry import load_metric
from tests.metrics.clips import make_clip, moving_texture


class MeanColour:
    """A stand-in video encoder with known features."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(
        id="world.video",
        version="3",
        subject="clip",
        title="mean colour",
        weights_digest="sha256:abcdef0123456789",
        preprocessing="native",
    )

    def extract(self, subject, inputs):
        return {"features": subject.frames.float().mean((0, 2, 3))}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(EXTRACTORS, "table", {**EXTRACTORS.table, "world.video": f"{__name__}:MeanColour"})
    load_extractor.cache_clear()
    yield
    load_extractor.cache_clear()


def gaussian(n, dimension, seed, shift=0.0):
    return torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed)) + shift


def test_a_clip_gives_its_row():
    metric = load_metric("set.fvd")
    frames = moving_texture(4, 32)
    clip = FeaturePlan([metric]).clip_features(make_clip(frames), ClipRecord(None, 4, 32, 32, Fraction(8)))
    vector = vector_of(metric, clip)
    assert vector.status == "ok"
    assert torch.allclose(vector.rows, frames.float().mean((0, 2, 3))[None])


def test_fvd_says_everything_behind_its_number():
    x, y = gaussian(50, 4, 1), gaussian(60, 4, 2, 0.5)
    score = load_metric("set.fvd").score(x, y, seed=0)
    assert score.value == frechet_distance(x, y)
    assert score.protocol == "fvd/world.video-v3@abcdef012345/native/ddof1/n=50/m=60"
    assert (score.n_generated, score.n_reference) == (50, 60)
    assert score.interval[0] < score.value < score.interval[1]
    halves = frechet_distance(y[:30], y[30:])
    assert 0 < score.noise_floor < 3 * halves
    assert load_metric("set.fvd").score(x, y, seed=0) == score


def test_kvd_says_how_probable_it_would_be_between_equal_sets():
    reference = gaussian(60, 4, 1)
    apart, alike = (
        load_metric("set.kvd").score(gaussian(60, 4, 2, shift), reference, seed=0) for shift in (1.0, 0.0)
    )
    assert apart.p_value == pytest.approx(1 / 1001)
    assert alike.p_value > 0.05
    assert load_metric("set.fvd").score(gaussian(60, 4, 2), reference, seed=0).p_value is None


def test_peers_divisors():
    x, y = gaussian(50, 4, 1), gaussian(60, 4, 2, 0.5)
    assert load_metric("set.fvd", ddof=0).score(x, y, seed=0).value == frechet_distance(x, y, ddof=0)
    assert load_metric("set.fvd", preset="stylegan-v").ddof == 0
    assert load_metric("set.fvd", preset="videogpt").ddof == 1
    assert load_metric("set.fvd", preset="cd-fvd").requires()[0].extractor == "video"
    with pytest.raises(EvalkitError, match="unknown preset"):
        load_metric("set.fvd", preset="mine")


@pytest.mark.parametrize("name", ["set.fvd", "set.kvd", "set.jedi", "set.frechet"])
def test_interval_covers_the_spread_of_new_samples(name):
    """The jackknife's width is near the spread that new samples of both sides show."""
    metric = load_metric(name)
    values, widths = [], []
    for seed in range(12):
        x, y = gaussian(80, 3, seed, 0.7), gaussian(80, 3, seed + 100)
        score = metric.score(x, y, seed=seed)
        values.append(score.value)
        widths.append(score.interval[1] - score.interval[0])
    spread = torch.tensor(values).std() * 2 * 2.093
    assert 0.4 < torch.tensor(widths).mean() / spread < 2.5


def test_small_sets_have_no_interval_and_tiny_ones_no_value():
    score = load_metric("set.kvd").score(gaussian(10, 3, 1), gaussian(10, 3, 2), seed=0)
    assert score.interval is None
    with pytest.raises(NotApplicable, match="at least 2 clips"):
        load_metric("set.fvd").score(gaussian(1, 3, 1), gaussian(10, 3, 2), seed=0)
    with pytest.raises(NotApplicable, match="at least 6 clips"):
        load_metric("set.coverage").score(gaussian(5, 3, 1), gaussian(10, 3, 2), seed=0)


def test_frechet_ignores_what_the_reference_does_not_vary_in():
    """With few clips and many features the projection keeps the distance from drowning in bias."""
    x, y = gaussian(60, 200, 1), gaussian(60, 200, 2)
    assert load_metric("set.frechet", components=4).score(x, y, seed=0).value < 0.2 * frechet_distance(x, y)


def test_jedi_parity_is_the_v_statistic():
    x, y = gaussian(30, 5, 1), gaussian(30, 5, 2)
    parity = load_metric("set.jedi", parity=True).score(x, y, seed=0)
    assert parity.value > load_metric("set.jedi").score(x, y, seed=0).value
    assert "/V/" in parity.protocol


def test_statistics_alone_give_the_same_fvd_and_an_honest_interval():
    from evalkit.metrics.functional.frechet import FrechetStatistics

    x, y = gaussian(80, 4, 1), gaussian(90, 4, 2, 0.5)
    metric = load_metric("set.fvd")
    known, rows = metric.score_statistics(x, FrechetStatistics.of(y), seed=0), metric.score(x, y, seed=0)
    assert known.value == pytest.approx(rows.value, rel=1e-10)
    assert known.protocol == rows.protocol
    assert known.noise_floor is None
    assert known.interval[0] < known.value < known.interval[1]
    assert known.interval[1] - known.interval[0] < rows.interval[1] - rows.interval[0]
    with pytest.raises(NotApplicable, match="at least 2 clips"):
        metric.score_statistics(x[:1], FrechetStatistics.of(y), seed=0)


def test_extrapolated_fvd_takes_the_bias_away_and_refuses_small_sets():
    """Equal distributions: the plain distance is all bias, the intercept is near that of the reference alone."""
    metric = load_metric("set.fvd_infinity")
    reference = gaussian(4000, 6, 9)
    plain, extrapolated = [], []
    for seed in range(8):
        score = metric.score(gaussian(200, 6, seed), reference, seed=seed)
        assert score.interval[0] < score.value < score.interval[1]
        extrapolated.append(score.value)
        plain.append(load_metric("set.fvd").distance(gaussian(200, 6, seed), reference))
    assert abs(sum(extrapolated)) < 0.4 * sum(plain)
    with pytest.raises(NotApplicable, match="at least 2 D = 12"):
        metric.score(gaussian(11, 6, 1), reference, seed=0)


def test_diversity_is_the_mean_over_prompts_of_their_samples_distances():
    metric = load_metric("set.diversity")
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    rows = torch.stack([one, one, one, other, other])
    score = metric.score_prompts(rows, ["same", "same", "apart", "apart", "single"])
    assert score.value == pytest.approx(0.5)
    assert "prompts=2/n=5" in score.protocol
    assert score.interval[0] == pytest.approx(0.5 - 12.706 * 0.5, abs=1e-2)
    with pytest.raises(NotApplicable, match="--samples"):
        metric.score_prompts(rows[:2], ["a", "b"])


@pytest.mark.parametrize(
    "name", ["set.fvd", "set.kvd", "set.jedi", "set.precision", "set.recall", "set.density", "set.coverage"]
)
def test_set_metrics_honour_the_contract(name):
    from evalkit.testing.metrics import check_metric, sample_clips

    check_metric(lambda: load_metric(name), sample_clips(4, 32)[:2])


@pytest.mark.parametrize("name", ["set.fvd_infinity", "set.frechet", "set.diversity"])
def test_further_set_metrics_honour_the_contract(name):
    from evalkit.testing.metrics import check_metric, sample_clips

    check_metric(lambda: load_metric(name), sample_clips(2, 32)[:2])
