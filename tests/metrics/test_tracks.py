"""Tracks, motion histograms, FVMD and jerk against the published code's own loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.features.compute import FeaturePlan, score_clip, vector_of
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.functional import frechet_distance
from evalkit.metrics.functional.tracks import follow, jerk, motion_histogram, motion_vectors
from evalkit.metrics.registry import load_metric
from evalkit.testing.metrics import check_metric, sample_clips
from tests.metrics.clips import make_clip, moving_texture


def features(metric, frames, fps=8):
    clip = make_clip(frames, fps)
    height, width = frames.shape[-2:]
    return FeaturePlan([metric]).clip_features(clip, ClipRecord(None, len(frames), height, width, clip.fps))


def counted_one_by_one(vectors):
    """The published histogram, written out as loops over cells, frames and points."""
    frames, points, _ = vectors.shape
    side = round(math.sqrt(points))
    grid = vectors.reshape(frames, side, side, 2)
    out = []
    for t in range(frames // 4):
        for row in range(side // 5):
            for column in range(side // 5):
                bins = np.zeros(8)
                cell = grid[4 * t : 4 * t + 4, 5 * row : 5 * row + 5, 5 * column : 5 * column + 5]
                for x, y in cell.reshape(-1, 2):
                    place = min(7, max(0, int((math.atan2(x, y) + math.pi) // (2 * math.pi / 8))))
                    bins[place] += math.ceil(min(math.log2(min(math.hypot(x, y), 255) + 1), 8)) / 8
                out.append(bins)
    return np.concatenate(out)


def test_histogram_is_the_published_one():
    vectors = np.random.default_rng(0).normal(0, 40, (9, 121, 2))
    vectors[0, :30] *= 10
    found = motion_histogram(torch.from_numpy(vectors)[None])[0]
    np.testing.assert_allclose(found, counted_one_by_one(vectors), rtol=1e-12)
    with pytest.raises(ValueError, match="square grid"):
        motion_histogram(torch.zeros(1, 8, 24, 2))


def test_acceleration_is_one_and_parity_copies_the_velocity():
    time = torch.arange(16.0).reshape(1, 16, 1, 1)
    falling = torch.cat([torch.zeros_like(time), time.square()], -1).expand(1, 16, 25, 2)
    velocity, acceleration = motion_vectors(falling)
    assert bool((acceleration[0, 2:, :, 1] == 2).all())
    assert bool((acceleration[0, :2] == 0).all())
    _, copied = motion_vectors(falling, parity=True)
    assert torch.equal(copied[:, 2:], velocity[:, 2:])


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(3, 9))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_points_ride_on_a_steady_flow(x, y, frames):
    flow = (
        torch.tensor([x, y], dtype=torch.float32).reshape(1, 2, 1, 1).expand(frames, 2, 64, 80).contiguous()
    )
    path = follow(flow, torch.tensor([[40.0, 32.0]]))[:, 0]
    expected = torch.tensor([40.0, 32.0]) + torch.arange(frames + 1)[:, None] * torch.tensor([x, y])
    assert torch.allclose(path, expected, atol=1e-3)


def test_tracks_of_a_gliding_texture_glide():
    metric = load_metric("temporal.jerk")
    clip = features(metric, moving_texture(16, 64, step=(1.0, 0.5)))
    (request,) = metric.requires()
    steps = clip.tensor(request, "positions").diff(dim=1)[0]
    # One pixel of 64 is four of the 256 in which tracks are given; .2 is a twentieth of a pixel of the clip's own.
    assert steps.median(1).values.mean(0).tolist() == pytest.approx([255 / 63, 0.5 * 255 / 63], abs=0.2)
    long = features(metric, moving_texture(46, 32))
    assert long.tensor(request, "positions").shape == (3, 16, 400, 2)


def test_jerk_answers_shaking_and_not_speeding_up():
    metric = load_metric("temporal.jerk")
    smooth = score_clip(metric, features(metric, moving_texture(16, 64)))
    base = moving_texture(16, 72)
    values = []
    for size in (1, 2, 3):
        shaken = torch.stack(
            [frame[:, 4:68, 4 + size * (t % 2) : 68 + size * (t % 2)] for t, frame in enumerate(base)]
        )
        values.append(score_clip(metric, features(metric, shaken)).value)
    assert smooth.value < values[0] < values[1] < values[2]
    assert values[1] == pytest.approx(100 * 8 * 1 / 64, rel=0.25)
    short = score_clip(metric, features(metric, moving_texture(15, 64)))
    assert short.status == "not_applicable"
    parabola = torch.arange(16.0).square().reshape(1, 16, 1, 1).expand(1, 16, 4, 2)
    assert jerk(parabola).abs().max() == 0


def test_fvmd_parts_speeds_and_is_the_frechet_distance_of_its_rows():
    metric = load_metric("set.fvmd")
    slow, also, fast = (
        torch.cat(
            [
                vector_of(metric, features(metric, moving_texture(16, 48, (speed, 0.2 * k), seed + k))).rows
                for k in range(3)
            ]
        )
        for speed, seed in ((0.5, 0), (0.5, 50), (3.0, 100))
    )
    assert slow.shape == (3, 1024)
    near, far = metric.score(also, slow, seed=0), metric.score(fast, slow, seed=0)
    assert far.value == frechet_distance(fast, slow)
    assert near.value < 0.3 * far.value
    assert "velocity+acceleration" in far.protocol
    parity = load_metric("set.fvmd", parity=True)
    assert parity.feature_protocol() != metric.feature_protocol()


def test_metrics_of_tracks_honour_the_contract():
    check_metric(lambda: load_metric("set.fvmd"), sample_clips(16, 32)[:2])
    check_metric(lambda: load_metric("temporal.jerk"), sample_clips(16, 32)[:2])
