"""Unexplained change against closed forms: steady motion, one jump, one absence."""

from __future__ import annotations

import pytest
import torch

from evalkit.features.flow import dis_flow
from evalkit.features.pixels import planes_of
from evalkit.metrics.functional.continuity import discontinuity, taken_back, unexplained_change
from tests.metrics.clips import moving_texture, texture
from tests.metrics.test_temporal import score, uniform_flow

SIZE = 64


def still(count: int) -> torch.Tensor:
    """Luma and chroma of a still picture, `(count, SIZE, SIZE, 3)`."""
    return torch.from_numpy(texture(SIZE, SIZE, seed=2).copy())[None].repeat(count, 1, 1, 1)


def patched(planes: torch.Tensor, frames: slice, level: float = 30.0, at: int = 20) -> torch.Tensor:
    """A square of a quarter of the picture, brighter by `level` in some frames."""
    changed = planes.clone()
    changed[frames, at : at + 32, at : at + 32, 0] += level
    return changed


def measured(planes: torch.Tensor) -> torch.Tensor:
    none = uniform_flow(len(planes) - 1, SIZE, 0, 0)
    return unexplained_change(planes, none, none)


def test_a_step_that_stays_is_seen_in_its_transition_alone_and_in_levels() -> None:
    series = discontinuity(measured(patched(still(8), slice(5, None))))
    assert series[4].item() == pytest.approx(30, rel=0.01)
    assert series[[0, 1, 2, 3, 5, 6]].max() == 0
    twice = discontinuity(measured(patched(still(8), slice(5, None), level=60.0)))
    assert torch.allclose(twice, 2 * series)


def test_steady_motion_is_explained_whatever_its_speed() -> None:
    frames = moving_texture(7, SIZE, (3.0, 0.0))
    planes = planes_of(frames, 256)
    flow = uniform_flow(6, SIZE, 3.0, 0.0)
    moved = discontinuity(unexplained_change(planes, flow, -flow)).max()
    assert moved < 2
    assert discontinuity(measured(planes)).min() > 10


def test_missing_frames_of_steady_motion_are_seen_where_they_are_missing() -> None:
    frames = moving_texture(14, SIZE, (1.0, 0.5))
    shortened = torch.cat([frames[:5], frames[8:]])
    planes = planes_of(shortened, 256)
    series = discontinuity(unexplained_change(planes, *dis_flow(planes[..., 0].contiguous())))
    assert int(series.argmax()) == 4
    assert series[4] > 3 * series.median()
    assert (
        score("temporal.discontinuity", shortened).value > 1.2 * score("temporal.discontinuity", frames).value
    )


def test_an_absence_is_marked_and_undoes_all_of_its_change() -> None:
    change = measured(patched(still(10), slice(3, 7)))
    result = taken_back(change)
    assert (result.first, result.last) == (3, 6)
    assert result.strength == pytest.approx(discontinuity(change)[2].item(), rel=1e-5)
    # Of the pairs of 9 transitions at least two apart, one undoes anything.
    assert result.value == pytest.approx(result.strength / (8 * 7 / 2), rel=1e-6)


def test_what_stays_away_or_comes_back_elsewhere_is_not_taken_back() -> None:
    gone = patched(still(10), slice(3, None))
    assert taken_back(measured(gone)).value == 0
    elsewhere = patched(patched(still(10), slice(3, None), at=0), slice(7, None), level=-30.0, at=32)
    back = patched(patched(still(10), slice(3, None), at=0), slice(7, None), level=-30.0, at=0)
    assert taken_back(measured(elsewhere)).strength < 0.05 * taken_back(measured(back)).strength


def test_the_series_of_the_metric_marks_the_frames_in_between() -> None:
    frames = moving_texture(1, SIZE).repeat(9, 1, 1, 1)
    frames[3:6, :, 10:30, 10:30] = 230
    result = score("temporal.vanishing", frames)
    assert result.value > 0
    assert [frame for frame, value in enumerate(result.series) if value > 0] == [3, 4, 5]
    assert score("temporal.vanishing", frames[:1].repeat(9, 1, 1, 1)).value == 0
