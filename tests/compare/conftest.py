"""Synthetic runs for comparisons."""

import numpy as np
import pytest

from evalkit.suites.prompt import Prompt, Suite
from evalkit.testing.runs import make_run

PROMPTS, SAMPLES = 24, 3
CATEGORIES = ("colour", "motion", "count")


def suite(hostile=False, version="1"):
    prompts = []
    for i in range(PROMPTS):
        tags = ("temporal.flicker",) if i % 4 == 0 else ()
        name = (
            f"p{i:02d}"
            if not hostile
            else f"p{i:02d}|`x`<script>alert(1)</script>\n# @someone #12 https://evil.example"
        )
        prompts.append(Prompt(id=name, text=f"prompt {i}", category=CATEGORIES[i % 3], tags=tags))
    return Suite("synthetic", version, "CC0-1.0", "for tests", tuple(prompts))


def values(shift=0.0, seed=0, noise=0.3):
    """Prompt difficulty is common to all runs; seeds of a prompt share half of their noise."""
    difficulty = np.random.default_rng(99).normal(0, 1, (PROMPTS, 1))
    rng = np.random.default_rng(seed)
    common = rng.normal(0, noise, (PROMPTS, 1))
    return difficulty + common + rng.normal(0, noise, (PROMPTS, SAMPLES)) + shift


@pytest.fixture
def make(tmp_path):
    def build(name, *, quality=None, flicker=None, the_suite=None, **options):
        scores = {
            "quality": values(seed=1) if quality is None else quality,
            "flicker": values(seed=2) if flicker is None else flicker,
        }
        return make_run(
            tmp_path / name,
            values=scores,
            suite=the_suite or suite(),
            directions={"flicker": "lower"},
            **options,
        )

    return build
