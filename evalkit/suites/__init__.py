"""Suites of prompts: the types, YAML files with precise errors, and prompt files of other benchmarks."""

from evalkit.suites.document import Problem
from evalkit.suites.importers import FORMATS, import_suite, read_prompts, suite_yaml
from evalkit.suites.layouts import LAYOUTS, FolderScan, FoundClip, scan_folder
from evalkit.suites.load import lint_suite, load_suite, shipped_suites, suite_path
from evalkit.suites.prompt import FrozenMapping, Prompt, Suite

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "FolderScan",
    "FoundClip",
    "FrozenMapping",
    "Problem",
    "Prompt",
    "Suite",
    "import_suite",
    "lint_suite",
    "load_suite",
    "read_prompts",
    "scan_folder",
    "shipped_suites",
    "suite_path",
    "suite_yaml",
]
