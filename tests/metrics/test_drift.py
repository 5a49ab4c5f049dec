"""Lost sharpness, changing looks and seams between chunks, against closed forms and their own defects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.pixels import planes_of
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.functional.drift import (
    ChangeAlongMotion,
    brightness_spikes,
    change_along_motion,
    change_of_looks,
    drift_slope,
    log_colours,
    looks,
    periodic_seams,
    sharpness_drift,
    spikes,
    steady_change,
)
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


def lit(frames, gains):
    """Frames whose light is multiplied by a number each."""
    gains = torch.as_tensor(gains, dtype=torch.float32)[:, None, None, None]
    return (frames * gains).round().clamp(0, 255).to(torch.uint8)


def test_a_step_of_light_shows_where_motion_hides_it_from_plain_differences():
    """Fast motion, whose speed swings by more than the light steps."""
    parts = [moving_texture(32, 64, step=(2.0, 1.0), seed=seed).float() for seed in (1, 2)]
    frames = ((parts[0] + 0.3 * parts[1].flip(0)) / 1.3).round().to(torch.uint8)
    border = range(5, 32, 6)
    values = []
    for step in (0.0, 0.03, 0.06, 0.12):
        piece = sum((torch.arange(32) > t).int() for t in border)
        score = scored("temporal.seams", lit(frames, 1 + step * (piece % 2) - step / 2))
        values.append(score.value)
        marked = [t for t, value in enumerate(score.series) if value > 0]
    assert values[0] < 0.1
    assert values == sorted(values)
    assert values[2] > 1
    assert marked == list(border)


def test_light_that_steps_once_or_out_of_step_is_no_seam():
    frames = moving_texture(32, 48, step=(0.4, 0.0))
    for places in ((16,), (5, 9, 20)):
        gains = 1 + 0.1 * (sum((torch.arange(32) > t).int() for t in places) % 2)
        assert scored("temporal.seams", lit(frames, gains)).value < 0.3


def test_chance_that_some_cells_stand_out_is_not_a_border():
    change = torch.randn(19, 1, 10, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = brightness_spikes(ChangeAlongMotion(change, torch.ones(19, 10, 13)))
    # At the ends a value has fewer neighbours to stand out among.
    assert found[2:-2].max() < 0.1
    change[9] += 10.0
    found = brightness_spikes(ChangeAlongMotion(change, torch.ones(19, 10, 13)))
    assert int(found.argmax()) == 9
    assert found[9] > 2


def test_logarithms_are_those_of_the_pixels():
    frames = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = torch.log2(frames.permute(0, 2, 3, 1) + 16.0)
    assert torch.allclose(log_colours(planes_of(frames, 256)), expected, atol=1e-4)


def test_change_in_cells_is_the_mean_of_blocks_and_motion_leaves_none():
    pictures = torch.rand(3, 38, 38, 2, generator=torch.Generator().manual_seed(0))
    still = torch.zeros(2, 2, 38, 38)
    found = change_along_motion(pictures, still, still)
    blocks = (pictures[1:] - pictures[:-1]).numpy()[:, :36, :36]
    assert found.change.shape == (2, 2, 10, 10)
    # 38 rows make ten cells of 3.8, whose borders overlap by a row: the outermost has four rows.
    assert found.change[1, 1, 0, 0].item() == pytest.approx(blocks[1, :4, :4, 1].mean(), abs=1e-6)
    right = torch.zeros(2, 2, 38, 38)
    right[:, 0] = 2.0
    moved = torch.stack([pictures[0].roll(2 * t, 1) for t in range(3)])
    inner = change_along_motion(moved, right, -right).change[..., 1:-1]
    assert inner.abs().max() < 1e-6


@given(st.integers(4, 12), st.integers(1, 2), st.integers(0, 1000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_steady_change_is_the_mean_over_all_pairs(count, windows, seed):
    generator = torch.Generator().manual_seed(seed)
    seen = torch.rand(count, 2, 3, generator=generator, dtype=torch.float64)
    change = (torch.randn(count, 3, 2, 3, generator=generator, dtype=torch.float64) + 0.5) * seen[:, None]
    spans = [range(w * count // windows, (w + 1) * count // windows) for w in range(windows)]
    pairs = [(i, j) for span in spans for i in span for j in span if i != j]
    roots, weights = [], []
    for row, column in np.ndindex(2, 3):
        weights.append(sum((seen[i, row, column] * seen[j, row, column]).item() for i, j in pairs))
        products = sum(
            (change[i, :, row, column] * change[j, :, row, column]).mean().item() for i, j in pairs
        )
        roots.append(max(0.0, products / weights[-1]) ** 0.5)
    found = steady_change(ChangeAlongMotion(change, seen), windows)
    assert found == pytest.approx(np.average(roots, weights=weights))


def test_a_change_in_one_place_counts_the_same_beside_another():
    """A mean of roots: the square root of a sum would let what is there anyhow hide the smaller change."""
    seen = torch.ones(6, 1, 2)
    lone, both = torch.zeros(6, 1, 1, 2), torch.zeros(6, 1, 1, 2)
    lone[..., 0] = both[..., 0] = 0.1
    both[..., 1] = 3.0
    one, busy, all_ = (
        steady_change(ChangeAlongMotion(change, seen), 2) for change in (lone, both - lone, both)
    )
    assert all_ == pytest.approx(one + busy)


def test_nothing_visible_is_no_steady_change():
    nothing = ChangeAlongMotion(torch.zeros(8, 3, 4, 4), torch.zeros(8, 4, 4))
    assert steady_change(nothing, 4) is None


def test_a_look_that_changes_along_the_motion_drifts_the_more_the_more_it_changes():
    frames = moving_texture(24, 64, step=(1.0, 0.5))
    other = moving_texture(24, 64, step=(1.0, 0.5), seed=7)
    ramp = torch.linspace(0, 1, 24)[:, None, None, None]
    values = [
        scored(
            "temporal.appearance_drift", (frames + ramp * share * (other.float() - frames)).to(torch.uint8)
        ).value
        for share in (0.0, 0.3, 0.6, 1.0)
    ]
    assert values == sorted(values)
    assert values[-1] > 4 * values[0]


def exposed(frames, doublings):
    """Frames whose light above black, 16 more than the level, is multiplied by so many doublings a channel."""
    light = (frames + 16.0) * 2 ** torch.as_tensor(doublings, dtype=torch.float32)[:, :, None, None]
    return (light - 16).round().clamp(0, 255).to(torch.uint8)


def test_a_tint_that_creeps_in_drifts_at_its_own_rate_and_light_does_not():
    frames = (moving_texture(17, 64, step=(1.0, 0.0), seed=3) * 0.5 + 60).to(torch.uint8)
    # A sixteenth of a doubling less every frame, at 8 frames a second.
    fading = -torch.arange(17)[:, None] / 16 * torch.ones(3)
    assert scored("temporal.appearance_drift", exposed(frames, fading)).value < 0.02
    # Of the tint 2/3, 1/3 and 1/3 of it in one of red, green and blue; contrasts, the other three of six, stay.
    reddened = exposed(frames, fading * torch.tensor([-1.0, 0.0, 0.0]))
    assert scored("temporal.appearance_drift", reddened).value == pytest.approx(0.5 / 3, rel=0.15)


def test_flicker_is_no_drift():
    frames = moving_texture(17, 64, step=(1.0, 0.0), seed=3)
    gains = torch.tensor([[1.0, 1.0, 1.0] if t % 2 else [0.8, 0.9, 1.0] for t in range(17)])
    flickering = (frames * gains[:, :, None, None]).round().to(torch.uint8)
    assert scored("temporal.appearance_drift", flickering).value < 0.05


def test_contrast_that_grows_under_the_same_mean_is_a_change_of_looks():
    """What version 1, which knew means alone, could not see."""
    sign = torch.ones(38, 38)
    sign[:, 1::2] = -1
    # Squares of a glance are four pixels wide, of which two are up and two down, wherever they lie.
    growing = torch.stack([2 ** (6.5 + 0.02 * t * sign) - 16 for t in range(8)])
    planes = torch.zeros(8, 38, 38, 3)
    planes[..., 0] = growing
    still = torch.zeros(7, 2, 38, 38)
    found = change_of_looks(planes, still, still)
    assert found.change[:, :3].abs().max() < 1e-5
    # Beyond the picture's sides the stripes are mirrored, one of them twice.
    assert torch.allclose(found.change[:, 3:, :, 1:-1], torch.tensor(0.02, dtype=torch.float64), atol=1e-4)
    assert steady_change(found, 2) == pytest.approx(0.02 / 2**0.5, rel=1e-2)


def test_looks_are_plain_standard_deviations_and_know_no_light():
    planes = torch.zeros(1, 38, 57, 3)
    planes[..., 0] = 60 + 100 * torch.rand(38, 57, generator=torch.Generator().manual_seed(0))
    planes[..., 1:] = 10 * torch.randn(1, 38, 57, 2, generator=torch.Generator().manual_seed(1))
    colours, found = log_colours(planes)[0], looks(planes)[0]
    assert found[..., :3].sum(-1).abs().max() < 1e-4
    assert torch.allclose(found[..., 0] - found[..., 2], colours[..., 0] - colours[..., 2], atol=1e-4)
    # A square of four reaches from two before to one behind.
    square = colours[8:12, 20:24].double()
    assert torch.allclose(found[10, 22, 3:].double(), square.std((0, 1), correction=0), atol=1e-4)
    brighter = torch.cat([(planes[..., :1] + 16) * 1.2 - 16, planes[..., 1:] * 1.2], -1)
    assert torch.allclose(looks(brighter)[0], found, atol=1e-3)


def test_looks_do_not_depend_on_the_pieces_they_are_made_in():
    generator = torch.Generator().manual_seed(0)
    planes = 128 + 20 * torch.randn(40, 24, 24, 3, generator=generator)
    there, back = 0.5 * torch.randn(2, 39, 2, 24, 24, generator=generator)
    whole = change_along_motion(looks(planes), there, back)
    found = change_of_looks(planes, there, back)
    assert torch.equal(found.change, whole.change)
    assert torch.equal(found.seen, whole.seen)
