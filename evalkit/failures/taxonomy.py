"""The taxonomy of failures: classes, leaves, severities, and which metric is evidence for which leaf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from evalkit.failures.errors import unknown

__all__ = ["FailureClass", "Leaf", "Severity", "Taxonomy", "load_taxonomy"]

Level = Literal["measured", "proxy", "human"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One way to fail.

    Args:
        id: `class.leaf`.
        title: the leaf's name in words.
        definition, example: what it is, and what it looks like.
        level: how good the evidence of a metric is; `human` when only people can tell.
        metrics: ids of the metrics that are evidence, best first.
        restricted: blurred, and left out of galleries, exports and logs unless asked for.
        media: whether clips and files may be attached at all.
    """

    id: str
    title: str
    definition: str
    example: str
    level: Level
    metrics: tuple[str, ...]
    restricted: bool
    media: bool


@dataclass(frozen=True, slots=True)
class FailureClass:
    """A family of leaves."""

    id: str
    title: str
    definition: str
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Severity:
    """How bad, with a written definition, so that two people mean the same."""

    id: str
    title: str
    definition: str


@dataclass(frozen=True)
class Taxonomy:
    """A version of the taxonomy."""

    version: str
    classes: tuple[FailureClass, ...]
    severities: tuple[Severity, ...]

    def __iter__(self) -> Iterator[Leaf]:
        return (leaf for family in self.classes for leaf in family.leaves)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all leaves, in the order of the file."""
        return tuple(leaf.id for leaf in self)

    def leaf(self, category: str) -> Leaf:
        """The leaf of this id.

        Raises:
            InvalidReport: there is none; the message names the closest ones.

        >>> load_taxonomy().leaf("temporal.flicker").level
        'measured'
        """
        found = next((leaf for leaf in self if leaf.id == category), None)
        if found is None:
            raise unknown("failure category", category, self.ids)
        return found

    def leaves_of_metric(self, metric_id: str) -> tuple[Leaf, ...]:
        """Leaves that the metric is evidence for; the one it is best evidence for comes first."""
        found = [leaf for leaf in self if metric_id in leaf.metrics]
        return tuple(sorted(found, key=lambda leaf: leaf.metrics.index(metric_id)))


@cache
def load_taxonomy() -> Taxonomy:
    """The taxonomy that this version of evalkit ships."""
    text = resources.files("evalkit.failures").joinpath("taxonomy.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return Taxonomy(
        version=data["version"],
        classes=tuple(_read_class(name, entry) for name, entry in data["classes"].items()),
        severities=tuple(Severity(name, **entry) for name, entry in data["severities"].items()),
    )


def _read_class(name: str, entry: Mapping[str, Any]) -> FailureClass:
    restricted = entry.get("restricted", False)
    leaves = tuple(
        Leaf(
            id=f"{name}.{leaf}",
            title=leaf.replace("_", " "),
            definition=said["definition"],
            example=said["example"],
            level=said["evidence"]["level"],
            metrics=tuple(said["evidence"]["metrics"]),
            restricted=restricted,
            media=said.get("media", True),
        )
        for leaf, said in entry["leaves"].items()
    )
    return FailureClass(name, entry["title"], entry["definition"], leaves)
