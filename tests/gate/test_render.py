"""Outputs: valid, within budget, and inert whatever prompts contain."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree
from markdown_it import MarkdownIt

from evalkit.gate.junit import to_junit
from evalkit.gate.render import (
    COMMENT_BYTES,
    SUMMARY_BYTES,
    to_annotations,
    to_dict,
    to_markdown,
    to_text,
    write_outputs,
)
from evalkit.gate.run import GateResult
from evalkit.gate.verdict import CheckResult, Conclusion, Example, conclude
from evalkit.stats.margins import Verdict

from .test_verdict import waiver

VENDOR = Path(__file__).parents[1] / "vendor"
# The schema of the xunit2 format, as the Jenkins xUnit plugin publishes it and pytest tests its own reports with it.
SCHEMA = etree.XMLSchema(etree.parse(VENDOR / "junit-10.xsd"))
HOSTILE = (
    "p|1 `rm -rf` <script>alert(1)</script>\n# head\n::error::x\r\n[a](javascript:1) ![i](http://x/y.png) "
    "@team #1 \x00\x08\x1b[31m\ufffe\ud800 ]]> &amp; %0A <!-- \u202e"
)
GFM = MarkdownIt("gfm-like", {"linkify": False}).enable(["table", "strikethrough"])


def check(name, verdict=Verdict.REGRESS, text="it got worse.", **options):
    example = Example(text, "", 0, 1, "clip", 0.5, 0.25, text)
    return CheckResult(
        id=name, kind="non-inferiority", verdict=verdict, sentence=text, estimate=-0.1, lower=-0.2, upper=-0.05,
        limit="margin 0.01", examples=(example,), where="policy.yaml:7:5", why=text, **options,
    )  # fmt: skip


def gate_result(*checks, warnings=()):
    return GateResult(
        conclude(checks),
        "policy.yaml",
        "runs/b",
        "runs/a",
        "model 2",
        "model 1",
        tuple(checks),
        tuple(warnings),
    )


def hostile():
    return gate_result(
        check("bad", text=HOSTILE),
        check("unsure", Verdict.INCONCLUSIVE, text=HOSTILE),
        check("missing", Verdict.INVALID, text=HOSTILE),
        replace(check("waived", text=HOSTILE), waiver=replace(waiver(), reason=HOSTILE, owner=HOSTILE)),
        check("warns", text=HOSTILE, level="warn"),
        check("fine", Verdict.PASS, text=HOSTILE),
        warnings=[HOSTILE],
    )


def test_junit_validates_and_survives_control_characters():
    document = etree.fromstring(to_junit(hostile()).encode("utf-8"))
    assert SCHEMA.validate(document), SCHEMA.error_log
    suite = document.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "3", "1")
    cases = {case.get("name"): case for case in suite}
    kinds = {
        name: case.find("failure").get("type")
        for name, case in cases.items()
        if case.find("failure") is not None
    }
    assert kinds == {"bad": "REGRESS", "unsure": "INCONCLUSIVE", "missing": "INVALID"}
    assert "#x00#x08#x1B[31m#xFFFE#xD800" in cases["bad"].find("failure").text
    assert "<script>" in cases["bad"].find("failure").text
    assert "until 2026-03-15" in cases["waived"].find("skipped").get("message")


def test_the_schema_of_the_test_is_strict():
    for bad in (
        '<testsuites><testsuite name="x" tests="1" failures="0"/></testsuites>',
        '<testsuites><testsuite name="x" tests="1" failures="0" errors="0"><testcase/></testsuite></testsuites>',
        '<testsuites><testsuite name="x" tests="1" failures="0" errors="0" colour="red"/></testsuites>',
    ):
        assert not SCHEMA.validate(etree.fromstring(bad))


def test_a_gate_that_could_not_run_is_one_failure():
    result = GateResult(Conclusion("USAGE", 2, f"policy.yaml:1:1: error: {HOSTILE}"), "policy.yaml", "runs/b")
    document = etree.fromstring(to_junit(result).encode())
    assert SCHEMA.validate(document), SCHEMA.error_log
    assert document.find("testsuite/testcase/failure").get("type") == "USAGE"
    assert "USAGE" in to_markdown(result)
    assert to_annotations(result).startswith("::error file=policy.yaml,line=1")


def leaves(tokens):
    for token in tokens:
        yield from leaves(token.children) if token.children else [token]


def test_hostile_prompts_are_inert_in_markdown():
    source = to_markdown(hostile())
    body = source.replace("<!-- evalkit-gate -->", "")
    kinds = {token.type for token in leaves(GFM.parse(body))}
    assert not kinds & {
        "link_open",
        "image",
        "html_inline",
        "html_block",
        "code_inline",
        "code_block",
        "fence",
    }
    headings = [t for t in GFM.parse(body) if t.type == "heading_open"]
    assert len(headings) == 2  # the title and "Warnings"
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 6
    assert "@\u200bteam" in body


@pytest.mark.parametrize("budget", [COMMENT_BYTES, SUMMARY_BYTES, 3000])
def test_markdown_stays_within_its_budget_with_500_checks(budget):
    checks = [check(f"check-{i:03d}", text="word " * 100) for i in range(450)]
    checks += [check(f"pass-{i:03d}", Verdict.PASS) for i in range(50)]
    source = to_markdown(gate_result(*checks, warnings=["w" * 100] * 100), budget)
    assert len(source.encode()) <= budget
    if budget < SUMMARY_BYTES:
        assert re.search(r"Left out to stay within the size limit: \d+ details", source)
    else:
        assert "check-449" in source
        assert "pass-049" in source


def test_short_results_are_shown_whole_worst_first():
    source = to_markdown(
        gate_result(check("fine", Verdict.PASS), check("bad"), check("gone", Verdict.INVALID))
    )
    assert "Left out" not in source
    table = [
        line
        for line in source.splitlines()
        if (line.startswith("| ") and "REGRESS" in line) or "PASS |" in line
    ]
    assert [name for line in table for name in ("gone", "bad", "fine") if name in line] == ["bad", "fine"]
    assert source.index("gone") < source.index("**❌ bad**")


def test_annotations_point_into_the_policy_and_stop_at_ten_a_level():
    many = gate_result(
        *[check(f"c{i}", text="50% worse\nreally") for i in range(25)], check("w", level="warn")
    )
    lines = to_annotations(many).splitlines()
    errors = [line for line in lines if line.startswith("::error ")]
    assert len(errors) == 10
    assert errors[0] == "::error file=policy.yaml,line=7,title=REGRESS%3A c0::50%25 worse%0Areally"
    assert errors[-1].endswith("::16 more; see gate.json")
    assert [line for line in lines if line.startswith("::warning ")] == [
        "::warning file=policy.yaml,line=7,title=REGRESS%3A w::it got worse."
    ]


def test_no_line_of_a_prompt_becomes_a_workflow_command():
    lines = to_annotations(hostile()).splitlines()
    assert all(
        re.match(r"::(error|warning|notice) file=policy\.yaml,line=\d+,title=", line) for line in lines
    )
    text = to_text(hostile())
    assert not any(line.startswith("::") for line in text.splitlines())
    assert "\x1b" not in text
    assert "\x00" not in text


def test_outputs_are_written_and_agree(tmp_path):
    result = gate_result(check("bad"), check("fine", Verdict.PASS))
    files = {path.name for path in write_outputs(result, tmp_path / "out")}
    assert files == {"gate.json", "gate.txt", "junit.xml", "summary.md", "comment.md", "annotations.txt"}
    data = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert (data["verdict"], data["exit_code"]) == ("REGRESS", 1)
    assert [entry["blocks"] for entry in data["checks"]] == [True, False]
    for name in ("gate.txt", "summary.md", "comment.md"):
        assert "REGRESS" in (tmp_path / "out" / name).read_text()


def test_hostile_results_are_written_whole(tmp_path):
    clean = HOSTILE.replace("\ud800", "")
    result = gate_result(check("bad", text=clean), replace(check("waived", text=clean), waiver=waiver()))
    write_outputs(result, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "gate.json").read_text())["checks"][0]["sentence"] == clean
    assert to_dict(result)["checks"][1]["waiver"]["expires"] == "2026-03-15"
