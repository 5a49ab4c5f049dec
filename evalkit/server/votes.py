"""Blind A/B votes between two runs: ballots, leaderboard, agreement of raters, agreement of metrics with people."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from evalkit.failures.errors import InvalidReport, StateConflict
from evalkit.failures.record import now
from evalkit.failures.tables import ballots
from evalkit.failures.ulid import new_ulid

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from evalkit.failures.database import Database
    from evalkit.runs.store import Run
    from evalkit.stats.preferences import Preferences

__all__ = [
    "CHOICES",
    "Ballot",
    "MetricAgreement",
    "Standing",
    "Votes",
    "metric_agreement",
    "pairs_of",
    "standing",
]

CHOICES = ("left", "right", "tie", "both_bad")
PairKey = tuple[str, int]


class Ballot(NamedTuple):
    """One question to one rater: which of two clips of the same prompt is better."""

    id: str
    rater: str
    run_a: str
    run_b: str
    prompt_id: str
    sample_index: int
    clip_a: str
    clip_b: str
    a_is_left: bool
    choice: str | None
    counted: bool
    revealed: bool

    def side(self, name: str) -> tuple[str, str]:
        """(run id, clip id) of `left` or `right`."""
        a_wanted = (name == "left") == self.a_is_left
        return (self.run_a, self.clip_a) if a_wanted else (self.run_b, self.clip_b)


class MetricAgreement(NamedTuple):
    """How often a metric prefers the clip that people prefer.

    `pairs` have a majority of votes and different scores; the interval (Wilson, 95 %) treats pairs as independent.
    """

    metric_id: str
    title: str
    agreed: int
    pairs: int
    low: float
    high: float


class Standing(NamedTuple):
    """Leaderboard over all counted votes; `preferences` is None before the first."""

    preferences: Preferences | None
    alpha: float | None
    pairs_with_two_raters: int


def pairs_of(
    first: Mapping[str, dict[str, Any]], second: Mapping[str, dict[str, Any]]
) -> dict[PairKey, tuple[str, str]]:
    """Clip ids of two runs that belong together: the same prompt and sample, and different pixels."""
    by_key = {(row["prompt_id"], row["sample_index"]): clip_id for clip_id, row in second.items()}
    pairs = {}
    for clip_id, row in first.items():
        other = by_key.get((row["prompt_id"], row["sample_index"]))
        if other is not None and other != clip_id:
            pairs[row["prompt_id"], row["sample_index"]] = (clip_id, other)
    return pairs


class Votes:
    """Ballots in the database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def next_ballot(
        self,
        rater: str,
        run_a: str,
        run_b: str,
        pairs: Mapping[PairKey, tuple[str, str]],
        rng: random.Random,
    ) -> Ballot | None:
        """The rater's open ballot for these runs, or a new one on a pair with the fewest votes; None when all are done.

        Args:
            rater: who votes.
            run_a, run_b: ids of the runs; swapping them asks the same questions.
            pairs: what can be asked, from `pairs_of(run_a, run_b)`.
            rng: draws the pair and which clip is on the left.
        """
        if run_a > run_b:
            run_a, run_b = run_b, run_a
            pairs = {key: (second, first) for key, (first, second) in pairs.items()}
        mine = sa.select(ballots).where(
            ballots.c.rater == rater, ballots.c.run_a == run_a, ballots.c.run_b == run_b
        )
        voted = (
            sa.select(ballots.c.prompt_id, ballots.c.sample_index, sa.func.count())
            .where(ballots.c.run_a == run_a, ballots.c.run_b == run_b, ballots.c.counted)
            .group_by(ballots.c.prompt_id, ballots.c.sample_index)
        )
        with self.database.writing() as connection:
            asked = [_ballot(row) for row in connection.execute(mine).mappings()]
            for ballot in asked:
                if ballot.choice is None and not ballot.revealed:
                    return ballot
            votes = {(prompt, sample): count for prompt, sample, count in connection.execute(voted)}
            left = sorted(set(pairs) - {(ballot.prompt_id, ballot.sample_index) for ballot in asked})
            if not left:
                return None
            fewest = min(votes.get(key, 0) for key in left)
            key = rng.choice([key for key in left if votes.get(key, 0) == fewest])
            row = {
                "id": new_ulid(),
                "rater": rater,
                "run_a": run_a,
                "run_b": run_b,
                "prompt_id": key[0],
                "sample_index": key[1],
                "clip_a": pairs[key][0],
                "clip_b": pairs[key][1],
                "a_is_left": rng.random() < 0.5,
                "choice": None,
                "counted": False,
                "created_ms": _ms(),
                "voted_ms": None,
                "revealed_ms": None,
            }
            connection.execute(sa.insert(ballots).values(**row))
        return _ballot(row)

    def get(self, ballot_id: str, rater: str) -> Ballot | None:
        """A ballot of this rater; others' ballots do not exist for them."""
        statement = sa.select(ballots).where(ballots.c.id == ballot_id, ballots.c.rater == rater)
        with self.database.reading() as connection:
            row = connection.execute(statement).mappings().first()
        return None if row is None else _ballot(row)

    def vote(self, ballot: Ballot, choice: str) -> Ballot:
        """Record a choice. It counts unless the ballot was revealed before.

        Raises:
            InvalidReport: not a choice.
            StateConflict: the ballot has a vote already.
        """
        if choice not in CHOICES:
            raise InvalidReport(f"unknown choice {choice!r}; known: {', '.join(CHOICES)}")
        mapped = choice
        if choice in ("left", "right"):
            mapped = "a" if (choice == "left") == ballot.a_is_left else "b"
        with self.database.writing() as connection:
            row = (
                connection.execute(sa.select(ballots).where(ballots.c.id == ballot.id).with_for_update())
                .mappings()
                .one()
            )
            if row["choice"] is not None:
                raise StateConflict("this ballot has a vote already; a vote is not changed")
            fields = {"choice": mapped, "counted": row["revealed_ms"] is None, "voted_ms": _ms()}
            fields["revealed_ms"] = row["revealed_ms"] or _ms()  # the answer shows who was who
            connection.execute(sa.update(ballots).where(ballots.c.id == ballot.id).values(**fields))
        return _ballot({**row, **fields})

    def reveal(self, ballot: Ballot) -> Ballot:
        """Show who is who; a vote after this does not count."""
        with self.database.writing() as connection:
            connection.execute(
                sa.update(ballots)
                .where(ballots.c.id == ballot.id, ballots.c.revealed_ms.is_(None))
                .values(revealed_ms=_ms())
            )
        return ballot._replace(revealed=True)

    def counted(self) -> list[Ballot]:
        """All votes that count, oldest first."""
        statement = sa.select(ballots).where(ballots.c.counted).order_by(ballots.c.id)
        with self.database.reading() as connection:
            return [_ballot(row) for row in connection.execute(statement).mappings()]


def standing(votes: Sequence[Ballot], labels: Mapping[str, str], rng: np.random.Generator) -> Standing:
    """Leaderboard of model versions (Bradley-Terry with ties) and Krippendorff's alpha between raters.

    Args:
        votes: counted ballots.
        labels: run id to the name under which it is ranked; votes on runs without one, or between two of one name,
            say nothing and are left out.
        rng: for the bootstrap.
    """
    import pandas as pd

    from evalkit.stats.preferences import bradley_terry, ordinal_alpha

    named = [
        (vote, labels[vote.run_a], labels[vote.run_b])
        for vote in votes
        if vote.run_a in labels and vote.run_b in labels and labels[vote.run_a] != labels[vote.run_b]
    ]
    if not named:
        return Standing(None, None, 0)
    words = {"a": "left", "b": "right", "tie": "tie", "both_bad": "both_bad"}
    table = pd.DataFrame(
        [
            {
                "left": a,
                "right": b,
                "vote": words[vote.choice or "tie"],
                "rater": vote.rater,
                "prompt_id": vote.prompt_id,
            }
            for vote, a, b in named
        ]
    )
    ratings = _ratings([vote for vote, _, _ in named])
    shared = int((ratings.groupby("unit")["rater"].nunique() > 1).sum())
    return Standing(bradley_terry(table, rng), ordinal_alpha(ratings), shared)


def metric_agreement(votes: Sequence[Ballot], runs: Mapping[str, Run]) -> list[MetricAgreement]:
    """For every clip metric that both runs of a vote have: does it prefer what the majority of raters prefers?"""
    from evalkit.stats.intervals import wilson_interval

    balance: dict[tuple[str, str, str, int], int] = {}
    for vote in votes:
        key = (vote.run_a, vote.run_b, vote.prompt_id, vote.sample_index)
        balance[key] = balance.get(key, 0) + {"a": 1, "b": -1}.get(vote.choice or "", 0)
    scores = {run_id: _scores(run) for run_id, run in runs.items()}
    counts: dict[str, list[int]] = {}
    titles: dict[str, str] = {}
    for (run_a, run_b, prompt_id, sample), preferred in balance.items():
        if preferred == 0 or run_a not in runs or run_b not in runs:
            continue
        for record in runs[run_a].manifest.metrics:
            first = scores[run_a].get((record.id, prompt_id, sample))
            second = scores[run_b].get((record.id, prompt_id, sample))
            if record.kind != "clip" or first is None or second is None or first == second:
                continue
            better_a = (first > second) == (record.direction == "higher")
            titles[record.id] = record.title
            tally = counts.setdefault(record.id, [0, 0])
            tally[0] += better_a == (preferred > 0)
            tally[1] += 1
    found = [
        MetricAgreement(name, titles[name], agreed, pairs, *wilson_interval(agreed, pairs))
        for name, (agreed, pairs) in counts.items()
    ]
    return sorted(found, key=lambda entry: -entry.low)


def _scores(run: Run) -> dict[tuple[str, str, int], float]:
    table = run.scores[run.scores["status"] == "ok"]
    columns = (table[name] for name in ("metric_id", "prompt_id", "sample_index", "value"))
    return {
        (metric, prompt, int(sample)): float(value)
        for metric, prompt, sample, value in zip(*columns, strict=True)
    }


def _ratings(votes: Sequence[Ballot]) -> pd.DataFrame:
    import pandas as pd

    values = {"a": -1, "tie": 0, "both_bad": 0, "b": 1}
    return pd.DataFrame(
        [
            {
                "unit": f"{vote.run_a} {vote.run_b} {vote.prompt_id} {vote.sample_index}",
                "rater": vote.rater,
                "rating": values[vote.choice or "tie"],
            }
            for vote in votes
        ]
    )


def _ballot(row: Any) -> Ballot:
    fields = {name: row[name] for name in Ballot._fields if name != "revealed"}
    return Ballot(**fields, revealed=row["revealed_ms"] is not None)


def _ms() -> int:
    return round(now().timestamp() * 1000)
