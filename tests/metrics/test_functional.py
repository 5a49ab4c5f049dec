"""Every public function of the mathematics shows what it does by an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

from evalkit.metrics import functional

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
