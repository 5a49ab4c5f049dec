"""More samples after an inconclusive verdict, by a plan made beforehand: at most three looks."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

__all__ = ["MAX_LOOKS", "look_levels", "prompt_order"]

MAX_LOOKS = 3


def look_levels(fractions: Sequence[float], alpha: float = 0.05) -> list[float]:
    """One-sided significance level to use at each planned look, O'Brien-Fleming spending.

    The error spent by information fraction t is `2 - 2 Phi(z_{1-alpha/2} / sqrt(t))` (Lan & DeMets 1983);
    each boundary is solved from the joint normal law of the looks so far. Looking whenever one likes at a
    plain 5% rejects a true null far more often than 5%.

    Args:
        fractions: share of the planned prompts seen at each look, increasing, the last one is 1.
        alpha: one-sided error of the whole plan.

    Returns:
        Nominal one-sided levels, one per look.

    Raises:
        ValueError: no look or more than three, or fractions that do not rise to 1.
    """
    times = list(fractions)
    if not 1 <= len(times) <= MAX_LOOKS:
        raise ValueError(f"a plan has one to {MAX_LOOKS} looks, got {len(times)}")
    if times[0] <= 0 or times[-1] != 1 or any(b <= a for a, b in itertools.pairwise(times)):
        raise ValueError(f"information fractions must rise to 1, got {times}")
    bounds: list[float] = []
    for look, time in enumerate(times):
        spent = 2 * float(ndtr(-ndtri(1 - alpha / 2) / np.sqrt(time)))
        if look == 0:
            bounds.append(float(ndtri(1 - spent)))
            continue
        seen = np.array(times[: look + 1])
        correlation = np.sqrt(np.minimum.outer(seen, seen) / np.maximum.outer(seen, seen))
        law = multivariate_normal(np.zeros(look + 1), correlation)
        earlier = list(bounds)

        def excess(
            bound: float, law: object = law, earlier: list[float] = earlier, spent: float = spent
        ) -> float:
            return 1 - float(law.cdf(np.array([*earlier, bound]))) - spent  # type: ignore[attr-defined]

        bounds.append(float(brentq(excess, 0.0, 8.0, xtol=1e-6)))
    return [float(ndtr(-bound)) for bound in bounds]


def prompt_order(prompt_ids: Iterable[str], suite_digest: str) -> list[str]:
    """The order in which a plan adds prompts: shuffled by digest, so that nobody chose it.

    Args:
        prompt_ids: the suite's prompts.
        suite_digest: ties the order to the suite's content.
    """

    def place(prompt: str) -> bytes:
        return hashlib.blake2b(f"{suite_digest}\0{prompt}".encode(), digest_size=16).digest()

    return sorted(set(prompt_ids), key=place)
