"""Runs and policies for gates."""

import datetime
from dataclasses import replace

import numpy as np
import pytest

from evalkit.gate.policy import load_policy
from evalkit.suites.prompt import Prompt, Suite
from evalkit.testing.runs import make_run

PROMPTS, SAMPLES = 64, 3
TODAY = datetime.date(2026, 3, 1)


def suite(prompts=PROMPTS):
    return Suite(
        "synthetic",
        "1",
        "CC0-1.0",
        "for tests",
        tuple(
            Prompt(
                id=f"p{i:03d}",
                text=f"prompt {i}",
                category=("colour", "motion")[i % 2],
                tags=("close-up",) if i % 4 == 0 else (),
            )
            for i in range(prompts)
        ),
    )


def values(seed, shift=0.0, prompts=PROMPTS, deviation=1.0):
    """Scores whose paired prompt differences between two seeds have a standard deviation of `deviation`."""
    difficulty = np.random.default_rng(1000).normal(0, 2, (prompts, 1))
    rng = np.random.default_rng(seed)
    per_prompt = rng.normal(0, deviation * 0.5, (prompts, 1))
    per_clip = rng.normal(0, deviation * 0.5 * np.sqrt(SAMPLES), (prompts, SAMPLES))
    return 10 + difficulty + per_prompt + per_clip + shift


@pytest.fixture
def make(tmp_path):
    def build(name, *, seed=0, quality=0.0, flicker=0.0, prompts=PROMPTS, scores=None, **options):
        table = {
            "quality": values(seed, quality, prompts),
            "flicker": values(seed + 500, flicker, prompts),
            "cost.seconds_per_clip": np.abs(values(seed + 900, 0.0, prompts, 0.01)),
        }
        return make_run(
            tmp_path / name,
            values=table | (scores or {}),
            suite=suite(prompts),
            directions={"flicker": "lower", "cost.seconds_per_clip": "lower"},
            **options,
        )

    return build


@pytest.fixture
def policy_file(tmp_path):
    def write(checks, name="policy.yaml", **top):
        lines = ["schema: evalkit.gate/v1"]
        lines += [f"{key}: {value}" for key, value in top.items()]
        lines += ["checks:", *(f"  - {{{check}}}" for check in checks)]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def gate(policy_file, tmp_path):
    """Run a gate and give back its result by check id."""
    from evalkit.gate.run import run_gate

    def judge(candidate, against, checks, today=TODAY, cases=None, **top):
        return run_gate(
            candidate.folder,
            policy_file(checks, **top),
            baseline=str(against.folder) if against else "",
            baselines=tmp_path / "baselines",
            today=today,
            cases=cases,
        )

    return judge


def of(result, check_id):
    return next(check for check in result.results if check.id == check_id)


def loaded(path, **changes):
    return replace(load_policy(path), **changes)
