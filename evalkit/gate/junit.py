"""A gate as JUnit XML (xunit2), one test case a check, for CI systems that show tests."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from evalkit.gate.run import GateResult
from evalkit.gate.verdict import CheckResult

__all__ = ["to_junit"]

# Characters that XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _legal(text: str) -> str:
    return _ILLEGAL.sub(lambda match: f"#x{ord(match[0]):02X}", text)


def to_junit(result: GateResult) -> str:
    """JUnit XML: whatever blocks is a failure whose type says why, what is waived is skipped."""
    cases = [_case(check) for check in result.results]
    if not result.results:  # the gate could not run: one case that says why
        case = ET.Element("testcase", classname="evalkit.gate", name="gate", time="0")
        error = ET.SubElement(
            case, "failure", message=_legal(result.conclusion.text), type=result.conclusion.verdict
        )
        error.text = _legal(result.conclusion.text)
        cases = [case]
    counts = {tag: sum(case.find(tag) is not None for case in cases) for tag in ("failure", "skipped")}
    suite = ET.Element(
        "testsuite",
        name="evalkit gate",
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors="0",  # readers disagree on the element's name inside a test case; a failure they all know
        skipped=str(counts["skipped"]),
        time="0",
    )
    suite.extend(cases)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(check: CheckResult) -> ET.Element:
    case = ET.Element("testcase", classname=f"evalkit.gate.{check.kind}", name=_legal(check.id), time="0")
    message, details = _legal(check.sentence), _legal(_details(check))
    if check.waiver is not None:
        note = _legal(f"{check.verdict}, waived until {check.waiver.expires}: {check.waiver.reason}")
        ET.SubElement(case, "skipped", message=note)
    elif check.blocks:
        ET.SubElement(case, "failure", message=message, type=check.verdict.value).text = details
    ET.SubElement(case, "system-out").text = details
    return case


def _details(check: CheckResult) -> str:
    lines = [f"{check.verdict}: {check.sentence}", f"limit: {check.limit}", f"policy: {check.where}"]
    if check.why:
        lines.append(f"why: {check.why}")
    lines += [
        f"worst: prompt {clip.prompt_id}, sample {clip.sample_index}, seed {clip.seed}: "
        f"{clip.baseline} to {clip.candidate} {clip.reason}"
        for clip in check.examples
    ]
    return "\n".join(lines)
