"""The prompts of a planned look, as a suite to run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import yaml

from evalkit.errors import EvalkitError
from evalkit.gate.baselines import find_baseline
from evalkit.gate.policy import Policy
from evalkit.runs.files import write_text
from evalkit.stats.looks import prompt_order
from evalkit.suites.prompt import Suite

__all__ = ["look_prompts", "write_look"]


def look_prompts(policy: Policy, look: int, baseline: str, folder: Path) -> Suite:
    """The part of the baseline's suite that a planned look judges.

    Args:
        policy: with `looks`.
        look: number of the look, from 1.
        baseline: name or run.
        folder: of the baselines.

    Raises:
        EvalkitError: the policy plans no such look, or there is no baseline.
    """
    if not 1 <= look <= len(policy.looks):
        raise EvalkitError(
            f"{policy.path} plans {len(policy.looks)} looks, there is no look {look}; write `looks: [0.5, 1]` into it"
        )
    suite = find_baseline(baseline, folder)[0].suite
    order = prompt_order(suite.by_id, suite.digest)
    chosen = order[: math.ceil(policy.looks[look - 1] * len(order))]
    return replace(suite, prompts=tuple(suite.by_id[prompt] for prompt in chosen))


def write_look(suite: Suite, path: Path) -> None:
    """Write a suite file that `evalkit run --suite` reads, with the prompts unchanged."""
    prompts = [{key: value for key, value in prompt.to_dict().items() if value} for prompt in suite.prompts]
    content = {
        "suite": suite.name,
        "version": suite.version,
        "licence": suite.licence,
        "description": suite.description,
        "prompts": prompts,
    }
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
