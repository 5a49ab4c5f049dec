"""The cards of the embedded networks say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.encoders import PAGE, RESULTS, _found, page
from evalkit.weights import file_digest, locate

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))


def test_the_page_is_what_the_figures_say():
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(FIGURES)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "minilm"])
def test_the_figures_are_of_the_weights_that_are_installed(name):
    assert FIGURES["digests"][name] == file_digest(locate(name))


def test_own_column_first_and_auc():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.2, 0.1], [0.0, 0.1, 0.8]], dtype=torch.float64)
    found = _found(similarity)
    assert found["first"] == pytest.approx(2 / 3)
    # Own: .9, .2, .8; others: .1, .2, .3, .1, .0, .1. Of 18 pairs .2 loses one and ties one.
    assert found["auc"] == pytest.approx(16.5 / 18)
    assert found["among"] == 3
