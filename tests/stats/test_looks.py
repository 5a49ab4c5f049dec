"""Planned looks against published boundaries and simulation."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from evalkit.stats.looks import look_levels, prompt_order


def test_boundaries_are_the_published_ones():
    # Lan-DeMets O'Brien-Fleming, three equal looks, one-sided 0.025 (Jennison & Turnbull 2000; gsDesign).
    bounds = [-ndtri(level) for level in look_levels([1 / 3, 2 / 3, 1.0], 0.025)]
    assert bounds == pytest.approx([3.7103, 2.5114, 1.9930], abs=2e-3)
    assert look_levels([1.0], 0.05) == pytest.approx([0.05], abs=1e-6)


def test_planned_looks_keep_the_error_and_unplanned_ones_do_not():
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(40_000, 3))
    walks = np.cumsum(steps, axis=1) / np.sqrt([1, 2, 3])
    p_values = ndtr(-walks)
    planned = (p_values <= look_levels([1 / 3, 2 / 3, 1.0], 0.05)).any(axis=1).mean()
    unplanned = (p_values <= 0.05).any(axis=1).mean()
    assert planned == pytest.approx(0.05, abs=0.004)
    assert unplanned > 0.09


@pytest.mark.parametrize("fractions", [[], [0.5], [0.5, 0.5, 1.0], [0.2, 0.4, 0.6, 1.0], [-0.1, 1.0]])
def test_a_plan_that_is_none_is_refused(fractions):
    with pytest.raises(ValueError):
        look_levels(fractions)


def test_prompts_come_in_an_order_that_nobody_chose():
    ids = [f"p{i}" for i in range(50)]
    order = prompt_order(ids, "digest")
    assert sorted(order) == sorted(ids)
    assert order == prompt_order(reversed(ids), "digest")
    assert order != sorted(ids)
    assert order != prompt_order(ids, "another digest")
