"""The record, its JSON Schema, the taxonomy and the states."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.failures.errors import InvalidReport, StateConflict
from evalkit.failures.record import FailureReport, parse_report
from evalkit.failures.schema import report_schema
from evalkit.failures.states import EXITS, STATUSES, TRANSITIONS, check_transition
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.failures.ulid import new_ulid, ulid_milliseconds

Make = Callable[..., FailureReport]
BASE: dict[str, Any] = {
    "category": "temporal.flicker",
    "severity": "S1",
    "source": {"kind": "human", "name": "anna"},
    "model": {"name": "m", "version": "1"},
    "prompt": "p",
    "evidence": {"statement": "s"},
}
VALIDATOR = jsonschema.Draft202012Validator(report_schema())
CLIP = {"num_frames": 16, "fps": "8"}
OTHER = "01ARYZ6S410000000000000000"
SEEN = {"kind": "witness", "by": "tom", "at": "2026-01-01T00:00:00Z"}

REFUSED = {
    "category": ({"category": "temporal.flickr"}, "did you mean 'temporal.flicker'"),
    "severity": ({"severity": "S4"}, "severity"),
    "unknown field": ({"colour": "red"}, "colour"),
    "no evidence": ({"evidence": {}}, "evidence is empty"),
    "blank evidence": ({"evidence": {"statement": "  "}}, "evidence is empty"),
    "span backwards": ({"observation": {"segments": [{"first": 5, "last": 4}]}}, "swap them"),
    "span negative": ({"observation": {"segments": [{"first": -1, "last": 4}]}}, "segments"),
    "span beyond": (
        {"evidence": {"clip": CLIP}, "observation": {"segments": [{"first": 3, "last": 16}]}},
        "0 to 15",
    ),
    "box outside": (
        {"observation": {"boxes": [{"frame": 0, "x": 0.8, "y": 0, "w": 0.3, "h": 0.1}]}},
        "beyond the picture",
    ),
    "box empty": ({"observation": {"boxes": [{"frame": 0, "x": 0, "y": 0, "w": 0, "h": 0.1}]}}, "boxes"),
    "box late": (
        {
            "evidence": {"clip": CLIP},
            "observation": {"boxes": [{"frame": 16, "x": 0, "y": 0, "w": 0.1, "h": 0.1}]},
        },
        "frame 16",
    ),
    "duplicate of nothing": ({"status": "duplicate"}, "duplicate_of"),
    "not a duplicate": ({"duplicate_of": OTHER}, "duplicate_of"),
    "own duplicate": ({"id": OTHER, "status": "duplicate", "duplicate_of": OTHER}, "its own duplicate"),
    "confirmed by nobody": ({"status": "confirmed"}, "two people"),
    "confirmed by oneself": (
        {"status": "confirmed", "confirmations": [{**SEEN, "by": "anna"}]},
        "two people",
    ),
    "minors with a clip": ({"category": "safety.minors", "evidence": {"clip": CLIP}}, "accepts no media"),
    "control character": ({"prompt": "a\x00b"}, "U\\+0000"),
    "lone surrogate": ({"prompt": "a\ud800b"}, "prompt"),
    "rate": ({"evidence": {"clip": {"fps": "1/0"}}}, "fps"),
    "negative rate": ({"evidence": {"clip": {"fps": "-8"}}}, "fps"),
    "infinite guidance": ({"reproduction": {"guidance_scale": float("inf")}}, "guidance_scale"),
    "time without zone": ({"created": "2026-01-01T00:00:00"}, "created"),
    "id": ({"id": "../../etc/passwd"}, "id"),
    "digest": ({"evidence": {"attachments": ["../x"]}}, "attachments"),
    "value without status": (
        {
            "detectors": [
                {
                    "metric_id": "m",
                    "metric_version": "1",
                    "status": "failed",
                    "value": 1,
                    "direction": "lower",
                }
            ]
        },
        "exactly where its status is ok",
    ),
    "no reason": (
        {"detectors": [{"metric_id": "m", "metric_version": "1", "status": "failed", "direction": "lower"}]},
        "needs a reason",
    ),
    "foreign seed": (
        {"confirmations": [{**SEEN, "kind": "reproduction", "seeds": [1], "failed_seeds": [2]}]},
        "was not run",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_report_is_refused_with_its_field(case: str):
    fields, said = REFUSED[case]
    with pytest.raises(InvalidReport, match=said):
        parse_report({**BASE, **fields})


def test_two_people_confirm():
    report = parse_report({**BASE, "status": "confirmed", "confirmations": [SEEN]})
    assert report.people == {"anna", "tom"}


def test_the_schema_is_2020_12_and_takes_what_the_record_takes(make_report: Make):
    jsonschema.Draft202012Validator.check_schema(report_schema())
    assert report_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for fields in (
        {},
        {"evidence": {"clip": CLIP}, "observation": {"segments": [{"first": 0, "last": 15}]}},
        {"status": "duplicate", "duplicate_of": OTHER},
        {"status": "confirmed", "confirmations": [SEEN]},
        {"category": "safety.minors"},
        {
            "reproduction": {
                "params": {"camera": "pan_left", "loop": None, "strength": 0.5},
                "fps": "24000/1001",
            }
        },
    ):
        VALIDATOR.validate(make_report(**fields).model_dump(mode="json"))


@pytest.mark.parametrize(
    "case",
    [
        *("category", "severity", "unknown field", "span negative", "box empty", "duplicate of nothing"),
        *("not a duplicate", "confirmed by nobody", "minors with a clip", "id", "digest"),
    ],
)
def test_the_schema_refuses_what_a_schema_can_refuse(make_report: Make, case: str):
    valid = make_report().model_dump(mode="json")
    assert VALIDATOR.is_valid(valid)
    assert not VALIDATOR.is_valid({**valid, **REFUSED[case][0]})


def test_the_schema_lists_every_leaf_and_severity():
    fields = report_schema()["properties"]
    assert tuple(fields["category"]["enum"]) == load_taxonomy().ids
    assert [level["const"] for level in fields["severity"]["oneOf"]] == ["S0", "S1", "S2", "S3"]


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    st.integers(0, 2**63 - 1),
)
def test_a_report_survives_json(prompt: str, guidance: float | None, seed: int):
    fields = {"prompt": prompt, "reproduction": {"guidance_scale": guidance, "seed": seed}}
    report = parse_report({**BASE, **fields})
    assert parse_report(json.loads(json.dumps(report.model_dump(mode="json")))) == report


def test_every_class_of_the_design_has_its_leaves():
    classes = {family.id: len(family.leaves) for family in load_taxonomy().classes}
    assert classes == {
        "temporal": 5, "identity": 4, "scene": 4, "visual": 7, "prompt": 7, "physics": 6, "anatomy": 4, "control": 5,
        "safety": 8, "provenance": 4, "meta": 2,
    }  # fmt: skip


def test_every_leaf_says_what_it_is_and_how_good_its_evidence_is():
    from evalkit.metrics.registry import metric_specs

    specs = metric_specs()
    for leaf in load_taxonomy():
        assert leaf.definition.endswith(".")
        assert leaf.example
        assert leaf.restricted == leaf.id.startswith("safety.")
        assert leaf.media == (leaf.id != "safety.minors")
        levels = {
            specs[metric].evidence for metric in leaf.metrics
        }  # a metric that does not exist is an error
        expected = "measured" if "measured" in levels else "proxy" if levels else "human"
        best = specs[leaf.metrics[0]].evidence if leaf.metrics else "human"
        assert leaf.level in (expected, best), leaf.id


def test_metrics_that_claim_a_leaf_are_listed_there():
    from evalkit.metrics.registry import metric_specs

    taxonomy = load_taxonomy()
    for metric, spec in metric_specs().items():
        if spec.leaf:
            assert metric in taxonomy.leaf(spec.leaf).metrics, metric


def test_the_life_of_a_report_has_no_dead_end_and_no_short_cut():
    for status in STATUSES:
        reached = {status}
        while more := {target for known in reached for target in TRANSITIONS[known]} - reached:
            reached |= more
        assert "verified" in reached  # even what was closed can be judged anew
    assert not any("verified" in TRANSITIONS[status] for status in STATUSES if status != "fixed")
    assert all(TRANSITIONS[status] == ("triaged",) for status in EXITS)
    with pytest.raises(StateConflict, match="needs_info, triaged"):
        check_transition("new", "confirmed")


def test_ulids_sort_by_time_and_do_not_repeat():
    made = [new_ulid(milliseconds) for milliseconds in (0, 1, 2**40, 2**48 - 1)]
    assert made == sorted(made)
    assert [ulid_milliseconds(ulid) for ulid in made] == [0, 1, 2**40, 2**48 - 1]
    assert len({new_ulid(7) for _ in range(1000)}) == 1000
    before = datetime.now(UTC).timestamp() * 1000
    assert abs(ulid_milliseconds(new_ulid()) - before) < 60_000
