"""Our sampler against the one of diffusers, the track codec, and windows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_model.diffusion import clip_noise, karras_sigmas, sample_euler, scales
from reference_model.layout import draw_layout
from reference_model.networks import DRAFT_ERROR, SIGMA_DATA, Painter, Refiner, mixing
from reference_model.pipeline.windows import OVERLAP, WINDOW, blended, windows
from reference_model.tracks import TrackCodec, cosine_basis, resample
from reference_model.train.loop import Draw
from reference_model.train.tracks import tracks_of
from reference_model.world import sample_scene
from reference_model.world.render import SLOTS


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_noise_levels_are_those_of_diffusers(steps: int) -> None:
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler(sigma_min=0.1, sigma_max=20.0, sigma_data=0.5)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(karras_sigmas(steps, 0.1, 20.0), scheduler.sigmas.float())


def test_sampling_is_that_of_diffusers() -> None:
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler(sigma_min=0.05, sigma_max=10.0, sigma_data=0.5)
    scheduler.set_timesteps(6)
    noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))

    def raw(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return torch.tanh(1.3 * x + level.view(-1, 1, 1))

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        by = scales(sigma, 0.5, x.ndim)
        return by.skip * x + by.out * raw(by.into * x, by.noise)

    theirs = noise * scheduler.sigmas[0]
    for timestep in scheduler.timesteps:
        output = raw(scheduler.scale_model_input(theirs, timestep), timestep.expand(2))
        theirs = scheduler.step(output, timestep, theirs).prev_sample
    torch.testing.assert_close(
        sample_euler(denoise, noise, karras_sigmas(6, 0.05, 10.0)), theirs, atol=1e-5, rtol=1e-4
    )


def test_clip_noise_has_unit_variance_and_the_asked_correlation() -> None:
    noise = clip_noise((400, 2, 64), torch.Generator().manual_seed(1), shared=0.3)
    assert float(noise.var()) == pytest.approx(1.0, abs=0.02)
    assert float((noise[:, 0] * noise[:, 1]).mean()) == pytest.approx(0.3, abs=0.02)


def test_basis_is_orthonormal() -> None:
    basis = cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-5, rtol=0)


def test_tracks_survive_the_codec() -> None:
    rng = Draw.of(0, 0).scenes
    objects, camera, phase, aspect = tracks_of([sample_scene(rng) for _ in range(64)])
    codec = TrackCodec()
    codec.fit(objects, camera, phase, aspect)
    tokens = codec.encode(objects, camera, phase, aspect)
    again, view, offset = codec.decode(tokens, aspect)
    torch.testing.assert_close(again, objects, atol=2e-4, rtol=0)
    torch.testing.assert_close(view, camera, atol=2e-4, rtol=0)
    torch.testing.assert_close(offset, phase, atol=2e-4, rtol=0)
    present = objects[:, :1, 0, 0] > 0.5
    assert float(tokens[:, 0, 2:][present[:, 0]].std(0).max()) == pytest.approx(1.0, abs=0.1)


def test_resampling_keeps_ends_and_straight_lines() -> None:
    line = torch.linspace(0, 3, 16)[None, :, None]
    many = resample(line, 46)
    torch.testing.assert_close(many[0, :, 0], torch.linspace(0, 3, 46))
    assert resample(line, 16) is line
    assert float(resample(line, 1)) == 0.0


@given(st.integers(1, 200))
def test_windows_cover_every_frame_and_overlap(frames: int) -> None:
    spans = windows(frames)
    assert spans[0][0] == 0
    assert spans[-1][1] == frames
    assert all(end - first == min(frames, WINDOW) for first, end in spans)
    assert all(before[1] - after[0] >= OVERLAP for before, after in pairwise(spans))


@given(st.integers(17, 90))
def test_blending_agreeing_windows_changes_nothing(frames: int) -> None:
    clip = torch.randn(2, frames, 3, generator=torch.Generator().manual_seed(frames))
    torch.testing.assert_close(blended(frames, lambda first, end: clip[:, first:end]), clip)


def test_blending_fades_from_one_window_to_the_next() -> None:
    parts = iter([0.0, 1.0])
    joined = blended(
        WINDOW + WINDOW - OVERLAP, lambda first, end: torch.full((1, end - first, 1), next(parts))
    )[0, :, 0]
    assert joined[0] == 0.0
    assert joined[-1] == 1.0
    assert bool((joined.diff() >= 0).all())
    assert float(joined.diff().max()) < 0.4


def test_an_untrained_refiner_is_the_best_linear_mixture() -> None:
    torch.manual_seed(0)
    refiner = Refiner(width=8).eval()
    generator = torch.Generator().manual_seed(2)
    clean = torch.randn(4, 2, 3, 16, 16, generator=generator) * SIGMA_DATA
    sigma, level = torch.full((4,), 0.3), torch.full((4,), 0.2)
    noisy = clean + torch.randn(clean.shape, generator=generator) * 0.3
    spread = (0.2**2 + DRAFT_ERROR**2) ** 0.5
    draft = clean + torch.randn(clean.shape, generator=generator) * spread
    with torch.no_grad():
        made = refiner.denoise(noisy, sigma, draft, level, torch.zeros(4, 4, 128))
    error = float(((made - clean) ** 2).mean()) ** 0.5
    assert error == pytest.approx(float(mixing(sigma, level).out[0]), rel=0.03)
    assert error < min(0.3, spread)


@torch.no_grad()
def test_a_refiner_that_learns_where_objects_are_begins_as_the_one_that_did_not() -> None:
    torch.manual_seed(0)
    before, painter = Refiner(width=8), Painter(width=8, planes=3, ground=2)
    for parameter in before.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    after = Refiner(width=8, planes=3, ground=2)
    after.adopt(before.state_dict(), painter.state_dict())
    generator = torch.Generator().manual_seed(1)
    x, draft = (torch.randn(2, 3, 3, 16, 16, generator=generator) for _ in range(2))
    text, level = torch.randn(2, SLOTS + 1, 128, generator=generator), torch.tensor([0.3, 1.0])
    tracks = torch.randn(2, SLOTS, 3, 6, generator=generator)
    tracks[..., 0], tracks[..., 3] = 1.0, -1.0
    layout = draw_layout(tracks, torch.zeros(2, 3, 3), torch.zeros(2, 2), 8, 8)
    plan = after.plan(layout, text)
    assert torch.equal(plan, painter.plan(layout, text))
    assert float(plan.abs().max()) > 0.01
    expected = before.denoise(x, level, draft, level, text)
    torch.testing.assert_close(after.denoise(x, level, draft, level, text, plan), expected)
    # One that knows layouts is adopted whole.
    torch.nn.init.normal_(after.enter.weight)
    again = Refiner(width=8, planes=3, ground=2)
    again.adopt(after.state_dict(), painter.state_dict())
    assert torch.equal(
        again.denoise(x, level, draft, level, text, plan), after.denoise(x, level, draft, level, text, plan)
    )
    assert not torch.equal(again.denoise(x, level, draft, level, text, plan), expected)
