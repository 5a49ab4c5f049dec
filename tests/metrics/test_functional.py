"""Every public function of the mathematics shows what it does by an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch

from evalkit.metrics import functional
from evalkit.metrics.functional import flow
from evalkit.metrics.functional.coherence import coherence, warp_error
from evalkit.metrics.functional.flicker import flicker
from evalkit.metrics.functional.flow import visible_mask
from evalkit.metrics.functional.motion import largest_motion, moving_mask
from evalkit.metrics.functional.rhythm import jitter, wobble

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS  # as the project's own doctest run
MODULES = sorted(module.name for module in pkgutil.iter_modules(functional.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_examples_that_run(name):
    module = importlib.import_module(f"{functional.__name__}.{name}")
    finder, runner = (
        doctest.DocTestFinder(recurse=False),
        doctest.DocTestRunner(verbose=False, optionflags=FLAGS),
    )
    functions = [item for item in module.__all__ if inspect.isfunction(getattr(module, item))]
    assert functions
    without = []
    for item in functions:
        found = [test for test in finder.find(getattr(module, item), item, module) if test.examples]
        if not found:
            without.append(item)
        for test in found:
            # An example that shows no value can only fail by raising.
            assert any(example.want for example in test.examples), f"{item}: its example shows no result"
            runner.run(test)
    assert not without, f"{name}: no example in {', '.join(without)}"
    assert runner.summarize(verbose=False).failed == 0


def test_the_package_names_functions_that_are_there():
    for name in functional.__all__:
        assert callable(getattr(functional, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        functional.nothing  # noqa: B018


@pytest.mark.parametrize("transitions", [15, 16, 17, 40])
def test_formulas_of_long_clips_say_in_pieces_what_they_say_at_once(monkeypatch, transitions):
    """Every transition speaks for itself; a border between two pieces must not show."""
    generator = torch.Generator().manual_seed(transitions)
    shift = torch.randn(transitions, 2, 1, 1, generator=generator)
    forward = shift + 0.05 * torch.randn(transitions, 2, 24, 32, generator=generator)
    backward = -forward
    luma = 255 * torch.rand(transitions + 1, 24, 32, generator=generator)
    chroma = 100 * torch.rand(transitions + 1, 24, 32, 2, generator=generator)

    def everything():
        yield from flicker(luma, chroma, forward, backward)
        yield coherence(forward, backward)
        yield from warp_error(luma / 255, forward, backward)
        yield jitter(forward, backward)
        yield wobble(forward, backward)
        yield largest_motion(forward)
        yield moving_mask(forward, backward)
        yield visible_mask(forward, backward)

    in_pieces = list(everything())
    monkeypatch.setattr(flow, "_PIECE", transitions + 1)
    for here, whole in zip(in_pieces, everything(), strict=True):
        torch.testing.assert_close(torch.as_tensor(here), torch.as_tensor(whole), rtol=1e-12, atol=1e-12)
