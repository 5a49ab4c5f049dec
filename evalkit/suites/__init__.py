"""Suites of prompts: the types, YAML files with precise errors, and prompt files of other benchmarks."""

from evalkit.suites.prompt import FrozenMapping, Prompt, Suite

__all__ = ["FrozenMapping", "Prompt", "Suite"]
