"""Regression cases as YAML files: read strictly, with file, line and column of everything that is wrong."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import SuiteError
from evalkit.suites.cases import CASE_SCHEMA, Case, Detector
from evalkit.suites.document import Document, Problem, nearest
from evalkit.suites.expect import read_expect, read_params
from evalkit.suites.prompt import FrozenMapping, thaw

if TYPE_CHECKING:
    import yaml

__all__ = ["case_document", "load_cases"]

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
_STATISTICS = ("mean", "max", "min")
_KEYS = (
    "schema",
    "id",
    "report",
    "state",
    "category",
    "summary",
    "model",
    "prompt",
    "seeds",
    "must_pass",
    "detector",
)
_REQUIRED = ("schema", "id", "state", "category", "prompt", "seeds", "detector")


def case_document(case: Case) -> dict[str, Any]:
    """The case as the content of its file, ready for YAML."""
    detector: dict[str, Any] = {"metric": case.detector.metric}
    if case.detector.window is not None:
        detector |= {"window": list(case.detector.window), "statistic": case.detector.statistic}
    detector |= {
        name: limit for name in ("min", "max") if (limit := getattr(case.detector, name)) is not None
    }
    prompt = {
        "text": case.text,
        "negative": case.negative,
        "params": thaw(case.params),
        "expect": thaw(case.expect),
    }
    content = {
        "schema": CASE_SCHEMA,
        "id": case.id,
        "report": case.report,
        "state": case.state,
        "category": case.category,
        "summary": case.summary,
        "model": case.model,
        "prompt": {name: value for name, value in prompt.items() if value or name == "text"},
        "seeds": list(case.seeds),
        "must_pass": case.must_pass,
        "detector": detector,
    }
    return {name: value for name, value in content.items() if value != ""}


def load_cases(path: Path | str) -> list[Case]:
    """Read cases, in the order of their ids.

    Args:
        path: a folder of YAML files, one file, or a pattern such as `regressions/*.yaml`.

    Raises:
        SuiteError: with `file:line:column` of everything that is wrong; no file at all; or an id that appears twice.
    """
    files = _files(Path(path))
    if not files:
        raise SuiteError(
            f"{path} holds no regression case (*.yaml); `evalkit failures promote ID` writes one"
        )
    problems: list[Problem] = []
    cases: dict[str, Case] = {}
    for file in files:
        case, found = _read_case(file)
        problems += found
        if case is None:
            continue
        if case.id in cases:
            message = f"case id {case.id!r} is taken by {cases[case.id].source}; give it another"
            problems.append(Problem(str(file), 1, 1, "error", "duplicate-id", message))
        cases[case.id] = case
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise SuiteError("\n".join(map(str, errors)))
    return [cases[name] for name in sorted(cases)]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.yaml"))
    return sorted(map(Path, glob.glob(str(path)))) if not path.is_file() else [path]  # noqa: PTH207


def _read_case(file: Path) -> tuple[Case | None, list[Problem]]:
    document = Document(file)
    if document.root is None:
        return None, document.problems
    entries = document.mapping(document.root, "the case", _KEYS)
    for name in _REQUIRED:
        if name not in entries:
            document.error(document.root, "missing-key", f"the case has no `{name}`; add it at the top level")
    read = _Reader(document, entries)
    words = {
        name: read.text(name) for name in ("schema", "id", "report", "state", "category", "summary", "model")
    }
    read.one_of("schema", words["schema"], (CASE_SCHEMA,))
    read.one_of("state", words["state"], ("open", "fixed"))
    if "id" in entries and not _ID.fullmatch(words["id"]):
        document.error(
            entries["id"], "bad-id", f"case id {words['id']!r} must be lower-case letters, digits and '-'"
        )
    prompt = read.prompt()
    seeds = read.seeds()
    must_pass = read.whole("must_pass", default=(len(seeds) + 1) // 2 or 1)
    if seeds and not 1 <= must_pass <= len(seeds):
        place = entries.get("must_pass", entries["seeds"])
        document.error(
            place, "wrong-value", f"must_pass is {must_pass}; give 1 to {len(seeds)}, the number of seeds"
        )
    detector = read.detector()
    if any(problem.severity == "error" for problem in document.problems) or detector is None:
        return None, document.problems
    case = Case(
        id=words["id"],
        report=words["report"],
        category=words["category"],
        summary=words["summary"],
        model=words["model"],
        state="fixed" if words["state"] == "fixed" else "open",
        seeds=seeds,
        must_pass=must_pass,
        detector=detector,
        source=str(file),
        **prompt,
    )
    return case, document.problems


class _Reader:
    """Reads the parts of a case; every deviation is recorded on the document."""

    def __init__(self, document: Document, entries: Mapping[str, yaml.Node]) -> None:
        self.document, self.entries = document, entries

    def text(self, name: str) -> str:
        return self.document.text(self.entries[name], f"`{name}`") if name in self.entries else ""

    def one_of(self, name: str, value: str, known: Sequence[str]) -> None:
        if name in self.entries and value not in known:
            message = f"`{name}` is {value!r}; {nearest(value, known)}"
            self.document.error(self.entries[name], "wrong-value", message)

    def whole(self, name: str, default: int) -> int:
        if name not in self.entries:
            return default
        value = self.document.plain(self.entries[name], f"`{name}`")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.document.error(
                self.entries[name], "wrong-type", f"`{name}` must be a whole number, got {value!r}"
            )
            return default
        return value

    def prompt(self) -> dict[str, Any]:
        if "prompt" not in self.entries:
            return {}
        document = self.document
        entries = document.mapping(self.entries["prompt"], "prompt", ("text", "negative", "params", "expect"))
        if "text" not in entries:
            document.error(self.entries["prompt"], "missing-key", "the prompt has no `text`; add it")
        return {
            "text": document.text(entries["text"], "prompt.text") if "text" in entries else "",
            "negative": document.text(entries["negative"], "prompt.negative")
            if "negative" in entries
            else "",
            "params": FrozenMapping(read_params(document, entries["params"]) if "params" in entries else {}),
            "expect": FrozenMapping(read_expect(document, entries["expect"]) if "expect" in entries else {}),
        }

    def seeds(self) -> tuple[int, ...]:
        if "seeds" not in self.entries:
            return ()
        node = self.entries["seeds"]
        seeds = [self.document.plain(item, "a seed") for item in self.document.items(node, "seeds")]
        if not seeds or any(not isinstance(s, int) or isinstance(s, bool) or s < 0 for s in seeds):
            self.document.error(node, "wrong-type", "seeds must be whole numbers of 0 or more, at least one")
            return ()
        if len(set(seeds)) != len(seeds):
            self.document.error(node, "wrong-value", "a seed appears twice; one clip would count double")
        return tuple(seeds)

    def detector(self) -> Detector | None:
        if "detector" not in self.entries:
            return None
        document, node = self.document, self.entries["detector"]
        entries = document.mapping(node, "detector", ("metric", "window", "statistic", "min", "max"))
        if "metric" not in entries:
            document.error(node, "missing-key", "the detector has no `metric`; add its id")
            return None
        limits = {
            name: document.plain(entries[name], f"detector.{name}")
            for name in ("min", "max")
            if name in entries
        }
        if len(limits) != 1 or any(
            not isinstance(v, int | float) or isinstance(v, bool) for v in limits.values()
        ):
            document.error(
                node, "wrong-value", "the detector needs one limit, `min` or `max`, and it is a number"
            )
            return None
        window = None
        if "window" in entries:
            window = document.plain(entries["window"], "detector.window")
            whole = isinstance(window, list) and all(
                isinstance(f, int) and not isinstance(f, bool) for f in window
            )
            if not whole or len(window) != 2 or not 0 <= window[0] <= window[1]:
                message = "detector.window must be [first frame, last frame], counted from 0, both included"
                document.error(entries["window"], "wrong-value", message)
                return None
        statistic = (
            document.text(entries["statistic"], "detector.statistic") if "statistic" in entries else "mean"
        )
        if statistic not in _STATISTICS:
            document.error(
                entries["statistic"],
                "wrong-value",
                f"detector.statistic is {statistic!r}; {nearest(statistic, _STATISTICS)}",
            )
            return None
        return Detector(
            metric=document.text(entries["metric"], "detector.metric"),
            window=(window[0], window[1]) if window else None,
            statistic=statistic,  # type: ignore[arg-type]  # checked above
            **{name: float(limit) for name, limit in limits.items()},
        )
