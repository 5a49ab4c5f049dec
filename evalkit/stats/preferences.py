"""Blind A/B votes: strengths of model versions with intervals, and how far raters agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

__all__ = ["Preferences", "Strength", "bradley_terry", "fit_strengths", "ordinal_alpha"]

Array = NDArray[np.float64]


class Strength(NamedTuple):
    """One model's log-strength (they sum to zero), its interval, and its raw votes."""

    model: str
    strength: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int


class Preferences(NamedTuple):
    """Result of `bradley_terry`.

    Attributes:
        strengths: best model first.
        win_probability: `(models, models)` frame, row beats column, given that it is not a tie.
        tie: log of Davidson's tie parameter; `-inf` where no vote was a tie.
        votes, raters, prompts: what the result rests on.
        both_bad: share of votes that found both clips bad (they count as ties).
        tie_share: share of votes without a preference, "both bad" included.
    """

    strengths: list[Strength]
    win_probability: pd.DataFrame
    tie: float
    votes: int
    raters: int
    prompts: int
    both_bad: float
    tie_share: float


def fit_strengths(wins: ArrayLike, ties: ArrayLike, prior_deviation: float = 5.0) -> tuple[Array, float]:
    """Bradley-Terry strengths with ties (Davidson 1970) by Newton's method on the penalised likelihood.

    `P(i beats j) = s_i / (s_i + s_j + v sqrt(s_i s_j))`, `P(tie)` the remainder; log-strengths are returned,
    centred on zero.

    Args:
        wins: `(models, models)`, how often row beat column.
        ties: `(models, models)`, symmetric, how often the two tied.
        prior_deviation: standard deviation of a normal prior on every log-strength. It keeps a model that
            never lost finite; `inf` gives plain maximum likelihood.

    Returns:
        `(models,)` log-strengths, and the log of the tie parameter.
    """
    won, tied = np.asarray(wins, dtype=np.float64), np.asarray(ties, dtype=np.float64)
    models = len(won)
    rows, columns = np.triu_indices(models, 1)
    counts = np.stack([won[rows, columns], won[columns, rows], tied[rows, columns]], axis=1)
    with_ties = bool(counts[:, 2].sum() > 0)
    pairs = np.arange(rows.size)
    # Log-odds of the three outcomes are linear in (strengths, log v): row wins, column wins, tie.
    design = np.zeros((rows.size, 3, models + 1))
    design[pairs, 0, rows] = 1.0
    design[pairs, 1, columns] = 1.0
    design[pairs, 2, rows] = design[pairs, 2, columns] = 0.5
    design[:, 2, models] = 1.0
    allowed = np.array([1.0, 1.0, 1.0 if with_ties else 0.0])
    precision = np.full(models + 1, prior_deviation**-2)
    precision[models] = 1e-9  # the tie parameter has no prior; this only keeps the matrix regular
    total = counts.sum(axis=1)

    def objective(point: Array) -> float:
        logits = np.where(allowed > 0, design @ point, -np.inf)
        peak = logits.max(axis=1, keepdims=True)
        log_total = peak[:, 0] + np.log(np.exp(logits - peak).sum(axis=1))
        used = np.where(counts > 0, logits, 0.0)
        return float((total * log_total).sum() - (counts * used).sum() + 0.5 * (precision * point**2).sum())

    point = np.zeros(models + 1)
    value = objective(point)
    centring = np.zeros((models + 1, models + 1))
    centring[:models, :models] = 1.0
    for _ in range(200):
        logits = design @ point
        weights = np.exp(logits - logits.max(axis=1, keepdims=True)) * allowed
        chance = weights / weights.sum(axis=1, keepdims=True)
        mean = np.einsum("po,pok->pk", chance, design)
        gradient = (
            np.einsum("p,pk->k", total, mean) - np.einsum("po,pok->k", counts, design) + precision * point
        )
        spread = np.einsum("po,pok,pol->pkl", chance, design, design) - np.einsum("pk,pl->pkl", mean, mean)
        hessian = np.einsum("p,pkl->kl", total, spread) + np.diag(precision) + centring
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while (trial := objective(point - scale * step)) > value + 1e-12 and scale > 1e-8:
            scale /= 2
        point = point - scale * step
        point[:models] -= point[:models].mean()
        value = trial
        if np.abs(step).max() < 1e-10:
            break
    return point[:models], float(point[models]) if with_ties else -np.inf


def bradley_terry(
    votes: pd.DataFrame,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 500,
    prior_deviation: float = 5.0,
) -> Preferences:
    """Rank models from blind votes; intervals resample raters and prompts, both being samples.

    A resample draws raters and, independently, prompts with replacement; a vote counts as often as its
    rater's draws times its prompt's draws (Owen 2007, the pigeonhole bootstrap).

    Args:
        votes: columns `left`, `right` (model names), `vote` ("left", "right", "tie" or "both_bad"),
            `rater`, `prompt_id`; one row per vote.
        rng: source of the resamples.
        confidence: two-sided coverage in (0, 1).
        resamples: bootstrap samples.
        prior_deviation: see `fit_strengths`.

    Raises:
        ValueError: no votes, an unknown vote, or a vote of a model against itself.
    """
    if votes.empty:
        raise ValueError("no votes to rank models by")
    unknown = set(votes["vote"]) - {"left", "right", "tie", "both_bad"}
    if unknown:
        raise ValueError(f"unknown votes {sorted(unknown)}; known: left, right, tie, both_bad")
    if (votes["left"] == votes["right"]).any():
        raise ValueError("a vote compares a model with itself")
    models = sorted({*votes["left"], *votes["right"]})
    place = {model: position for position, model in enumerate(models)}
    left, right = votes["left"].map(place).to_numpy(), votes["right"].map(place).to_numpy()
    undecided = votes["vote"].isin(["tie", "both_bad"]).to_numpy()
    winner = np.where(votes["vote"] == "right", right, left)
    loser = np.where(votes["vote"] == "right", left, right)
    rater, raters = pd.factorize(votes["rater"])
    prompt, prompts = pd.factorize(votes["prompt_id"])

    def tables(weights: Array) -> tuple[Array, Array]:
        won = np.zeros((len(models), len(models)))
        tied = np.zeros_like(won)
        np.add.at(won, (winner[~undecided], loser[~undecided]), weights[~undecided])
        np.add.at(tied, (left[undecided], right[undecided]), weights[undecided])
        return won, tied + tied.T

    won, tied = tables(np.ones(len(votes)))
    strengths, tie = fit_strengths(won, tied, prior_deviation)
    draws = []
    for _ in range(resamples):
        by_rater = np.bincount(rng.integers(0, len(raters), len(raters)), minlength=len(raters))
        by_prompt = np.bincount(rng.integers(0, len(prompts), len(prompts)), minlength=len(prompts))
        weights = (by_rater[rater] * by_prompt[prompt]).astype(np.float64)
        if weights.any():
            draws.append(fit_strengths(*tables(weights), prior_deviation)[0])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.array(draws), [tail, 1 - tail], axis=0)
    rows = [
        Strength(
            model,
            float(strengths[i]),
            float(low[i]),
            float(high[i]),
            int(won[i].sum()),
            int(won[:, i].sum()),
            int(tied[i].sum()),
        )
        for i, model in enumerate(models)
    ]
    chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    return Preferences(
        sorted(rows, key=lambda row: -row.strength),
        pd.DataFrame(chance, index=models, columns=models),
        tie,
        len(votes),
        len(raters),
        len(prompts),
        float((votes["vote"] == "both_bad").mean()),
        float(undecided.mean()),
    )


def ordinal_alpha(ratings: pd.DataFrame) -> float | None:
    """Krippendorff's alpha for ordered ratings: 1 is full agreement, 0 is chance (Krippendorff 2011).

    For A/B votes code "left" -1, "tie" 0, "right" 1 with a fixed model on the left.

    Args:
        ratings: columns `unit` (what was rated), `rater`, `rating` (a number); units rated once say nothing.

    Returns:
        Alpha, at most 1; None where no unit has two ratings or all ratings are equal, so that agreement
        cannot be told from constancy.
    """
    levels, level = np.unique(ratings["rating"].to_numpy(float), return_inverse=True)
    units = pd.factorize(ratings["unit"])[0]
    if not len(units):
        return None
    table = np.zeros((units.max() + 1, levels.size))
    np.add.at(table, (units, level), 1.0)
    table = table[table.sum(axis=1) > 1]
    if not len(table):
        return None
    per_unit = table.sum(axis=1)
    coincidences = (table.T / (per_unit - 1)) @ table - np.diag((table / (per_unit - 1)[:, None]).sum(axis=0))
    totals = coincidences.sum(axis=1)
    # Ordinal distance: how many ratings lie between the two levels, half of the ends included.
    ranks = np.cumsum(totals) - totals / 2
    distance = (ranks[:, None] - ranks[None, :]) ** 2
    count = totals.sum()
    expected = float((np.outer(totals, totals) * distance).sum()) / (count - 1)
    return 1 - float((coincidences * distance).sum()) / expected if expected else None
