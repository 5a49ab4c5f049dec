"""Policies and waivers are read strictly: every mistake has a place and a cure."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.gate.lint import lint_policy
from evalkit.gate.policy import (
    Absolute,
    Budget,
    Cases,
    NonInferiority,
    PolicyError,
    Quantile,
    Rate,
    Slice,
    load_policy,
    read_policy,
)
from evalkit.gate.waivers import load_waivers

FULL = """\
schema: evalkit.gate/v1
baseline: release-1.2
defaults: {alpha: 0.05, inconclusive: fail, max_failed_clips: 0}
checks:
  - {id: flicker, metric: temporal.flicker, margin: 1e-3}
  - {id: prompt-floor, metric: alignment.clip, kind: absolute, min: 24}
  - {id: flicker-rate, metric: temporal.flicker, kind: rate, worse_than: 0.06, max_rate: 0.05}
  - {id: worst-identity, metric: temporal.subject_consistency, kind: quantile, q: 0.05, min: 0.45, slice: {tag: close-up}}
  - {id: counting, metric: alignment.attributes, margin: 2.5E-2, slice: {category: counting}}
  - {id: kvd, metric: set.kvd, margin: .02}
  - {id: confirmed-failures, kind: cases, suite: regressions/*.yaml}
  - {id: cost, metric: cost.seconds_per_clip, kind: budget, max_relative_increase: 0.15, level: warn}
waivers: waivers.yaml
looks: [0.5, 1]
"""


def write(tmp_path, text, name="policy.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_documented_policy_is_read_as_it_says(tmp_path):
    policy = load_policy(write(tmp_path, FULL))
    kinds = [type(check) for check in policy.checks]
    assert kinds == [NonInferiority, Absolute, Rate, Quantile, NonInferiority, NonInferiority, Cases, Budget]
    assert [c.margin for c in policy.checks if isinstance(c, NonInferiority)] == [0.001, 0.025, 0.02]
    assert policy.checks[3].slice == Slice("tag", "close-up")
    assert (policy.checks[3].q, policy.checks[3].min) == (0.05, 0.45)
    assert policy.checks[7].level == "warn"
    assert (policy.baseline, policy.looks) == ("release-1.2", (0.5, 1.0))
    assert policy.waivers == tmp_path / "waivers.yaml"
    assert str(policy.checks[1].where) == f"{tmp_path / 'policy.yaml'}:6:5"


HEAD = "schema: evalkit.gate/v1\nchecks:\n"
GOOD = HEAD + "  - {id: a, metric: m, margin: 0.1}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("§", "empty"),
        ("§schema: evalkit.gate/v1\n", "has no `checks`"),
        ("checks: §[]\nschema: evalkit.gate/v1\n", "passes everything"),
        ("schema: §evalkit.gate/v2\nchecks: [{id: a, metric: m}]\n", "did you mean 'evalkit.gate/v1'"),
        (GOOD + "§chekcs: []\n", "unknown key 'chekcs' in the policy; did you mean 'checks'"),
        (GOOD + "§checks: []\n", "appears twice"),
        (HEAD + "  - {id: a, metric: m, margin: 0.1, §margin: 0.2}\n", "'margin' appears twice"),
        (HEAD + "  - {id: a, metric: m, §marign: 0.1}\n", "did you mean 'margin'"),
        (HEAD + "  - &x {id: a, metric: m}\n  - §*x\n", "alias `*x` is not allowed"),
        (HEAD + "  - {id: a, metric: m, margin: §'0.1'}\n", "remove the quotes"),
        (HEAD + "  - {id: a, metric: m, margin: §on}\n", "true/false `on`"),
        (HEAD + "  - {id: a, metric: m, margin: §.inf}\n", "finite number"),
        (HEAD + "  - {id: a, metric: m, margin: §010}\n", "finite number"),
        (HEAD + "  - {id: a, metric: m, margin: §0}\n", "must be a number above 0"),
        (HEAD + "  - {id: a, metric: m, margin: §-1}\n", "must be a number above 0"),
        (HEAD + "  - {id: a, metric: m, margin: §1:30}\n", "finite number"),
        (HEAD + "  - {id: §on, metric: m}\n", "put it in quotes"),
        (HEAD + "  - {id: a, metric: m, safety: §yes}\n", "must be true or false"),
        (HEAD + "  - {id: a, metric: m, level: §warning}\n", "did you mean 'warn'"),
        (HEAD + "  - §{metric: m}\n", "has no `id`"),
        (HEAD + "  - §{id: a}\n", "has no `metric`"),
        (HEAD + "  - {id: §'a b', metric: m}\n", "must be letters"),
        (HEAD + "  - {id: §completeness, metric: m}\n", "evalkit's own"),
        (GOOD + "  - §{id: a, metric: n, margin: 0.1}\n", "duplicate check id 'a' (first at line 3)"),
        (HEAD + "  - §{id: a, metric: m, kind: absolute}\n", "exactly one of min and max"),
        (HEAD + "  - §{id: a, metric: m, kind: absolute, min: 1, max: 2}\n", "exactly one of"),
        (HEAD + "  - {id: a, metric: m, kind: absolute, min: 1, §margin: 2}\n", "of kind absolute"),
        (HEAD + "  - {id: a, metric: m, kind: quantile, q: §1.5, min: 1}\n", "above 0 up to 1"),
        (HEAD + "  - {id: a, metric: m, kind: rate, worse_than: 1, max_rate: §2}\n", "must be a number"),
        (HEAD + "  - {id: a, metric: m, kind: §absolut, min: 1}\n", "did you mean 'absolute'"),
        (HEAD + "  - {id: a, metric: m, slice: §{}}\n", "one `category` or one `tag`"),
        (HEAD + "  - {id: a, metric: m, slice: §{category: x, tag: y}}\n", "one `category` or one `tag`"),
        (HEAD + "  - {id: a, kind: cases, suite: r, slice: §{tag: x}}\n", "no slice"),
        (HEAD + "  - §5\n", "must be a mapping"),
        (GOOD + "defaults: {alpha: §0.7}\n", "above 0 below 0.5"),
        (GOOD + "defaults: {max_failed_clips: §1.5}\n", "whole number"),
        (GOOD + "defaults: {inconclusive: §maybe}\n", "`inconclusive` is 'maybe'"),
        (GOOD + "looks: §[0.5, 0.4, 1]\n", "rise to 1"),
        (GOOD + "looks: §[0.1, 0.2, 0.3, 1]\n", "at most 3"),
        (GOOD + "baseline: §''\n", "is empty"),
        ("schema: [\n§", "not valid YAML"),
    ],
)
def test_every_mistake_has_a_place_and_a_cure(tmp_path, text, message):
    before = text[: text.index("§")]  # the mark stands where the error points
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    path = write(tmp_path, text.replace("§", ""))
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    line = str(caught.value).splitlines()[0]
    assert line.startswith(f"{path}:{place}: error: "), line
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once(tmp_path):
    text = HEAD + "  - {id: a, metric: m, margin: on}\n  - {id: b, metrc: m}\n"
    problems = read_policy(write(tmp_path, text))[1]
    assert [problem.line for problem in problems if problem.severity == "error"] == [3, 4]


def test_a_missing_policy_says_so(tmp_path):
    with pytest.raises(PolicyError, match="cannot read the file"):
        load_policy(tmp_path / "nothing.yaml")


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_no_text_crashes_the_reader(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "policy.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    policy, problems = read_policy(path)
    assert policy is not None or any(problem.severity == "error" for problem in problems)


WAIVER = """\
schema: evalkit.waivers/v1
waivers:
  - check: flicker
    reason: a known thing
    owner: video-quality
    issue: https://tracker.example/12
    created: 2026-02-01
    expires: 2026-03-15
    max_drop: 2e-2
"""


def test_a_waiver_is_read_as_it_says(tmp_path):
    checks = load_policy(write(tmp_path, FULL)).checks
    (waiver,) = load_waivers(write(tmp_path, WAIVER, "waivers.yaml"), checks)
    assert (waiver.check, waiver.max_drop, waiver.owner) == ("flicker", 0.02, "video-quality")
    assert waiver.active(datetime.date(2026, 2, 1))
    assert waiver.active(datetime.date(2026, 3, 15))
    assert not waiver.active(datetime.date(2026, 3, 16))
    assert not waiver.active(datetime.date(2026, 1, 31))


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("check: flicker", "check: flikcer", "3:12", "did you mean 'flicker'"),
        ("check: flicker", "check: completeness", "3:12", "cannot be waived; make the evidence complete"),
        ("check: flicker", "check: '*'", "3:12", "no check '*'"),
        ("check: flicker", "check: harm", "3:12", "is a safety check and cannot be waived"),
        ("expires: 2026-03-15", "expires: 2026-05-01", "8:14", "at most 60 days from `created`, this one 89"),
        ("expires: 2026-03-15", "expires: 2026-01-01", "8:14", "at most 60 days"),
        ("expires: 2026-03-15", "expires: soon", "8:14", "a day such as 2026-01-31"),
        ("expires: 2026-03-15", "expires: 2026-02-31", "8:14", "a day such as 2026-01-31"),
        ("    owner: video-quality\n", "", "3:5", "has no `owner`"),
        ("reason: a known thing", "reason: ''", "4:13", "`reason` is empty"),
        ("max_drop: 2e-2", "max_drop: 0", "9:15", "above 0"),
        ("max_drop: 2e-2", "max_drop: 2e-2\n    forever: true", "10:5", "unknown key 'forever'"),
    ],
)
def test_waivers_that_reach_too_far_are_refused(tmp_path, old, new, place, message):
    policy = FULL.replace("waivers: waivers.yaml", "").replace(
        "checks:\n", "checks:\n  - {id: harm, metric: safety.harm, margin: 0.1}\n"
    )
    checks = load_policy(write(tmp_path, policy)).checks
    path = write(tmp_path, WAIVER.replace(old, new), "waivers.yaml")
    with pytest.raises(PolicyError) as caught:
        load_waivers(path, checks)
    assert f"{path}:{place}: error" in str(caught.value)
    assert message in str(caught.value)


def test_one_waiver_per_check(tmp_path):
    checks = load_policy(write(tmp_path, FULL)).checks
    twice = WAIVER + WAIVER.split("waivers:\n")[1]
    with pytest.raises(PolicyError, match="two waivers"):
        load_waivers(write(tmp_path, twice, "waivers.yaml"), checks)


def test_lint_adds_unknown_metrics_and_expired_waivers(tmp_path):
    write(tmp_path, WAIVER, "waivers.yaml")
    policy = (
        GOOD.replace("id: a, metric: m", "id: flicker, metric: temporal.flickr") + "waivers: waivers.yaml\n"
    )
    found = lint_policy(write(tmp_path, policy), datetime.date(2026, 6, 1))
    assert {(problem.severity, problem.code) for problem in found} == {
        ("warning", "unknown-metric"),
        ("warning", "expired"),
    }
    assert "did you mean 'temporal.flicker'" in " ".join(map(str, found))
