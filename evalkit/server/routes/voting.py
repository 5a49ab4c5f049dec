"""Blind A/B votes and the leaderboard."""

from __future__ import annotations

import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import FileResponse, Response

from evalkit.server.accounts import Account
from evalkit.server.routes.runs import opened
from evalkit.server.security import Reporter
from evalkit.server.view import page, redirect
from evalkit.server.votes import CHOICES, Ballot, metric_agreement, pairs_of, standing

if TYPE_CHECKING:
    from evalkit.runs.store import Run

router = APIRouter(include_in_schema=False)
RunId = Annotated[str, Query(max_length=64)]


@router.get("/vote")
def vote_page(request: Request, account: Reporter, a: RunId = "", b: RunId = "") -> Response:
    """The next pair, without a word about which run is which."""
    state = request.app.state
    runs = state.library.runs()
    ballot, problem, total, prompt = None, "", 0, ""
    if a and b:
        first, second = opened(request, a), opened(request, b)
        if a == b:
            problem = "Choose two different runs."
        elif first.manifest.suite.digest != second.manifest.suite.digest:
            problem = "These runs were made with different suites, so their clips have no partners."
        else:
            pairs = pairs_of(state.library.clips(first), state.library.clips(second))
            total = len(pairs)
            rng = random.Random(secrets.randbits(64))
            ballot = state.votes.next_ballot(account.name, a, b, pairs, rng)
            if ballot is None:
                problem = (
                    "You have voted on every pair of these runs. Thank you."
                    if pairs
                    else "No clips to compare."
                )
            else:
                found = first.suite.by_id.get(ballot.prompt_id)
                prompt = found.text if found else ""
    return page(
        request, "vote.html", runs=list(runs.values()), a=a, b=b, ballot=ballot, problem=problem, total=total,
        prompt=prompt, choices=CHOICES, flashes=_flashes(request, ballot) if ballot else {},
    )  # fmt: skip


def _flashes(request: Request, ballot: Ballot) -> dict[str, int]:
    """What must stay covered of the left and the right clip."""
    library = request.app.state.library
    return {
        side: library.hazard(opened(request, run_id), clip_id)
        for side, (run_id, clip_id) in ((side, ballot.side(side)) for side in ("left", "right"))
    }


def _own(request: Request, account: Account, ballot_id: str) -> Ballot:
    ballot: Ballot | None = request.app.state.votes.get(ballot_id, account.name)
    if ballot is None:
        raise HTTPException(404, "you have no such ballot")
    return ballot


@router.get("/vote/{ballot_id}/{side}")
def ballot_clip(request: Request, account: Reporter, ballot_id: str, side: str) -> Response:
    """The left or right clip of a ballot; the address says nothing about the run."""
    if side not in ("left", "right"):
        raise HTTPException(404, "a ballot has a left and a right clip")
    run_id, clip_id = _own(request, account, ballot_id).side(side)
    run = opened(request, run_id)
    path: Path | None = request.app.state.library.media(run, clip_id, "preview")
    if path is None:
        raise HTTPException(404, "the run has no preview of this clip any more")
    # The usual entity tag and date are the same wherever else the clip is served, and would tell which run it is.
    blind = {"etag": f'"{ballot_id}-{side}"', "last-modified": "Thu, 01 Jan 1970 00:00:00 GMT"}
    return FileResponse(path, media_type="video/mp4", headers=blind)


@router.post("/vote/{ballot_id}")
def vote(
    request: Request, account: Reporter, ballot_id: str, choice: Annotated[str, Form(max_length=10)]
) -> Response:
    """Vote, and see who was who."""
    ballot = request.app.state.votes.vote(_own(request, account, ballot_id), choice)
    return redirect(request, f"/vote/{ballot.id}")


@router.post("/vote/{ballot_id}/reveal")
def reveal(request: Request, account: Reporter, ballot_id: str) -> Response:
    """Give up blindness; a vote after this does not count."""
    request.app.state.votes.reveal(_own(request, account, ballot_id))
    return redirect(request, f"/vote/{ballot_id}")


@router.get("/vote/{ballot_id}")
def ballot_page(request: Request, account: Reporter, ballot_id: str) -> Response:
    """A ballot that was voted on or revealed: names and what the metrics say."""
    ballot = _own(request, account, ballot_id)
    if ballot.choice is None and not ballot.revealed:
        return redirect(request, "/vote", a=ballot.run_a, b=ballot.run_b)
    runs = {run_id: opened(request, run_id) for run_id in (ballot.run_a, ballot.run_b)}
    sides = {side: ballot.side(side) for side in ("left", "right")}
    rows = [
        {"title": record.title, "direction": record.direction, **values}
        for record in runs[ballot.run_a].manifest.metrics
        if record.kind == "clip"
        and (
            values := {
                side: _score(runs[run_id], record.id, clip_id) for side, (run_id, clip_id) in sides.items()
            }
        )
    ]
    return page(
        request,
        "ballot.html",
        ballot=ballot,
        labels={side: label(runs[run_id]) for side, (run_id, _) in sides.items()},
        rows=rows,
        choices=CHOICES,
        flashes=_flashes(request, ballot),
    )


def _score(run: Run, metric_id: str, clip_id: str) -> float | None:
    table = run.scores
    found = table[
        (table["metric_id"] == metric_id) & (table["clip_id"] == clip_id) & (table["status"] == "ok")
    ]
    return None if found.empty else float(found["value"].iloc[0])


def label(run: Run) -> str:
    """Model and version, as the leaderboard ranks them."""
    return f"{run.manifest.model.id} {run.manifest.model.revision}"


@router.get("/leaderboard")
def leaderboard(request: Request, _: Reporter) -> Response:
    """Versions by the votes of people, agreement of raters, and agreement of metrics with the votes."""
    state = request.app.state
    runs = state.library.runs()
    votes = state.votes.counted()
    labels = {run_id: label(run) for run_id, run in runs.items()}
    return page(
        request,
        "leaderboard.html",
        standing=standing(votes, labels, np.random.default_rng(0)),
        metrics=metric_agreement(votes, runs),
        votes=len(votes),
        gone=sum(vote.run_a not in runs or vote.run_b not in runs for vote in votes),
    )
