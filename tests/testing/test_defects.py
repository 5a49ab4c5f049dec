"""Every degradation does what its card says: at its place, by its strength, and nothing else."""

from __future__ import annotations

import itertools
from fractions import Fraction

import cv2
import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import NotApplicable, UnknownName
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.testing.defects import BENIGN, DEFECTS, STRENGTHS, apply_defect, wrong_prompts
from evalkit.testing.defects.tools import blur, luma, smooth_noise, subject_mask, warp, wide_blur
from evalkit.video import Video
from tests.strategies import videos

IDS = list(DEFECTS)
# From these on everything is another picture, so only the event itself is pointed at.
# Strength is how long or how often, not how far from the original a single frame is.
EQUAL_WHERE_SEEN = {"duplicated_frames", "reversed_time", "loop"}
EVENTS = {"cut", "teleport", "dropped_frames", "subject_swap"}


def scene(frames: int = 16, height: int = 72, width: int = 96, *, seed: int = 3) -> Video:
    """A bright square crosses a still, textured background, away from black and white."""
    generator = torch.Generator().manual_seed(seed)
    texture = torch.randint(0, 256, (1, 3, height // 6, width // 6), generator=generator).float()
    background = (
        torch.nn.functional.interpolate(texture, (height, width), mode="bicubic").clamp(0, 255) * 0.4 + 60
    )
    pixels = background.expand(frames, -1, -1, -1).clone()
    for index in range(frames):
        top, left = height // 2 - 8, square_left(index, width)
        pixels[index, :, top : top + 16, left : left + 16] = torch.tensor([220.0, 200.0, 70.0])[:, None, None]
    return Video(pixels.round().to(torch.uint8), Fraction(8))


def square_left(index: int, width: int) -> int:
    return 6 + index * (width - 28) // 15


def distance(a: Video, b: Video) -> float:
    """Root mean square over all pixels."""
    return (a.frames.double() - b.frames.double()).square().mean().sqrt().item()


def changed_frames(a: Video, b: Video) -> list[int]:
    return (a.frames != b.frames).flatten(1).any(1).nonzero().flatten().tolist()


def test_every_defect_is_a_leaf_of_the_taxonomy() -> None:
    assert {defect.leaf for defect in DEFECTS.values()} <= set(load_taxonomy().ids)


def test_the_validity_study_finds_the_defects_it_names() -> None:
    assert {
        "flicker_gain", "flicker_colour", "flicker_texture", "jitter", "dropped_frames", "duplicated_frames",
        "frozen_frames", "blur_burst", "blocks", "banding", "subject_swap", "identity_drift", "cut",
        "colour_drift", "vanish", "teleport", "reversed_time", "noise", "chunk_seams", "sharpness_drift",
    } <= set(DEFECTS)  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_a_defect_stays_in_its_window(name: str) -> None:
    video = scene(16, 40, 56)
    before = video.frames.clone()
    for strength in STRENGTHS:
        result = DEFECTS[name](video, strength, seed=IDS.index(name))
        assert (result.defect, result.strength) == (name, strength)
        assert result.video.fps == video.fps
        assert result.video != video
        assert (result.video.num_frames == video.num_frames) == DEFECTS[name].keeps_length
        assert (result.window is not None) == DEFECTS[name].localised
        if result.window is not None:
            first, last = result.window
            assert 0 <= first <= last < result.video.num_frames
            assert torch.equal(result.video.frames[:first], video.frames[:first]) or name == "reversed_time"
            if name not in EVENTS:
                assert (
                    set(changed_frames(video, result.video)) <= set(range(first, last + 1))
                    or name == "reversed_time"
                )
    assert torch.equal(video.frames, before)


@pytest.mark.parametrize("name", IDS)
def test_the_seed_decides_place_and_pattern_and_the_strength_does_not(name: str) -> None:
    video = scene(16, 40, 56)
    assert DEFECTS[name](video, 0.6, seed=4) == DEFECTS[name](video, 0.6, seed=4)
    starts = {DEFECTS[name](video, strength, seed=4).window for strength in STRENGTHS}
    # Defects whose length is their strength keep one end; copies of frames are a subset of one window.
    if name not in {"frozen_frames", "duplicated_frames", "loop", "reversed_time"}:
        assert len(starts) == 1
    if name == "frozen_frames":
        assert len({window[0] for window in starts if window}) == 1
    if name not in {"banding", "crushed", "loop", "reversed_time", "identity_drift", "sharpness_drift"}:
        assert len({DEFECTS[name](video, 0.6, seed=seed).video for seed in range(4)}) > 1


@pytest.mark.parametrize("name", [name for name in IDS if DEFECTS[name].pixel_monotone])
@settings(max_examples=5)
@given(video=videos(min_frames=8, max_frames=10, min_side=8, max_side=40), seed=st.integers(0, 1000))
def test_stronger_is_further_away(name: str, video: Video, seed: int) -> None:
    distances = [distance(DEFECTS[name](video, strength, seed=seed).video, video) for strength in STRENGTHS]
    # Rounding to whole levels moves a distance by up to half a level.
    assert all(after >= before - 0.5 for before, after in itertools.pairwise(distances))


@pytest.mark.parametrize("name", IDS)
def test_the_weakest_level_is_weak_and_the_strongest_is_plain(name: str) -> None:
    video = scene(16, 40, 56)
    weak, strong = (distance_where_seen(video, name, strength) for strength in (0.2, 1.0))
    assert weak > 0
    assert strong > 3
    assert weak < strong or name in EQUAL_WHERE_SEEN


def distance_where_seen(video: Video, name: str, strength: float) -> float:
    degraded = DEFECTS[name](video, strength, seed=1).video
    count = min(video.num_frames, degraded.num_frames)
    gap = (
        (degraded.frames[:count].double() - video.frames[:count].double()).square().flatten(1).mean(1).sqrt()
    )
    return gap.max().item()


@pytest.mark.parametrize("name", IDS)
def test_strength_zero_is_the_clip_itself(name: str) -> None:
    video = scene(8)
    assert DEFECTS[name](video, 0.0) == (video, None, name, 0.0)


@pytest.mark.parametrize("name", IDS)
def test_the_shortest_clip_that_is_allowed_works(name: str) -> None:
    for strength in STRENGTHS:
        assert DEFECTS[name](scene(DEFECTS[name].min_frames), strength, seed=2).video.num_frames >= 1
    if DEFECTS[name].min_frames > 1:
        with pytest.raises(NotApplicable, match=f"{name}.*needs {DEFECTS[name].min_frames} frames"):
            DEFECTS[name](scene(DEFECTS[name].min_frames - 1), 0.5)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="strength"):
        DEFECTS["noise"](scene(4), 1.5)
    with pytest.raises(UnknownName, match="did you mean 'flicker_gain'"):
        apply_defect("flicker_gian", scene(4), 0.5)
    assert apply_defect("noise", scene(4), 0.5, seed=2) == DEFECTS["noise"](scene(4), 0.5, seed=2)


def test_flicker_gain_alternates_brightness() -> None:
    video = scene()
    degraded, window, *_ = DEFECTS["flicker_gain"](video, 0.5)
    assert window is not None
    ratio = luma(degraded.frames).mean((1, 2, 3)) / luma(video.frames).mean((1, 2, 3))
    inside = ratio[window[0] : window[1] + 1]
    assert torch.allclose(inside[::2], torch.tensor(1.1), atol=0.01)
    assert torch.allclose(inside[1::2], torch.tensor(0.9), atol=0.01)


def test_flicker_colour_leaves_luma_alone() -> None:
    video = scene()
    degraded, window, *_ = DEFECTS["flicker_colour"](video, 1.0)
    assert window is not None
    assert (luma(degraded.frames) - luma(video.frames)).abs().max() < 1
    steps = degraded.frames.double().mean((2, 3)).diff(dim=0)[window[0] : window[1]]
    assert (steps[1:] * steps[:-1]).sum(1).max() < 0  # there and back


def test_flicker_texture_boils_without_a_common_beat() -> None:
    video = scene(16, 96, 96)
    degraded, window, *_ = DEFECTS["flicker_texture"](video, 1.0)
    assert window is not None
    change = (degraded.frames.double() - video.frames.double())[window[0] : window[1] + 1]
    flat = change.flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 0.5
    assert change.mean((1, 2, 3)).abs().max() < change.std() / 2


def test_jitter_moves_the_picture_to_and_fro_as_far_as_it_says() -> None:
    video = scene(16, 128, 128)
    degraded, window, *_ = DEFECTS["jitter"](video, 1.0, seed=5)
    assert window is not None
    moves = []
    for index in range(window[0], window[1] + 1):
        a, b = (luma(clip.frames[index])[0].double().numpy() for clip in (video, degraded))
        moves.append(cv2.phaseCorrelate(a, b)[0])
    # Phase correlation is good to about half a pixel on textures this coarse.
    assert np.hypot(*np.transpose(moves)) == pytest.approx(np.full(len(moves), 0.03 * 128), abs=0.8)
    steps = np.diff(moves, axis=0)
    assert (np.hypot(*steps.T) > 0.03 * 128).all()


def test_warping_agrees_with_another_library() -> None:
    frames = scene(1, 40, 56).frames.float()
    dx, dy = 3 * smooth_noise(2, 40, 56, 10, torch.Generator().manual_seed(1))[:, 0]
    rows, columns = np.mgrid[:40, :56].astype(np.float32)
    theirs = cv2.remap(
        frames[0].permute(1, 2, 0).numpy(),
        columns + dx.numpy(),
        rows + dy.numpy(),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    ours = warp(frames, dx, dy)[0].permute(1, 2, 0).numpy()
    # OpenCV rounds positions to 1/32 pixel.
    assert np.abs(ours - theirs).max() < 5
    assert np.abs(ours - theirs).mean() < 0.5


def test_frames_are_dropped_duplicated_and_frozen() -> None:
    video = scene(18)
    dropped, window, *_ = DEFECTS["dropped_frames"](video, 1.0, seed=1)
    assert dropped.num_frames == 12
    assert window is not None
    at = window[1]
    assert torch.equal(dropped.frames, torch.cat([video.frames[:at], video.frames[at + 6 :]]))

    doubled, window, *_ = DEFECTS["duplicated_frames"](video, 1.0)
    repeats = [i for i in range(1, 18) if torch.equal(doubled.frames[i], doubled.frames[i - 1])]
    assert len(repeats) == 7
    assert min(b - a for a, b in itertools.pairwise(repeats)) == 2

    short = scene(16, 40, 56)
    levels = [DEFECTS["duplicated_frames"](short, strength).video for strength in STRENGTHS]
    assert len({clip.clip_id for clip in levels}) == 5

    for strength, length in ((1 / 3, 3), (1.0, 9)):
        frozen, window, *_ = DEFECTS["frozen_frames"](video, strength)
        assert window is not None
        assert window[1] - window[0] == length
        assert (frozen.frames[window[0] : window[1] + 1] == frozen.frames[window[0]]).all()
        assert torch.equal(frozen.frames[window[1] + 1 :], video.frames[window[1] + 1 :])


def test_a_loop_starts_over() -> None:
    video = scene(16)
    looped, window, *_ = DEFECTS["loop"](video, 1.0)
    assert window == (8, 15)
    assert torch.equal(looped.frames[8:], video.frames[:8])


@pytest.mark.parametrize("frames", [4, 9, 16])
def test_time_runs_backwards_without_a_jump(frames: int) -> None:
    numbered = Video(
        torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4), Fraction(8)
    )
    for strength in STRENGTHS:
        degraded, window, *_ = DEFECTS["reversed_time"](numbered, strength)
        assert window is not None
        order = degraded.frames[:, 0, 0, 0].int()
        steps = order.diff()
        assert (steps.abs() == 1).all()
        assert (steps[: max(0, window[0] - 1)] == 1).all()
        assert (steps[max(0, window[0] - 1) :] == -1).all()
    assert order.tolist() == list(range(frames - 1, -1, -1))


def test_a_cut_goes_to_the_donor() -> None:
    video, donor = scene(16), scene(5, 40, 40, seed=9)
    degraded, window, *_ = DEFECTS["cut"](video, 1.0, donor=donor)
    assert window is not None
    before, at = window
    assert at == before + 1
    jump = (degraded.frames.double().diff(dim=0)).abs().mean((1, 2, 3))
    assert int(jump.argmax()) == before
    shown = torch.nn.functional.interpolate(
        donor.frames.float(), (72, 96), mode="bicubic", antialias=True, align_corners=False
    )
    assert min((degraded.frames[-1] - frame).abs().mean() for frame in shown) < 1


def test_colours_drift_ever_further() -> None:
    video = scene()
    degraded = DEFECTS["colour_drift"](video, 1.0).video
    away = (degraded.frames.double() - video.frames.double()).abs().mean((1, 2, 3))
    assert away[0] == 0
    assert (away.diff() > 0).all()


def test_blur_takes_detail_away_as_another_library_does() -> None:
    frames = scene(1).frames.float()
    ours = blur(frames, 2.0)[0].permute(1, 2, 0).numpy()
    theirs = cv2.GaussianBlur(
        frames[0].permute(1, 2, 0).numpy(), (13, 13), 2.0, borderType=cv2.BORDER_REPLICATE
    )
    assert np.abs(ours - theirs).max() < 1e-2


def test_a_wide_blur_is_nearly_the_exact_one() -> None:
    frames = scene(2, 144, 192).frames.float()
    gap = (wide_blur(frames, 12.0) - blur(frames, 12.0)).abs()
    assert gap[:, :, 24:-24, 24:-24].max() < 3
    assert gap.mean() < 1.5


def test_blocks_keep_only_low_frequencies_of_every_block() -> None:
    video = scene(8, 64, 96)
    degraded, window, *_ = DEFECTS["blocks"](video, 1.0)
    assert window is not None
    pixels = degraded.frames[window[0], 0].double().numpy()
    blocks = pixels.reshape(8, 8, 12, 8).transpose(0, 2, 1, 3)
    energy = scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho")
    # What is left beside the means comes from rounding to whole levels.
    energy[..., 0, 0] = 0
    assert np.sqrt((energy**2).mean()) < 0.5
    original = video.frames[window[0], 0].double().numpy().reshape(8, 8, 12, 8).transpose(0, 2, 1, 3)
    assert np.allclose(blocks.mean((2, 3)), original.mean((2, 3)), atol=0.5)


def test_every_level_of_blocks_takes_the_same_share_of_octaves() -> None:
    video = scene(8, 64, 96)
    kept = []
    for strength in (1 / 3, 2 / 3, 1.0):
        degraded, window, *_ = DEFECTS["blocks"](video, strength)
        assert window is not None
        blocks = degraded.frames[window[0], 0].double().numpy().reshape(8, 8, 12, 8).transpose(0, 2, 1, 3)
        energy = (scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho") ** 2).mean((0, 1))
        kept.append(int((energy[0] > 0.5).sum()))
    assert kept == [4, 2, 1]


def test_seams_come_back_and_sharpness_goes_away() -> None:
    video = scene(20)
    gain = DEFECTS["chunk_seams"](video, 1.0, seed=1).video.frames.double().mean((1, 2, 3))
    borders = (gain / video.frames.double().mean((1, 2, 3))).diff().abs() > 0.1
    places = borders.nonzero().flatten()
    assert len(places) >= 3
    assert set(places.diff().tolist()) == {4}
    soft = DEFECTS["sharpness_drift"](video, 1.0).video.frames.double()
    detail = soft.diff(dim=3).abs().mean((1, 2, 3))
    assert torch.equal(soft[0], video.frames[0].double())
    # The square itself moves over more or less of the texture.
    assert (detail.diff() < 0.01 * detail[0]).all()
    assert detail[-1] < 0.7 * detail[0]


def test_banding_leaves_few_levels() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).expand(1, 3, 4, 256)
    levels = [len(DEFECTS["banding"](Video(ramp, Fraction(8)), s).video.frames.unique()) for s in STRENGTHS]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] < 32
    assert levels[-1] <= 8


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_is_as_strong_as_it_says(strength: float) -> None:
    grey = Video(torch.full((4, 3, 64, 64), 128, dtype=torch.uint8), Fraction(8))
    grain = DEFECTS["noise"](grey, strength).video.frames.double() - 128
    assert grain.std().item() == pytest.approx(30 * strength, rel=0.05, abs=0.3)
    assert abs(np.corrcoef(grain[0].flatten(), grain[1].flatten())[0, 1]) < 0.05


@pytest.mark.parametrize("factor", [1, 3])
def test_the_subject_is_found_where_it_moves(factor: int) -> None:
    video = scene()
    mask = subject_mask(video.frames.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    for index in range(16):
        truth = torch.zeros(72, 96, dtype=torch.bool)
        left = square_left(index, 96)
        truth[28:44, left : left + 16] = True
        truth = truth.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        found = mask[index, 0] > 0.5
        assert (found & truth).sum() / truth.sum() > 0.8
        assert found.float().mean() < 0.3


@pytest.mark.parametrize("camera", ["still", "moving"])
def test_without_a_lone_moving_subject_the_middle_stands_in(camera: str) -> None:
    picture = scene(1).frames[0]
    frames = torch.stack([picture if camera == "still" else picture.roll(5 * index, 2) for index in range(8)])
    mask = subject_mask(frames)
    assert mask[:, 0, 36, 48].min() > 0.99
    assert mask[:, 0, :4].max() == 0


def test_what_vanishes_leaves_the_background_and_comes_back() -> None:
    video = scene()
    degraded, window, *_ = DEFECTS["vanish"](video, 1.0)
    assert window is not None
    empty = video.frames.float().median(0).values
    index = (window[0] + window[1]) // 2
    left = square_left(index, 96)
    where = (slice(None), slice(28, 44), slice(left, left + 16))
    assert (video.frames[index].float() - empty)[where].abs().mean() > 40
    assert (degraded.frames[index].float() - empty)[where].abs().mean() < 15
    assert torch.equal(degraded.frames[window[1] + 1 :], video.frames[window[1] + 1 :])


def test_what_teleports_is_elsewhere_at_once() -> None:
    video = scene()
    degraded, window, *_ = DEFECTS["teleport"](video, 1.0, seed=3)
    assert window is not None

    def centre(clip: Video, index: int) -> np.ndarray:
        yellow = (clip.frames[index, 0].float() - clip.frames[index, 2].float()) > 100
        return yellow.nonzero().double().mean(0).numpy()

    jump = np.linalg.norm(centre(degraded, window[1]) - centre(degraded, window[0]))
    step = np.linalg.norm(centre(video, window[1]) - centre(video, window[0]))
    assert jump > 3 * step


def test_a_swapped_subject_leaves_the_background_alone() -> None:
    video, donor = scene(), scene(16, seed=11)
    degraded, window, *_ = DEFECTS["subject_swap"](video, 1.0, donor=donor)
    assert window is not None
    before, at = window
    assert at == before + 1
    assert torch.equal(degraded.frames[:at], video.frames[:at])
    gap = (degraded.frames.double() - video.frames.double()).abs().mean(1)[at:]
    assert gap[:, :8].max() == 0
    assert gap[:, 28:44].mean() > 10 * gap[:, :20].mean()


def test_an_identity_drifts_ever_further() -> None:
    video = scene()
    degraded = DEFECTS["identity_drift"](video, 1.0, donor=scene(16, seed=11)).video
    away = (degraded.frames.double() - video.frames.double()).abs().mean((1, 2, 3))
    assert away[0] == 0
    assert away[12:].mean() > 2 * away[2:6].mean()


@pytest.mark.parametrize("name", BENIGN)
def test_benign_changes_are_small(name: str) -> None:
    video = scene()
    changed = BENIGN[name](video)
    assert changed != video
    assert changed.fps == video.fps
    assert abs(changed.num_frames - video.num_frames) <= 1
    assert 0.94 * video.height <= changed.height <= video.height
    assert 0.94 * video.width <= changed.width <= video.width
    assert BENIGN[name](video) == changed


def test_the_benign_reencode_keeps_what_viewers_see() -> None:
    video = scene(16, 71, 95)
    changed = BENIGN["reencode_crf18"](video)
    assert (changed.height, changed.width, changed.num_frames) == (71, 95, 16)
    assert 0.2 < distance(changed, video) < 8


@pytest.mark.parametrize("name", BENIGN)
def test_benign_changes_of_the_smallest_clip(name: str) -> None:
    assert BENIGN[name](Video(torch.zeros((1, 3, 1, 1), dtype=torch.uint8), Fraction(8))).num_frames == 1


@given(
    st.lists(
        st.sampled_from(["a red ball", "two cubes left of a cone", "fog", "a dog, running"]),
        min_size=2,
        max_size=9,
    )
)
def test_wrong_prompts_are_wrong(prompts: list[str]) -> None:
    if len(set(prompts)) == 1:
        with pytest.raises(ValueError, match="two different"):
            wrong_prompts(prompts)
        return
    wrong = wrong_prompts(prompts, seed=1)
    assert all(a != b for a, b in zip(prompts, wrong, strict=True))
    assert set(wrong) <= set(prompts)
    assert wrong_prompts(prompts, 0.0) == [" ".join(text.split()) for text in prompts]


def test_weaker_wrong_prompts_change_fewer_words() -> None:
    prompts = ["a b c d e f g h i j", "k l m n o p q r s t"]
    kept = [
        sum(
            a == b
            for a, b in zip(wrong_prompts(prompts, strength)[0].split(), prompts[0].split(), strict=True)
        )
        for strength in (0.0, *STRENGTHS)
    ]
    assert kept == [10, 8, 6, 4, 2, 0]
    with pytest.raises(ValueError, match="strength"):
        wrong_prompts(prompts, -0.1)
