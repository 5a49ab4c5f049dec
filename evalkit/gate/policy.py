"""The policy file: which checks a candidate must pass, read strictly.

    schema: evalkit.gate/v1
    baseline: release-1.2
    defaults: {alpha: 0.05, inconclusive: fail, max_failed_clips: 0}
    checks:
      - {id: flicker, metric: temporal.flicker, margin: 0.01}
    waivers: waivers.yaml

Unknown keys, duplicate keys, aliases and wrong types are errors with `file:line:column`. `1e-3` is a number,
`on` is not a boolean. Paths are relative to the policy file.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalkit.errors import EvalkitError
from evalkit.gate.fields import Fields
from evalkit.stats.looks import MAX_LOOKS
from evalkit.suites.document import Document, Problem

if TYPE_CHECKING:
    import yaml

__all__ = [
    "SCHEMA",
    "Absolute",
    "Budget",
    "Cases",
    "Check",
    "Defaults",
    "NonInferiority",
    "Policy",
    "PolicyError",
    "Quantile",
    "Rate",
    "Slice",
    "Where",
    "load_policy",
    "read_policy",
]

SCHEMA = "evalkit.gate/v1"
RESERVED = ("completeness", "generation-failures")

Level = Literal["fail", "warn"]


class PolicyError(EvalkitError):
    """A policy, waiver or lock file is wrong; every line starts with `file:line:column`."""


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; lines and columns count from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Slice:
    """The prompts of one category or with one tag, named in the policy beforehand."""

    kind: Literal["category", "tag"]
    name: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """What every check has.

    Attributes:
        id: unique name, used in results, waivers and JUnit.
        where: its place in the policy.
        level: `fail` blocks, `warn` only tells.
        why: a sentence for whoever is blocked by it.
        slice: judge only these prompts.
        safety: cannot be waived.
    """

    id: str
    where: Where
    level: Level = "fail"
    why: str = ""
    slice: Slice | None = None
    safety: bool = False

    kind = "check"


@dataclass(frozen=True, kw_only=True)
class NonInferiority(Check):
    """No worse than the baseline by more than `margin`; None takes the margin locked with the baseline."""

    metric: str
    margin: float | None = None

    kind = "non-inferiority"


@dataclass(frozen=True, kw_only=True)
class Absolute(Check):
    """The mean over prompts is at least `min`, or at most `max`."""

    metric: str
    min: float | None = None
    max: float | None = None

    kind = "absolute"


@dataclass(frozen=True, kw_only=True)
class Rate(Check):
    """At most `max_rate` of the clips score worse than `worse_than`."""

    metric: str
    worse_than: float
    max_rate: float

    kind = "rate"


@dataclass(frozen=True, kw_only=True)
class Quantile(Check):
    """The `q` quantile over clips is at least `min`, or at most `max`."""

    metric: str
    q: float
    min: float | None = None
    max: float | None = None

    kind = "quantile"


@dataclass(frozen=True, kw_only=True)
class Cases(Check):
    """Regression cases that are fixed stay fixed; `suite` is a folder, file or pattern of case files."""

    suite: str

    kind = "cases"


@dataclass(frozen=True, kw_only=True)
class Budget(Check):
    """A cost rises by at most `max_relative_increase` against the baseline, or stays below `max`."""

    metric: str
    max_relative_increase: float | None = None
    max: float | None = None

    kind = "budget"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every check.

    Attributes:
        alpha: one-sided error of each bound, and of naming any regression by mistake (Holm).
        inconclusive: `fail` ends with exit code 3, `warn` lets it pass with a warning.
        failed_clips: `incomplete`: more than `max_failed_clips` clips without a value make a check INVALID;
            `worst_case`: they count as the worst score, however many.
        max_failed_clips: clips without a value that are tolerated, and count as the worst score.
        seed: of the resampling.
    """

    alpha: float = 0.05
    inconclusive: Literal["fail", "warn"] = "fail"
    failed_clips: Literal["incomplete", "worst_case"] = "incomplete"
    max_failed_clips: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Policy:
    """A policy that was read without an error.

    Attributes:
        path: the file.
        baseline: name of a promoted baseline or path of a run, "" if the policy names none.
        defaults: see `Defaults`.
        checks: in the order of the file.
        waivers: path of the waiver file, or None.
        looks: information fractions of a planned sequence of looks; () for a single look.
        warnings: problems that do not stop the gate.
    """

    path: Path
    baseline: str
    defaults: Defaults
    checks: tuple[Check, ...]
    waivers: Path | None = None
    looks: tuple[float, ...] = ()
    warnings: tuple[Problem, ...] = field(default=())


_COMMON = ("id", "kind", "level", "why", "slice", "safety")
_KINDS: Mapping[str, tuple[type[Check], tuple[str, ...], tuple[str, ...]]] = {
    # kind: (class, required keys, optional keys)
    "non-inferiority": (NonInferiority, ("metric",), ("margin",)),
    "absolute": (Absolute, ("metric",), ("min", "max")),
    "rate": (Rate, ("metric", "worse_than", "max_rate"), ()),
    "quantile": (Quantile, ("metric", "q"), ("min", "max")),
    "cases": (Cases, ("suite",), ()),
    "budget": (Budget, ("metric",), ("max_relative_increase", "max")),
}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def load_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        PolicyError: lists everything that is wrong, each with `file:line:column`.
    """
    policy, problems = read_policy(path)
    errors = [problem for problem in problems if problem.severity == "error"]
    if policy is None or errors:
        raise PolicyError("\n".join(map(str, errors)))
    return policy


def read_policy(path: Path) -> tuple[Policy | None, list[Problem]]:
    """Read a policy and say everything that is wrong with it; None where there is an error."""
    document = Document(path)
    if document.root is None:
        return None, document.problems
    known = ("schema", "baseline", "defaults", "checks", "waivers", "looks")
    top = Fields(document, document.root, "the policy", known, required=("schema", "checks"))
    top.word("schema", (SCHEMA,), "")
    defaults = _defaults(top)
    checks = _checks(top)
    waivers = top.text("waivers")
    looks = _looks(top)
    if any(problem.severity == "error" for problem in document.problems):
        return None, document.problems
    policy = Policy(
        path,
        top.text("baseline"),
        defaults,
        tuple(checks),
        path.parent / waivers if waivers else None,
        looks,
        tuple(document.problems),
    )
    return policy, document.problems


def _defaults(top: Fields) -> Defaults:
    node = top.get("defaults")
    if node is None:
        return Defaults()
    known = ("alpha", "inconclusive", "failed_clips", "max_failed_clips", "seed")
    fields = Fields(top.document, node, "defaults", known)
    return Defaults(
        alpha=fields.number("alpha", 0.05, above=0, below=0.5) or 0.05,
        inconclusive=fields.word("inconclusive", ("fail", "warn"), "fail"),  # type: ignore[arg-type]
        failed_clips=fields.word("failed_clips", ("incomplete", "worst_case"), "incomplete"),  # type: ignore[arg-type]
        max_failed_clips=fields.whole("max_failed_clips", 0),
        seed=fields.whole("seed", 0),
    )


def _looks(top: Fields) -> tuple[float, ...]:
    node = top.get("looks")
    if node is None:
        return ()
    looks = tuple(top.scalar(item, "a look") or 0.0 for item in top.document.items(node, "looks"))
    rising = all(a < b for a, b in itertools.pairwise(looks))
    if not (1 <= len(looks) <= MAX_LOOKS and rising and looks[0] > 0 and looks[-1] == 1):
        message = f"looks are at most {MAX_LOOKS} shares of the prompts that rise to 1, such as [0.5, 1]"
        top.document.error(node, "wrong-value", message)
    return looks


def _checks(top: Fields) -> list[Check]:
    node = top.get("checks")
    items = [] if node is None else top.document.items(node, "checks")
    if node is not None and not items:
        top.document.error(
            node, "wrong-value", "a policy without checks passes everything; write at least one"
        )
    checks: list[Check] = []
    for item in items:
        check = _check(top.document, item)
        if check is None:
            continue
        first = next((other for other in checks if other.id == check.id), None)
        if first is not None:
            message = (
                f"duplicate check id {check.id!r} (first at line {first.where.line}); ids must be unique"
            )
            top.document.error(item, "duplicate-id", message)
        checks.append(check)
    return checks


def _check(document: Document, node: yaml.Node) -> Check | None:
    before = len(document.problems)
    # The kind decides which keys are known, so it is read first, from all keys of all kinds.
    every = {key for _, required, optional in _KINDS.values() for key in (*required, *optional)}
    peek = Fields(document, node, "a check", (*_COMMON, *sorted(every)), required=("id",))
    kind = peek.word("kind", tuple(_KINDS), "non-inferiority")
    if len(document.problems) > before:
        return None
    maker, required, optional = _KINDS[kind]
    name = peek.text("id")
    fields = Fields(
        document, node, f"check {name!r} of kind {kind}", (*_COMMON, *required, *optional), required
    )
    mark = node.start_mark
    options: dict[str, Any] = {"id": name, "where": Where(str(document.path), mark.line + 1, mark.column + 1)}
    if not _ID.fullmatch(name) or name in RESERVED:
        reason = (
            "is a name of evalkit's own" if name in RESERVED else "must be letters, digits, '.', '_' and '-'"
        )
        document.error(fields.place("id"), "bad-id", f"check id {name!r} {reason}; choose another")
    options["level"] = fields.word("level", ("fail", "warn"), "fail")
    options["why"] = fields.text("why")
    options["safety"] = fields.flag("safety") or fields.text("metric").startswith("safety.")
    options["slice"] = _slice(fields)
    for key in (*required, *optional):
        if key in ("metric", "suite"):
            options[key] = fields.text(key)
        elif key in ("max_rate", "q"):
            options[key] = fields.number(key, None, above=0 if key == "q" else -1e-300, below=1)
        elif key in ("margin", "max_relative_increase"):
            options[key] = fields.number(key, None, above=0)
        else:
            options[key] = fields.number(key, None)
    limits = {
        "absolute": ("min", "max"),
        "quantile": ("min", "max"),
        "budget": ("max_relative_increase", "max"),
    }
    if kind in limits:
        given = [key for key in limits[kind] if key in fields.entries]
        if len(given) != 1:
            document.error(
                node, "wrong-value", f"check {name!r} needs exactly one of {' and '.join(limits[kind])}"
            )
    if kind == "cases" and options["slice"] is not None:
        document.error(
            fields.place("slice"), "wrong-value", "a check of kind cases has no slice; narrow `suite`"
        )
    return maker(**options) if len(document.problems) == before else None


def _slice(fields: Fields) -> Slice | None:
    node = fields.get("slice")
    if node is None:
        return None
    inner = Fields(fields.document, node, "slice", ("category", "tag"))
    if len(inner.entries) != 1:
        fields.document.error(node, "wrong-value", "a slice names one `category` or one `tag`")
        return None
    kind: Literal["category", "tag"] = "category" if "category" in inner.entries else "tag"
    return Slice(kind, inner.text(kind))
