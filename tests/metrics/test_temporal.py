"""Temporal metrics against closed forms, independent formulas and their own laws."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import NotApplicable
from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.flow import dis_flow
from evalkit.features.pixels import planes_of
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.functional.coherence import coherence, warp_error
from evalkit.metrics.functional.flicker import alternation, flicker
from evalkit.metrics.functional.flow import occlusion_mask, visible_mask, warp
from evalkit.metrics.functional.frames import frame_differences
from evalkit.metrics.functional.motion import camera_motion, chain_flow, dynamic_degree, moving_mask
from evalkit.metrics.functional.rhythm import (
    colour_drift,
    cut_strength,
    feature_drift,
    interpolation_error,
    jitter,
    repetition,
    stillness,
    wobble,
)
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from tests.metrics.clips import make_clip, moving_texture, texture


def uniform_flow(count, size, x, y):
    flow = torch.zeros(count, 2, size, size)
    flow[:, 0], flow[:, 1] = x, y
    return flow


def parts(frames):
    planes = planes_of(frames, 256)
    luma, chroma = planes[..., 0].contiguous(), planes[..., 1:].contiguous()
    return luma, chroma, *dis_flow(luma)


def score(name, frames, prompt=None, fps=8):
    clip = make_clip(frames, fps)
    metric = load_metric(name)
    plan = FeaturePlan([metric])
    record = ClipRecord(prompt, clip.num_frames, *frames.shape[-2:], clip.fps)
    return score_clip(metric, plan.clip_features(clip, record))


# frame differences and VBench


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=20, deadline=None)
def test_vbench_flickering_is_its_published_formula(seed, permuted):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (4, 3, 6, 10), dtype=torch.uint8, generator=generator)
    stored = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if permuted else frames
    arrays = frames.permute(0, 2, 3, 1).numpy()
    per_pair = [
        np.mean(cv2.absdiff(np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)))
        for a, b in itertools.pairwise(arrays)
    ]
    expected = (255.0 - np.mean(per_pair)) / 255.0
    result = score("vbench.temporal_flickering", stored)
    assert result.value == pytest.approx(expected, abs=1e-6)
    assert len(result.series) == 3


def test_frame_differences_refuse_floats():
    with pytest.raises(ValueError, match="uint8"):
        frame_differences(torch.zeros(2, 3, 4, 4))


# flow


def test_warp_follows_integer_and_half_pixel_motion():
    picture = torch.arange(20.0).reshape(1, 4, 5)
    assert torch.equal(warp(picture, uniform_flow(1, 5, 1, 0)[:, :, :4])[0, :, :4], picture[0, :, 1:])
    half = warp(picture, uniform_flow(1, 5, 0.5, 0)[:, :, :4])
    assert torch.allclose(half[0, :, :4], (picture[0, :, :4] + picture[0, :, 1:]) / 2)


def test_dis_recovers_a_known_shift():
    luma = planes_of(moving_texture(step=(2.0, -1.0)), 256)[..., 0].contiguous()
    forward, backward = dis_flow(luma)
    inner = forward[:, :, 8:-8, 8:-8]
    assert inner[:, 0].mean() == pytest.approx(2.0, abs=0.15)
    assert inner[:, 1].mean() == pytest.approx(-1.0, abs=0.15)
    assert backward[:, 0, 8:-8, 8:-8].mean() == pytest.approx(-2.0, abs=0.15)


def test_occlusion_check_accepts_consistent_flow_and_rejects_the_rest():
    there, back = uniform_flow(1, 16, 3, 0), uniform_flow(1, 16, -3, 0)
    assert not occlusion_mask(there, back).any()
    assert occlusion_mask(there, -back).all()
    visible = visible_mask(there, back)[0]
    assert visible[:, :13].all()
    assert not visible[:, 13:].any()


def test_chained_flow_adds_up():
    flow = uniform_flow(6, 12, 1.0, 0.5)
    chained = chain_flow(flow, 3)
    assert chained.shape == (2, 2, 12, 12)
    assert torch.allclose(chained[:, 0], torch.full((2, 12, 12), 3.0))


# flicker


def test_alternation_has_the_amplitude_of_the_oscillation():
    base = torch.full((5, 16, 16), 100.0)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])[:, None, None]
    zero = uniform_flow(4, 16, 0, 0)
    assert torch.allclose(alternation(base + 7 * sign, zero, zero), torch.full((3, 16, 16), 7.0))
    ramp = base + torch.arange(5.0)[:, None, None] * 3
    assert alternation(ramp, zero, zero).abs().max() == 0


def test_flicker_of_a_global_gain_is_its_percentage():
    """Luma L (1 +- g): brightness and contrast both alternate by 100 g percent of their floors' share."""
    luma = torch.from_numpy(texture(64, 64)[..., 0].copy())[None].repeat(6, 1, 1)
    sign = torch.tensor([1.0, -1.0] * 3)[:, None, None]
    zero = uniform_flow(5, 64, 0, 0)
    chroma = torch.zeros(6, 64, 64, 2)
    result = flicker(luma * (1 + 0.05 * sign), chroma, zero, zero)
    mean = float(luma[0].mean())
    assert result.brightness == pytest.approx(5 * mean / (mean + 16), rel=0.02)
    assert result.texture == pytest.approx(5, rel=0.1)
    assert result.colour == 0
    assert result.value == result.brightness + result.colour + result.texture
    assert result.per_transition.shape == (5,)


def test_smooth_motion_and_fades_hardly_flicker_but_every_oscillation_does():
    frames = moving_texture(8, 96, (1.5, 0.5))
    calm = score("temporal.flicker", frames).value
    fade = (frames.float() * torch.linspace(1, 0.8, 8)[:, None, None, None]).to(torch.uint8)
    sign = (1 - 2 * (torch.arange(8) % 2)).float()[:, None, None, None]
    assert score("temporal.flicker", fade).value < 2 * calm + 0.5
    tint = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None]
    for size in (0.5, 1.0):
        gain = (frames.float() * (1 + 0.06 * size * sign)).clamp(0, 255).to(torch.uint8)
        colour = (frames.float() + 8 * size * sign * tint).clamp(0, 255).to(torch.uint8)
        assert score("temporal.flicker", gain).value > calm + 3 * size
        assert score("temporal.flicker", colour).value > calm + 1.5 * size


def test_flicker_does_not_depend_on_direction_of_time_or_mirroring():
    frames = moving_texture(6, 64, (1.0, 0.0), seed=3)
    value = score("temporal.flicker", frames).value
    assert score("temporal.flicker", frames.flip(0)).value == pytest.approx(value, rel=0.25)
    assert score("temporal.flicker", frames.flip(3)).value == pytest.approx(value, rel=0.25)


def test_flicker_of_unrelated_frames_is_that_of_their_local_statistics():
    """Independent frames: `x[t] - (x[t-1] + x[t+1]) / 2` has sqrt(1.5) times the deviation of x, x a local mean.

    A Gaussian window of sigma 3 averages 4 pi 3^2 = 113 pixels. The mean size of a normal value is sqrt(2/pi) of its
    deviation; of a pair of them (chroma), sqrt(pi/2). A local deviation s itself deviates by s / sqrt(2 * 113).
    """
    generator = torch.Generator().manual_seed(0)
    deviation, pixels = 20.0, 4 * np.pi * 9
    luma = 120 + deviation * torch.randn((8, 96, 96), generator=generator)
    chroma = deviation * torch.randn((8, 96, 96, 2), generator=generator)
    zero = uniform_flow(7, 96, 0, 0)
    result = flicker(luma, chroma, zero, zero)
    swing = np.sqrt(1.5) / 2
    local = deviation / np.sqrt(pixels)
    assert result.brightness == pytest.approx(100 * swing * np.sqrt(2 / np.pi) * local / 136, rel=0.05)
    assert result.colour == pytest.approx(100 * swing * np.sqrt(np.pi / 2) * local / 136, rel=0.05)
    contrast = deviation / np.sqrt(2 * pixels) * np.sqrt(2 / np.pi) / (deviation + 1)
    assert result.texture == pytest.approx(100 * swing * contrast, rel=0.1)


# coherence and warp error


def test_coherence_is_one_for_a_still_picture_and_low_for_unrelated_ones():
    still = moving_texture(1, 64).repeat(4, 1, 1, 1)
    assert score("temporal.coherence", still).value == 1.0
    different = torch.cat([moving_texture(1, 64, seed=seed) for seed in range(4)])
    assert score("temporal.coherence", different).value < 0.5
    assert score("temporal.coherence", moving_texture(6, 64, (2.0, 1.0))).value > 0.95


def test_coherence_counts_only_what_stays_in_the_picture():
    leaving = uniform_flow(1, 10, 5, 0)
    assert coherence(leaving, -leaving).item() == 1.0
    assert coherence(uniform_flow(1, 10, 50, 0), leaving).item() == 0.0


def test_warp_error_is_the_masked_mean_square():
    luma = torch.zeros(2, 12, 12)
    luma[1] = 0.5
    zero = uniform_flow(1, 12, 0, 0)
    error, share = warp_error(luma, zero, zero)
    assert error.tolist() == [0.25]
    assert share.tolist() == [1.0]
    colour = torch.stack([luma, luma, torch.zeros_like(luma)], -1)
    assert warp_error(colour, zero, zero)[0].item() == pytest.approx(0.5 / 3)


def test_warp_error_against_evalcrafters_formula_on_the_same_flow():
    """EvalCrafter: mean over visible pixels of the squared difference, summed over channels."""
    frames = moving_texture(2, 48, (1.0, 0.0)).float().permute(0, 2, 3, 1) / 255
    luma = frames.mean(-1) * 255
    forward, backward = dis_flow(luma)
    error, _ = warp_error(frames, forward, backward)
    height, width = 48, 48
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = cv2.remap(
        frames[1].numpy(),
        x + forward[0, 0].numpy(),
        y + forward[0, 1].numpy(),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mask = visible_mask(forward, backward)[0].numpy()
    summed = (np.square(moved - frames[0].numpy()) * mask[..., None]).sum() / mask.sum()
    assert error.item() == pytest.approx(summed / 3, rel=1e-5)


# rhythm


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_stillness_sorts_runs(still):
    differences = torch.where(torch.tensor(still), 0.0, 9.0)
    result = stillness(differences)
    runs, start = [], 0
    for end in range(1, len(still) + 1):
        if end == len(still) or still[end] != still[start]:
            runs.append((still[start], start, end))
            start = end
    frozen = {i for is_still, a, b in runs if is_still and b - a > 2 for i in range(a, b)}
    repeated = {
        i
        for is_still, a, b in runs
        if is_still and b - a <= 2 and a > 0 and b < len(still)
        for i in range(a, b)
    }
    assert set(result.frozen.nonzero().flatten().tolist()) == frozen
    assert set(result.repeated.nonzero().flatten().tolist()) == repeated


def test_freeze_and_duplicates_are_the_share_of_transitions():
    frames = moving_texture(10, 32, (2.0, 0.0))
    frozen = frames.clone()
    frozen[4:8] = frames[3]
    result = score("temporal.freeze", frozen)
    assert result.value == pytest.approx(4 / 9)
    assert result.series == (0, 0, 0, 1, 1, 1, 1, 0, 0)
    twice = frames.clone()
    twice[4] = frames[3]
    assert score("temporal.duplicates", twice).value == pytest.approx(1 / 9)
    assert score("temporal.freeze", frames).value == score("temporal.duplicates", frames).value == 0


def test_a_cut_is_found_where_it_is_and_a_requested_one_is_free():
    dark = (moving_texture(5, 64, (1.0, 0.0)).float() * 0.3).to(torch.uint8)
    light = moving_texture(5, 64, (0.0, 1.0), seed=9)
    result = score("temporal.cuts", torch.cat([dark, light]))
    assert result.value > 0.4
    assert int(np.argmax(result.series)) == 4
    asked = Prompt(id="p", text="two shots", category="c", expect={"shots": 2})
    assert score("temporal.cuts", torch.cat([dark, light]), asked).value < 0.1
    assert score("temporal.cuts", dark).value < 0.1


def test_a_flash_is_no_cut():
    frames = moving_texture(9, 48, (1.0, 0.0))
    flash = frames.clone()
    flash[4] = 250
    strength = cut_strength(flash, torch.zeros(8))
    assert strength.max() < 0.05


def test_colours_at_the_border_of_a_bin_are_no_cut():
    # A codec moves many pixels over the border of a bin in every frame, in some frames a few more.
    generator = torch.Generator().manual_seed(0)
    frames = 127 + torch.randint(0, 2, (12, 3, 48, 48), generator=generator, dtype=torch.uint8)
    assert cut_strength(frames, torch.zeros(11)).max() == 0
    frames[6:] = 60
    assert cut_strength(frames, torch.zeros(11)).argmax() == 5


def test_jitter_is_the_acceleration_in_percent():
    steady = uniform_flow(5, 50, 3.0, 1.0)
    assert jitter(steady, -steady).max() == 0
    swing = uniform_flow(4, 50, 1.0, 0.0) * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    assert torch.allclose(jitter(swing, -swing), torch.full((3,), 4.0, dtype=torch.float64))


def test_wobble_is_what_bends_and_not_what_shakes():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    sign = torch.tensor([1.0, -1.0, 1.0])[:, None, None, None]
    still = torch.zeros(3, 2, 64, 64)
    shaken = sign * torch.stack([0.5 + 0.01 * (x - 32), 0.3 + 0.01 * (y - 32)])
    assert wobble(shaken, -shaken).max() < 0.01
    # A quarter of the picture on its own is a subject. Flow that leads back to itself: the mask leaves nothing out.
    subject = still.clone()
    subject[:, 0, :32, :32] = 0.6 * sign[:, 0]
    assert wobble(subject, -subject).max() < 0.01
    # A standing wave of amplitude A turned round: 2 A |sin|, whose median is 2 A / sqrt(2). So gentle that no part of
    # it counts as a motion boundary.
    bent = sign * torch.stack([0.15 * torch.sin(2 * np.pi * y / 32), torch.zeros_like(y)])
    expected = 100 * 2 * 0.15 / np.sqrt(2) / 64
    assert wobble(bent, -bent).tolist() == pytest.approx([expected] * 2, rel=0.1)


def test_interpolation_along_steady_motion_is_exact_inside():
    frames = moving_texture(7, 64, (2.0, 0.0))
    luma = planes_of(frames, 256)[..., 0].contiguous()
    leap = uniform_flow(3, 64, 4.0, 0.0)
    error = interpolation_error(luma[:, :, :], leap)
    still = interpolation_error(luma, uniform_flow(3, 64, 0.0, 0.0))
    assert (error < 0.5 * still).all()
    jumpy = luma.clone()
    jumpy[1::2] += 10
    assert (interpolation_error(jumpy, leap) > error + 5).all()


def test_repetition_finds_the_lag_of_a_loop():
    frames = moving_texture(8, 48, (3.0, 0.0))
    luma = planes_of(torch.cat([frames, frames]), 256)[..., 0].contiguous()
    value, lag = repetition(luma, shortest=4)
    assert (value, lag) == (1.0, 8)
    straight = planes_of(moving_texture(16, 48, (3.0, 0.0)), 256)[..., 0].contiguous()
    assert repetition(straight, shortest=4)[0] < 0.5
    # Frames close together are alike, which is no repetition: what moves away and never comes back has none.
    ramp = torch.arange(16.0)[:, None, None].expand(16, 32, 32) * 10
    assert repetition(ramp.contiguous(), shortest=4)[0] == 0
    # The last quarter of a clip that starts over: half of it is seen again at a lag of three quarters.
    again = torch.cat([ramp[:12], ramp[:4]])
    assert repetition(again, shortest=4) == pytest.approx((0.5, 12))
    assert repetition(luma[:1].repeat(12, 1, 1), shortest=4) == (0.0, 0)


def test_colour_drift_is_delta_e_of_the_mean_colour():
    frames = torch.full((10, 3, 8, 8), 100, dtype=torch.uint8)
    frames[-1] = 130
    series = colour_drift(frames)

    def lightness(level):
        share = level / 255
        linear = ((share + 0.055) / 1.055) ** 2.4
        return 116 * linear ** (1 / 3) - 16

    assert series[:-1].max() == 0
    assert series[-1].item() == pytest.approx(lightness(130) - lightness(100), abs=0.02)


def test_feature_drift_grows_along_an_arc():
    angle = torch.linspace(0, 1, 40)
    features = torch.stack([angle.cos(), angle.sin()], 1)
    drift = feature_drift(features, 10)
    assert drift[0].item() == pytest.approx(0, abs=1e-12)
    assert (drift.diff() > 0).all()
    assert drift[-1].item() == pytest.approx(1 - np.cos(30 / 39), abs=1e-6)


# motion


def test_camera_motion_recovers_pan_zoom_and_roll():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    cx, cy = x - 29.5, y - 19.5
    pan = torch.stack([torch.full_like(x, 4.0), torch.full_like(x, -2.0)])
    zoom = torch.stack([0.1 * cx, 0.1 * cy])
    angle = np.radians(3)
    roll = torch.stack(
        [cx * np.cos(angle) - cy * np.sin(angle) - cx, cx * np.sin(angle) + cy * np.cos(angle) - cy]
    )
    motion = camera_motion(torch.stack([pan, zoom, roll.float()]))
    assert motion.shift[0].tolist() == pytest.approx([0.1, -0.05], abs=1e-3)
    assert motion.zoom.tolist() == pytest.approx([1, 1.1, 1], abs=1e-3)
    assert motion.roll.tolist() == pytest.approx([0, 0, 3], abs=0.02)
    assert motion.residual.abs().max() < 0.01


def test_moving_mask_is_the_object_and_not_the_camera():
    flow = uniform_flow(2, 40, 3.0, 0.0)
    flow[:, 0, 10:20, 10:20] = -3.0
    mask = moving_mask(flow, -flow)
    assert mask.shape == (3, 40, 40)
    assert mask[0, 10:20, 10:20].all()
    assert mask[0].sum() == 100


@pytest.mark.parametrize(("speed", "moves"), [(5.9, False), (6.1, True)])
def test_dynamic_degree_threshold_is_vbenchs(speed, moves):
    """256 pixels a side: the threshold is 6 pixels, in at least round(4 * 16 / 16) = 4 transitions."""
    flow = torch.zeros(15, 2, 256, 256)
    flow[:4, 0, :20] = speed
    largest, verdict = dynamic_degree(flow, 8.0)
    assert largest[0].item() == pytest.approx(speed, abs=1e-4)
    assert verdict is moves
    assert dynamic_degree(flow[:3], 8.0)[1] is (moves and True)


def test_magnitude_does_not_depend_on_size():
    small = score("motion.magnitude", moving_texture(4, 48, (1.0, 0.0))).value
    assert small == pytest.approx(100 * 8 / 48, rel=0.15)


def test_background_needs_a_background():
    from evalkit.features.image import background_frames

    flow = torch.rand(3, 2, 32, 32, generator=torch.Generator().manual_seed(0)) * 20 - 10
    with pytest.raises(NotApplicable, match="no background"):
        background_frames(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), flow, -flow)


def test_background_hides_what_moves_and_keeps_the_rest():
    from evalkit.features.image import background_frames

    frames = torch.full((2, 3, 40, 40), 50, dtype=torch.uint8)
    frames[:, :, 15:25, 15:25] = 200
    flow = torch.zeros(1, 2, 40, 40)
    flow[:, 0, 15:25, 15:25] = 5.0
    filled = background_frames(frames, flow, flow)
    assert torch.equal(filled[0, :, :10], frames[0, :, :10])
    assert (filled[0].float() - 50).abs().max() <= 1
