from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import SuiteError
from evalkit.suites.prompt import FrozenMapping, Prompt, Suite

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MAPPINGS = st.dictionaries(st.text(max_size=6), VALUES, max_size=4)
PROMPTS = st.builds(
    Prompt,
    id=st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    text=st.text(min_size=1, max_size=30),
    category=st.sampled_from(["a", "b", "c"]),
    tags=st.lists(st.sampled_from(["x.y", "x.z", "w"]), unique=True).map(tuple),
    negative=st.text(max_size=5),
    params=MAPPINGS,
    expect=MAPPINGS,
    notes=st.text(max_size=5),
)
SUITES = st.lists(PROMPTS, min_size=1, max_size=3, unique_by=lambda prompt: prompt.id).map(
    lambda prompts: Suite("s", "1", "CC0-1.0", "", tuple(prompts))
)


def make_suite(counts: dict[str, int]) -> Suite:
    prompts = [Prompt(f"{c}{i}", f"text {c} {i}", c) for c, n in counts.items() for i in range(n)]
    return Suite("s", "1", "CC0-1.0", "", tuple(prompts))


@given(PROMPTS)
def test_a_prompt_survives_json_and_pickle(prompt: Prompt) -> None:
    assert Prompt.from_dict(json.loads(json.dumps(prompt.to_dict()))) == prompt
    assert pickle.loads(pickle.dumps(prompt)) == prompt
    assert hash(Prompt.from_dict(prompt.to_dict())) == hash(prompt)


@given(PROMPTS, st.sampled_from(["id", "text", "category", "tags", "negative", "params", "expect", "notes"]))
def test_every_field_is_in_the_digest(prompt: Prompt, field: str) -> None:
    other = {
        "tags": (*prompt.tags, "new"),
        "params": {**prompt.params, "new": 1},
        "expect": {**prompt.expect, "new": 1},
    }
    changed = Prompt.from_dict({**prompt.to_dict(), field: other.get(field, "something else entirely new")})
    assert changed.digest != prompt.digest
    assert Prompt.from_dict(prompt.to_dict()).digest == prompt.digest


def test_the_digest_is_blake2b_of_canonical_json() -> None:
    prompt = Prompt("a", "ä", "c", params={"z": 1, "a": [2.5, None]})
    written = (
        '{"category":"c","expect":{},"id":"a","negative":"","notes":"","params":{"a":[2.5,null],"z":1},'
        '"tags":[],"text":"ä"}'
    )
    assert prompt.digest == hashlib.blake2b(written.encode(), digest_size=16).hexdigest()


def test_a_prompt_keeps_no_reference_to_what_it_was_made_from() -> None:
    params = {"size": [64, 64]}
    prompt = Prompt("a", "t", "c", params=params)
    params["size"].append(3)
    assert prompt.params["size"] == (64, 64)
    with pytest.raises(TypeError):
        prompt.params["size"] = 1  # type: ignore[index]


def test_frozen_mappings_compare_like_dicts_and_ignore_order() -> None:
    first, second = FrozenMapping({"a": 1, "b": {"c": [1]}}), FrozenMapping({"b": {"c": [1]}, "a": 1})
    assert first == second == {"a": 1, "b": {"c": (1,)}}
    assert hash(first) == hash(second)


@settings(max_examples=40)
@given(SUITES)
def test_a_suites_digest_ignores_order_and_source_but_no_prompt(suite: Suite) -> None:
    turned = Suite(suite.name, suite.version, suite.licence, "other words", suite.prompts[::-1], "elsewhere")
    assert turned.digest == suite.digest
    shorter = Suite(suite.name, suite.version, suite.licence, "", suite.prompts[1:])
    assert shorter.digest != suite.digest
    assert pickle.loads(pickle.dumps(suite)) == suite


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), st.integers(1, 22))
def test_a_limited_slice_is_balanced_ordered_and_grows_by_addition(categories: list[str], limit: int) -> None:
    prompts = tuple(Prompt(f"p{i}", f"text {i}", category) for i, category in enumerate(categories))
    suite = Suite("s", "1", "CC0-1.0", "", prompts)
    slice_ = suite.select(limit=limit)
    assert len(slice_) == min(limit, len(suite))
    positions = [suite.prompts.index(prompt) for prompt in slice_]
    assert positions == sorted(positions)
    have, total = Counter(p.category for p in slice_), Counter(p.category for p in suite)
    for category, count in total.items():  # no category is short while another has two more
        if have[category] < count:
            assert max(have.values()) - have[category] <= 1
    assert set(slice_) <= set(suite.select(limit=limit + 1))


def test_filters_combine_and_a_class_stands_for_its_leaves() -> None:
    prompts = (
        Prompt("a", "t1", "x", ("anatomy.hands",)),
        Prompt("b", "t2", "x", ("anatomy.face",)),
        Prompt("c", "t3", "y", ("anatomy.face", "prompt.style")),
    )
    suite = Suite("s", "1", "CC0-1.0", "", prompts)
    assert [p.id for p in suite.select(tags=["anatomy"])] == ["a", "b", "c"]
    assert [p.id for p in suite.select(tags=["anatomy.face"], categories=["x"])] == ["b"]
    assert [p.id for p in suite.select(ids=["c", "a"])] == ["a", "c"]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"categories": ["obiect"]}, "suite 's' has no category 'obiect'; did you mean 'object'?"),
        ({"ids": ["object9"]}, "did you mean 'object"),
        ({"tags": ["nothing"]}, "suite 's' has no tag 'nothing'; known: none"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"categories": ["object"], "ids": ["colour0"]}, "no prompt satisfies all of the filters"),
    ],
)
def test_a_slice_that_cannot_be_says_why(filters: dict[str, object], message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        make_suite({"object": 2, "colour": 1}).select(**filters)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_duplicate_ids_are_refused_in_code_too() -> None:
    with pytest.raises(SuiteError, match="duplicate prompt id 'a'"):
        Suite("s", "1", "CC0-1.0", "", (Prompt("b", "1", "c"), Prompt("a", "2", "c"), Prompt("a", "3", "c")))
