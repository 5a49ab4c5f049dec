"""Blind votes: what is asked, what counts, and what is concluded."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from evalkit.failures.errors import InvalidReport, StateConflict
from evalkit.server.votes import Ballot, Votes, metric_agreement, pairs_of, standing
from tests.server.conftest import Site

PAIRS = {(f"p{number}", 0): (f"a{number}", f"b{number}") for number in range(20)}


@pytest.fixture
def votes(site: Site) -> Votes:
    return site.app.state.votes


def ballot(number: int, choice: str, rater: str = "anna", prompt: str = "") -> Ballot:
    return Ballot(str(number), rater, "A", "B", prompt or f"p{number}", 0, "a", "b", True, choice, True, True)


def test_sides_are_drawn_and_everything_is_asked_once(votes: Votes):
    rng = random.Random(5)
    seen, left = [], 0
    while (asked := votes.next_ballot("anna", "A", "B", PAIRS, rng)) is not None:
        assert votes.next_ballot("anna", "A", "B", PAIRS, rng) == asked  # a reload shuffles nothing
        seen.append(asked.prompt_id)
        left += asked.a_is_left
        assert {asked.side("left"), asked.side("right")} == {("A", asked.clip_a), ("B", asked.clip_b)}
        votes.vote(asked, "tie")
    assert sorted(seen) == sorted(prompt for prompt, _ in PAIRS)
    assert seen != sorted(seen)
    assert 4 <= left <= 16  # a fair coin leaves this range in fewer than 1 of 300 seeds; this seed does not


def test_swapped_runs_are_the_same_question(votes: Votes):
    rng = random.Random(0)
    first = votes.next_ballot("anna", "B", "A", {("p0", 0): ("b0", "a0")}, rng)
    assert (first.run_a, first.clip_a, first.run_b, first.clip_b) == ("A", "a0", "B", "b0")
    assert votes.next_ballot("anna", "A", "B", {("p0", 0): ("a0", "b0")}, rng) == first


def test_pairs_with_fewest_votes_come_first(votes: Votes):
    rng = random.Random(1)
    asked = votes.next_ballot("anna", "A", "B", PAIRS, rng)
    votes.vote(asked, "left")
    others = set()
    while len(others) < len(PAIRS) - 1:
        mine = votes.next_ballot("ben", "A", "B", PAIRS, rng)
        assert mine.prompt_id != asked.prompt_id
        votes.vote(mine, "left")
        others.add(mine.prompt_id)
    assert votes.next_ballot("ben", "A", "B", PAIRS, rng).prompt_id == asked.prompt_id


@pytest.mark.parametrize("choice", ["left", "right", "tie", "both_bad"])
def test_a_vote_counts_once_and_for_the_right_run(votes: Votes, choice: str):
    asked = votes.next_ballot("anna", "A", "B", PAIRS, random.Random(2))
    cast = votes.vote(asked, choice)
    expected = {"left": "a" if asked.a_is_left else "b", "right": "b" if asked.a_is_left else "a"}.get(
        choice, choice
    )
    assert (cast.choice, cast.counted, cast.revealed) == (expected, True, True)
    with pytest.raises(StateConflict, match="has a vote already"):
        votes.vote(asked, "left")
    assert [vote.choice for vote in votes.counted()] == [expected]
    with pytest.raises(InvalidReport):
        votes.vote(asked, "middle")


def test_a_vote_after_the_reveal_does_not_count(votes: Votes):
    asked = votes.next_ballot("anna", "A", "B", PAIRS, random.Random(3))
    votes.reveal(asked)
    cast = votes.vote(votes.get(asked.id, "anna"), "left")
    assert (cast.choice is not None, cast.counted) == (True, False)
    assert votes.counted() == []
    again = votes.next_ballot("anna", "A", "B", PAIRS, random.Random(3))
    assert (again.prompt_id, again.sample_index) != (asked.prompt_id, asked.sample_index)


def test_ballots_are_nobody_elses_business(votes: Votes):
    asked = votes.next_ballot("anna", "A", "B", PAIRS, random.Random(4))
    assert votes.get(asked.id, "ben") is None
    assert votes.get(asked.id, "anna") == asked


def test_the_leaderboard_ranks_by_votes_and_tells_agreement():
    raters = ("anna", "ben")
    cast = [ballot(number, "b" if number < 15 else "a", rater) for rater in raters for number in range(20)]
    found = standing(cast, {"A": "m v1", "B": "m v2"}, np.random.default_rng(0))
    assert found.preferences is not None
    first, second = found.preferences.strengths
    assert (first.model, first.wins, second.model, second.wins) == ("m v2", 30, "m v1", 10)
    # Without ties and with a weak prior, the difference of strengths is the log-odds of winning.
    assert first.strength - second.strength == pytest.approx(np.log(30 / 10), rel=0.02)
    assert found.alpha == pytest.approx(1.0)
    assert found.pairs_with_two_raters == 20


def test_votes_without_names_or_between_one_name_are_left_out():
    cast = [ballot(1, "a")]
    assert standing(cast, {}, np.random.default_rng(0)).preferences is None
    assert standing(cast, {"A": "same", "B": "same"}, np.random.default_rng(0)).preferences is None


def test_metrics_are_compared_with_the_majority(site: Site):
    library = site.app.state.library
    runs = {"A": library.run(site.run_id("fine")), "B": library.run(site.run_id("broken"))}
    # flicker, lower is better: fine 0.01 0.02 0.03, broken 0.30 0.02 0.03; only p0000 tells them apart.
    cast = [
        ballot(1, "a", "anna", "p0000"),
        ballot(2, "a", "ben", "p0000"),
        ballot(3, "b", "cy", "p0000"),
        ballot(4, "b", "anna", "p0001"),
    ]
    (found,) = metric_agreement(cast, runs)
    assert (found.metric_id, found.agreed, found.pairs) == ("temporal.flicker", 1, 1)
    assert 0 < found.low < 1
    (against,) = metric_agreement([ballot(1, "b", "anna", "p0000")], runs)
    assert (against.agreed, against.pairs) == (0, 1)
    assert metric_agreement([ballot(1, "tie", "anna", "p0000")], runs) == []


def test_pairs_need_both_clips_and_different_pixels():
    def rows(**clips: str) -> dict[str, dict[str, Any]]:
        return {clip: {"prompt_id": prompt, "sample_index": 0} for prompt, clip in clips.items()}

    assert pairs_of(rows(p="x", q="y", r="z"), rows(p="u", q="y")) == {("p", 0): ("x", "u")}


def test_the_pages_stay_blind_until_the_vote(site: Site):
    client, csrf = site.browser("anna")
    a, b = site.run_id("fine"), site.run_id("broken")
    page = client.get(f"/vote?a={a}&b={b}")
    assert page.status_code == 200
    (asked,) = {part.split('"')[0].split("/")[0] for part in page.text.split('src="/vote/')[1:]}
    shown = page.text.split('class="versus"')[1]
    for telling in (a, b, "synthetic", "broken", site.clip_id("fine", "p0000")):
        assert telling not in shown
    clips = [client.get(f"/vote/{asked}/{side}") for side in ("left", "right")]
    assert [answer.status_code for answer in clips] == [200, 200]
    for answer, side in zip(clips, ("left", "right"), strict=True):
        run_id, clip_id = site.app.state.votes.get(asked, "anna").side(side)
        known = client.get(f"/runs/{run_id}/clips/{clip_id}/preview")
        assert answer.content == known.content
        assert answer.headers["etag"] != known.headers["etag"]
        assert answer.headers["last-modified"] != known.headers["last-modified"]
        assert "content-disposition" not in answer.headers
    other, _ = site.browser("ben")
    assert other.get(f"/vote/{asked}/left").status_code == 404
    assert client.post(f"/vote/{asked}", data={"choice": "left", "csrf": csrf}).status_code == 303
    told = client.get(f"/vote/{asked}").text
    assert "synthetic v1" in told
    assert "synthetic v2" in told
    assert client.post(f"/vote/{asked}", data={"choice": "left", "csrf": csrf}).status_code == 409
    assert "1 blind vote by 1 person" in client.get("/leaderboard").text
    assert client.get(f"/vote?a={a}&b={a}").status_code == 200
