"""One function for verdict, text and exit code; waivers; Holm."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import EvidenceError, RunError
from evalkit.gate.policy import PolicyError, Where
from evalkit.gate.verdict import (
    CheckResult,
    apply_waivers,
    conclude,
    conclude_error,
    confirm_regressions,
)
from evalkit.gate.waivers import Waiver
from evalkit.stats.margins import Verdict

from .conftest import TODAY, of


def result(name, verdict, **options):
    return CheckResult(id=name, kind="non-inferiority", verdict=verdict, sentence="said.", **options)


PASS, REGRESS, UNSURE, INVALID = Verdict.PASS, Verdict.REGRESS, Verdict.INCONCLUSIVE, Verdict.INVALID


@pytest.mark.parametrize(
    ("verdicts", "verdict", "code"),
    [
        ([], "PASS", 0),
        ([PASS, PASS], "PASS", 0),
        ([PASS, UNSURE], "INCONCLUSIVE", 3),
        ([PASS, REGRESS, UNSURE], "REGRESS", 1),
        ([REGRESS, INVALID, UNSURE], "INVALID", 4),
    ],
)
def test_one_exit_code_per_cause(verdicts, verdict, code):
    found = conclude(result(f"c{i}", v) for i, v in enumerate(verdicts))
    assert (found.verdict, found.exit_code) == (verdict, code)
    for i, v in enumerate(verdicts):
        assert (f"c{i}" in found.text) == (v is not PASS)


@given(st.lists(st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(["fail", "warn"]))))
def test_the_gate_is_green_only_if_every_blocking_check_passed(checks):
    results = [result(f"c{i}", verdict, level=level) for i, (verdict, level) in enumerate(checks)]
    blocked = any(verdict is not PASS and level == "fail" for verdict, level in checks)
    assert (conclude(results).exit_code != 0) == blocked


def test_what_only_warns_is_told_and_does_not_block():
    found = conclude([result("a", UNSURE, level="warn"), result("b", REGRESS, level="warn")])
    assert found.exit_code == 0
    assert "warned of: a, b" in found.text
    assert conclude([result("a", UNSURE, level="warn"), result("b", REGRESS)]).exit_code == 1


@pytest.mark.parametrize(
    ("error", "verdict", "code"),
    [
        (PolicyError("p"), "USAGE", 2),
        (RunError("r"), "USAGE", 2),
        (EvidenceError("e"), "INVALID", 4),
        (KeyError("bug"), "INTERNAL", 70),
    ],
)
def test_errors_have_exit_codes_of_their_own(error, verdict, code):
    found = conclude_error(error)
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert str(error) in found.text


def test_a_bug_is_a_conclusion_with_exit_code_70(make, gate, monkeypatch):
    import evalkit.gate.run

    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(evalkit.gate.run, "evaluate", broken)
    monkeypatch.delenv("EVALKIT_TRACEBACK", raising=False)
    found = gate(make("b"), make("a"), ["id: q, metric: quality, margin: 0.5"])
    assert (found.conclusion.verdict, found.conclusion.exit_code) == ("INTERNAL", 70)
    monkeypatch.setenv("EVALKIT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        gate(make("d"), make("c"), ["id: q, metric: quality, margin: 0.5"])


def test_holm_decides_who_is_named():
    results = [
        result("strong", REGRESS, p_value=0.001),
        result("weak", REGRESS, p_value=0.02),
        result("fine", PASS, p_value=0.9),
        result("cases", REGRESS),
    ]
    found = {check.id: check for check in confirm_regressions(results, 0.05)}
    assert found["strong"].verdict is REGRESS
    assert found["strong"].p_adjusted == pytest.approx(0.006)
    assert found["weak"].verdict is UNSURE
    assert "among 3 checks" in found["weak"].sentence
    assert found["fine"].verdict is PASS
    assert found["cases"].verdict is REGRESS
    assert found["cases"].p_adjusted is None


def waiver(check="q", created="2026-02-01", expires="2026-03-15", drop=1.0):
    day = datetime.date.fromisoformat
    where = Where("waivers.yaml", 3, 5)
    return Waiver(check, "known", "team", "issue 1", day(created), day(expires), drop, where)


@pytest.mark.parametrize(
    ("the_waiver", "drop", "waived", "warning"),
    [
        (waiver(), 0.5, True, None),
        (waiver(), 1.5, False, "reaches to 1, found 1.5; the check is active"),
        (waiver(), None, False, "found an unknown drop"),
        (waiver(expires="2026-02-28"), 0.5, False, "expired on 2026-02-28; the check is active"),
        (waiver(created="2026-03-02"), 0.5, False, "starts on 2026-03-02"),
        (waiver(expires="2026-03-01"), 0.5, True, None),
        (waiver("other"), 0.5, False, "the waiver of other is not needed; remove it"),
    ],
)
def test_waivers_hold_as_written(the_waiver, drop, waived, warning):
    results, warnings = apply_waivers([result("q", REGRESS, drop=drop)], [the_waiver], TODAY)
    assert (results[0].waiver is not None) == waived
    assert results[0].verdict is REGRESS  # waived is still shown
    assert conclude(results).exit_code == (0 if waived else 1)
    if warning is None:
        assert warnings == []
        assert "waived: q" in conclude(results).text
    else:
        assert warning in warnings[0]
        assert warnings[0].startswith("waivers.yaml:3:5: ")


def test_waivers_do_not_reach_missing_evidence_or_safety():
    results, warnings = apply_waivers([result("q", INVALID)], [waiver()], TODAY)
    assert results[0].waiver is None
    assert "not needed" in warnings[0]
    results, _ = apply_waivers([result("q", REGRESS, drop=0.1, safety=True)], [waiver()], TODAY)
    assert results[0].waiver is None


WAIVERS = """\
schema: evalkit.waivers/v1
waivers:
  - {check: q, reason: known, owner: team, issue: '12', created: 2026-02-01, expires: 2026-03-15, max_drop: 2}
"""


def test_a_waived_regression_passes_until_the_waiver_ends(make, gate, tmp_path):
    (tmp_path / "waivers.yaml").write_text(WAIVERS)
    a, b = make("a"), make("b", seed=1, quality=-1.0)
    checks = ["id: q, metric: quality, margin: 0.5"]
    assert gate(b, a, checks).conclusion.exit_code == 1
    waived = gate(b, a, checks, waivers="waivers.yaml")
    assert waived.conclusion.exit_code == 0
    assert of(waived, "q").verdict is REGRESS
    assert "waived: q" in waived.conclusion.text
    later = gate(b, a, checks, waivers="waivers.yaml", today=datetime.date(2026, 3, 16))
    assert later.conclusion.exit_code == 1
    assert "expired" in later.warnings[0]
    unused = gate(make("c"), a, checks, waivers="waivers.yaml")
    assert unused.conclusion.exit_code == 0
    assert "not needed" in unused.warnings[0]
