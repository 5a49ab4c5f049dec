"""What a gate says, for people and for machines: text, JSON, Markdown within a budget, annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit.compare.markdown import escape, table
from evalkit.compare.words import number
from evalkit.gate.junit import to_junit
from evalkit.gate.run import GateResult
from evalkit.gate.verdict import CheckResult
from evalkit.runs.files import write_json, write_text
from evalkit.stats.margins import Verdict

__all__ = [
    "COMMENT_BYTES",
    "SUMMARY_BYTES",
    "to_annotations",
    "to_dict",
    "to_markdown",
    "to_text",
    "write_outputs",
]

SUMMARY_BYTES = 1_000_000  # a GitHub step summary holds 1 MiB
COMMENT_BYTES = 60_000  # a GitHub comment holds 65,536 characters
_PER_LEVEL = 10  # GitHub shows ten annotations of a level and drops the rest
_MARKER = "<!-- evalkit-gate -->"

ICONS = {
    "PASS": "✅",
    "REGRESS": "❌",
    "INCONCLUSIVE": "❔",
    "INVALID": "⛔",
    "USAGE": "⛔",
    "INTERNAL": "⛔",
}
_ORDER = [Verdict.INVALID, Verdict.REGRESS, Verdict.INCONCLUSIVE, Verdict.PASS]


def _sorted(result: GateResult) -> list[CheckResult]:
    """Blocking results first, by severity, in the policy's order within."""
    return sorted(result.results, key=lambda check: (not check.blocks, _ORDER.index(check.verdict)))


def _state(check: CheckResult) -> str:
    if check.waiver is not None:
        return f"{check.verdict} (waived)"
    if check.level == "warn" and check.verdict is not Verdict.PASS:
        return f"{check.verdict} (warns only)"
    return str(check.verdict)


def _measured(check: CheckResult) -> str:
    if check.estimate is None:
        return "–"
    bounds = f" ({number(check.lower)} to {number(check.upper)})" if check.lower is not None else ""
    return f"{number(check.estimate)}{bounds}"


def to_text(result: GateResult) -> str:
    """The gate for a log: one line per check, worst first, control characters made visible."""
    conclusion = result.conclusion
    # Continuation lines are indented: no line of the log may begin with what an input contains.
    lines = [f"{conclusion.verdict}: {conclusion.text.splitlines()[0]}"]
    lines += [f"  {line}" for line in conclusion.text.splitlines()[1:]]
    for check in _sorted(result):
        lines.append(f"  {_state(check):<24} {check.id}: {check.sentence}")
        if check.verdict is not Verdict.PASS:
            lines += [f"      why: {check.why}"] if check.why else []
            lines += [f"      {line}" for line in _evidence(check)]
        if check.waiver is not None:
            waiver = check.waiver
            lines.append(
                f"      waived until {waiver.expires} by {waiver.owner}: {waiver.reason} ({waiver.issue})"
            )
    lines += [f"warning: {warning}" for warning in result.warnings]
    return "\n".join(_visible(line) for line in lines) + "\n"


def _visible(line: str) -> str:
    """One line of printable characters: neither a terminal nor a CI log may act on what a prompt contains."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _evidence(check: CheckResult) -> Iterator[str]:
    for clip in check.examples[:3]:
        where = f"prompt {clip.prompt_id}, sample {clip.sample_index}, seed {clip.seed}"
        values = (
            number(clip.candidate)
            if clip.baseline is None
            else f"{number(clip.baseline)} to {number(clip.candidate)}"
        )
        yield f"worst: {where}: {clip.reason or values}"


def to_dict(result: GateResult) -> dict[str, Any]:
    """The gate as JSON-ready data."""
    checks = []
    for check in result.results:
        data = asdict(check)
        data["blocks"] = check.blocks
        data["examples"] = [clip._asdict() for clip in check.examples]
        if check.waiver is not None:
            data["waiver"] |= {
                "created": str(check.waiver.created),
                "expires": str(check.waiver.expires),
                "where": str(check.waiver.where),
            }
        checks.append(data)
    return {
        "schema": "evalkit.gate-result/v1",
        "verdict": result.conclusion.verdict,
        "exit_code": result.conclusion.exit_code,
        "text": result.conclusion.text,
        "policy": result.policy,
        "candidate": result.candidate,
        "candidate_model": result.candidate_model,
        "baseline": result.baseline,
        "baseline_model": result.baseline_model,
        "alpha": result.alpha,
        "checks": checks,
        "warnings": list(result.warnings),
    }


def to_markdown(result: GateResult, budget: int = SUMMARY_BYTES) -> str:
    """The gate as Markdown of at most `budget` bytes of UTF-8; what does not fit is counted, worst comes first."""
    conclusion = result.conclusion
    head = [
        _MARKER,
        f"## {ICONS[conclusion.verdict]} evalkit gate: {conclusion.verdict}\n",
        f"{escape(conclusion.text, 4000)}\n",
    ]
    if result.results:
        models = (
            f"{escape(result.candidate_model)} against {escape(result.baseline_model or 'absolute limits')}"
        )
        head.append(
            f"Candidate {models}, policy {escape(result.policy)}, one-sided error {result.alpha:.3g}.\n"
        )
    text = "\n".join(head)
    ordered = _sorted(result)
    blocks = [_check_block(check) for check in ordered if check.verdict is not Verdict.PASS]
    rows = [
        (
            f"{ICONS[check.verdict]} {_state(check)}",
            check.id,
            check.slice or "all",
            _measured(check),
            check.limit,
        )
        for check in ordered
    ]
    warnings = [f"- {escape(warning, 500)}" for warning in result.warnings]
    reserve = 200  # room for the line that counts what was left out
    text, left_blocks = _append(text, "", blocks, budget - reserve)
    header = "\n" + table(["Verdict", "Check", "Slice", "Measured (bounds)", "Limit"], [], right=(3,))
    lines = [table(["", "", "", "", ""], [row]).splitlines()[2] for row in rows]
    text, left_rows = _append(text, header, lines, budget - reserve)
    text, left_warnings = _append(text, "\n### Warnings\n", warnings, budget - reserve)
    left = [
        f"{count} {what}"
        for count, what in ((left_blocks, "details"), (left_rows, "checks"), (left_warnings, "warnings"))
        if count
    ]
    if left:
        text += (
            f"\nLeft out to stay within the size limit: {', '.join(left)}; all of them are in gate.json.\n"
        )
    return text


def _append(text: str, header: str, parts: list[str], budget: int) -> tuple[str, int]:
    """Append as many parts as fit; returns the text and how many did not fit."""
    if not parts:
        return text, 0
    size = len(text.encode()) + len(header.encode())
    kept: list[str] = []
    for part in parts:
        size += len(part.encode()) + 1
        if size > budget:
            break
        kept.append(part)
    if not kept:
        return text, len(parts)
    return text + header + "\n".join(kept) + "\n", len(parts) - len(kept)


def _check_block(check: CheckResult) -> str:
    lines = [f"**{ICONS[check.verdict]} {escape(check.id)}**: {escape(check.sentence, 1000)}\n"]
    if check.why:
        lines.append(f"- Why it matters: {escape(check.why, 500)}")
    lines += [f"- {escape(line, 500).capitalize()}" for line in _evidence(check)]
    if check.waiver is not None:
        waiver = check.waiver
        lines.append(
            f"- Waived until {waiver.expires} by {escape(waiver.owner)}: {escape(waiver.reason, 500)} "
            f"({escape(waiver.issue)})"
        )
    return "\n".join(lines) + "\n"


def to_annotations(result: GateResult) -> str:
    """GitHub workflow commands, at most ten a level; print them to the job's log to see them on the diff."""
    levels: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    if not result.results:
        levels["error"].append(_command("error", result.policy, 1, "evalkit gate", result.conclusion.text))
    for check in _sorted(result):
        if check.verdict is Verdict.PASS:
            continue
        level = "error" if check.blocks else "notice" if check.waiver else "warning"
        path, line = _place(check.where, result.policy)
        levels[level].append(_command(level, path, line, f"{check.verdict}: {check.id}", check.sentence))
    levels["warning"] += [
        _command("warning", result.policy, 1, "evalkit gate", text) for text in result.warnings
    ]
    lines = []
    for level, commands in levels.items():
        kept = commands if len(commands) <= _PER_LEVEL else commands[: _PER_LEVEL - 1]
        lines += kept
        if len(commands) > len(kept):
            more = f"{len(commands) - len(kept)} more; see gate.json"
            lines.append(_command(level, result.policy, 1, "evalkit gate", more))
    return "".join(f"{line}\n" for line in lines)


def _place(where: str, policy: str) -> tuple[str, int]:
    path, _, rest = where.rpartition(":")
    path, _, line = path.rpartition(":")
    return (path, int(line)) if rest.isdigit() and line.isdigit() else (policy, 1)


def _command(level: str, path: str, line: int, title: str, message: str) -> str:
    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def prop(text: str) -> str:
        return data(text).replace(":", "%3A").replace(",", "%2C")

    return f"::{level} file={prop(path)},line={line},title={prop(title)}::{data(chr(10).join(map(_visible, message.splitlines())))}"


def write_outputs(result: GateResult, folder: Path) -> list[Path]:
    """Write every output.

    Returns:
        `gate.json`, `gate.txt`, `junit.xml`, `summary.md` (step summary), `comment.md` (pull request), and
        `annotations.txt`.
    """
    write_json(folder / "gate.json", to_dict(result))
    texts = {
        "gate.txt": to_text(result),
        "junit.xml": to_junit(result),
        "summary.md": to_markdown(result, SUMMARY_BYTES),
        "comment.md": to_markdown(result, COMMENT_BYTES),
        "annotations.txt": to_annotations(result),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / "gate.json", *(folder / name for name in texts)]
