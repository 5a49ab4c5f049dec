"""Suites of prompts: the types, YAML files with precise errors, and prompt files of other benchmarks."""

from evalkit.suites.document import Problem
from evalkit.suites.load import lint_suite, load_suite, shipped_suites, suite_path
from evalkit.suites.prompt import FrozenMapping, Prompt, Suite

__all__ = [
    "FrozenMapping",
    "Problem",
    "Prompt",
    "Suite",
    "lint_suite",
    "load_suite",
    "shipped_suites",
    "suite_path",
]
