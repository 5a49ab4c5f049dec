"""Lost sharpness and seams between chunks, against closed forms and their own defects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.functional.drift import drift_slope, periodic_seams, sharpness_drift, spikes
from evalkit.metrics.registry import load_metric
from tests.metrics.clips import make_clip, moving_texture


def scored(name, frames, fps=8):
    metric, clip = load_metric(name), make_clip(frames, fps)
    height, width = frames.shape[-2:]
    record = ClipRecord(None, len(frames), height, width, clip.fps)
    return score_clip(metric, FeaturePlan([metric]).clip_features(clip, record))


def softened(frames, sigma):
    """Frames blurred more and more, up to `sigma` at the end."""
    pictures = frames.permute(0, 2, 3, 1).numpy()
    blurred = [
        cv2.GaussianBlur(picture, (0, 0), max(1e-3, sigma * t / len(pictures))) if sigma else picture
        for t, picture in enumerate(pictures)
    ]
    return torch.from_numpy(np.stack(blurred)).permute(0, 3, 1, 2)


def test_growing_blur_drifts_the_more_the_stronger_it_is():
    frames = moving_texture(24, 64)
    values = [
        scored("temporal.sharpness_drift", softened(frames, sigma)).value for sigma in (0.0, 1.0, 2.0, 4.0)
    ]
    assert values == sorted(values)
    assert values[0] < 0.02 < 0.1 < values[-1]


def test_slope_is_that_of_a_line_whatever_the_window():
    for seconds in (0.5, 2.0):
        distance = 0.3 * seconds * torch.arange(7, dtype=torch.float64)
        assert drift_slope(distance, seconds) == pytest.approx(0.3)


@given(st.lists(st.floats(0.01, 1.0), min_size=8, max_size=40), st.integers(1, 4), st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_relative_sharpness_does_not_know_its_scale(values, window, gain):
    sharpness = torch.tensor(values, dtype=torch.float64)
    found = sharpness_drift(sharpness, window)
    assert torch.allclose(found, sharpness_drift(sharpness * gain, window))
    assert found[0] == 0
    assert bool(((found >= 0) & (found <= 1)).all())


def test_losing_half_counts_like_doubling():
    lost, won = torch.tensor([0.8, 0.4]), torch.tensor([0.4, 0.8])
    assert sharpness_drift(lost, 1).tolist() == sharpness_drift(won, 1).tolist() == [0.0, 0.5]
    assert sharpness_drift(torch.zeros(4), 1).tolist() == [0.0] * 4


def jolted(frames, places, size):
    """The same clip with its content jumping sideways by `size` pixels at some transitions."""
    out, shift = [], 0
    for t, frame in enumerate(frames):
        shift += size if t in places else 0
        out.append(frame.roll(shift, -1))
    return torch.stack(out)


@pytest.mark.parametrize(("period", "phase"), [(6, 6), (8, 3)])
def test_a_seam_every_few_frames_is_found_where_it_is(period, phase):
    frames = moving_texture(32, 48, step=(0.4, 0.0))
    places = set(range(phase, 32, period))
    values = []
    for size in (0, 3, 6):
        score = scored("temporal.seams", jolted(frames, places, size))
        values.append(score.value)
        marked = {t + 1 for t, value in enumerate(score.series) if value > 0}
    assert values[0] < 0.3
    assert values[0] < values[1] < values[2]
    assert values[2] > 1
    assert marked == places


def test_one_cut_two_jolts_and_jolts_out_of_step_are_no_seams():
    frames = moving_texture(32, 48, step=(0.4, 0.0))
    for places in ({16}, {8, 20}, {5, 9, 20}):
        assert scored("temporal.seams", jolted(frames, places, 8)).value < 0.3
    noise = torch.randint(
        0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert scored("temporal.seams", noise).value < 0.05


@given(st.integers(4, 9), st.integers(13, 60), st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_comb_is_found_exactly_and_also_backwards(period, count, data):
    phase = data.draw(st.integers(0, period - 1))
    spike = torch.zeros(count)
    spike[phase::period] = 2.0
    borders = len(range(phase, count, period))
    found = periodic_seams(spike)
    if borders < 3:
        assert found.strength == 0
    else:
        assert found == (2.0, period, phase)
        assert periodic_seams(spike.flip(0)).strength == 2.0


def test_spikes_are_doublings_over_the_neighbourhood():
    change = torch.full((9,), 4.0 - 0.255)
    change[4] = 16.0 - 0.255
    assert spikes(change)[4].item() == pytest.approx(2.0)
    assert spikes(change)[2:7].sum().item() == pytest.approx(2.0)
    assert bool((spikes(torch.zeros(9)) == 0).all())
