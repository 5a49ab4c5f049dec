"""What a suite is made of: `Prompt` and `Suite`, immutable, hashable, picklable and identified by their content."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from evalkit.canonical import content_digest
from evalkit.errors import SuiteError


class FrozenMapping(Mapping[str, Any]):
    """An immutable `str -> value` mapping whose nested lists and mappings are frozen too.

    `types.MappingProxyType` can be neither pickled nor hashed; prompts travel to worker processes and serve as keys.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        """Copy and freeze `items`."""
        self._items: dict[str, Any] = {str(key): freeze(value) for key, value in dict(items).items()}

    def __getitem__(self, key: str) -> Any:
        """Return the value of `key`."""
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in the order they were written."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._items)

    def __hash__(self) -> int:
        """Return a hash that ignores the order of the keys, as equality does."""
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        """Show the mapping as the dict it was made from."""
        return f"FrozenMapping({self._items!r})"

    def __reduce__(self) -> tuple[type[FrozenMapping], tuple[dict[str, Any]]]:
        """Pickle as the plain dict inside."""
        return FrozenMapping, (dict(self._items),)


def freeze(value: Any) -> Any:
    """Return `value` with mappings as `FrozenMapping` and lists as tuples, all the way down."""
    if isinstance(value, FrozenMapping):
        return value
    if isinstance(value, Mapping):
        return FrozenMapping(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """Return `value` as plain dicts and lists: the inverse of `freeze`, ready for JSON or YAML."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to ask a model for.

    Attributes:
        id: Stable name, unique within its suite; results of different versions are paired by it.
        text: What the model is told.
        category: The one thing that the prompt probes; tables are grouped by it.
        tags: Free labels; `class.leaf` tags name a leaf of the failure taxonomy, e.g. `anatomy.hands`.
        negative: Negative prompt; empty when there is none.
        params: Settings that the prompt needs, e.g. `num_frames`, `height`, `width`, `fps`, `camera`, `style`,
            `guidance_scale`. A model that lacks one records it as ignored.
        expect: Typed attributes that a detector can check, e.g. `{"colour": "red", "count": 2}`.
        notes: A remark for people.
    """

    id: str
    text: str
    category: str
    tags: tuple[str, ...] = ()
    negative: str = ""
    params: Mapping[str, Any] = field(default_factory=FrozenMapping)
    expect: Mapping[str, Any] = field(default_factory=FrozenMapping)
    notes: str = ""

    def __post_init__(self) -> None:
        """Freeze what the caller may still hold a reference to."""
        object.__setattr__(self, "tags", tuple(self.tags))
        object.__setattr__(self, "params", FrozenMapping(self.params))
        object.__setattr__(self, "expect", FrozenMapping(self.expect))

    def to_dict(self) -> dict[str, Any]:
        """Return the prompt as plain data with every key present, ready for JSON."""
        return {
            "id": self.id,
            "text": self.text,
            "category": self.category,
            "tags": list(self.tags),
            "negative": self.negative,
            "params": thaw(self.params),
            "expect": thaw(self.expect),
            "notes": self.notes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Prompt:
        """Rebuild a prompt from `to_dict`."""
        return cls(**{**data, "tags": tuple(data.get("tags", ()))})

    @property
    def digest(self) -> str:
        """Digest of all content: changes when any field does."""
        return content_digest(self.to_dict())


@dataclass(frozen=True)
class Suite:
    """A named, versioned set of prompts.

    Attributes:
        name: Name of the suite, e.g. `core`.
        version: Version of the suite as its author counts, e.g. `1.0`.
        licence: SPDX identifier of the prompts' licence.
        description: What the suite probes.
        prompts: The prompts in the order of the file; ids are unique.
        source: Where the suite came from (a path or an importer's word); no part of the digest.
        probes: What each category probes, in a sentence; no part of the digest.
    """

    name: str
    version: str
    licence: str
    description: str
    prompts: tuple[Prompt, ...]
    source: str = ""
    probes: Mapping[str, str] = field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        """Refuse duplicate ids: every table joins on them."""
        object.__setattr__(self, "prompts", tuple(self.prompts))
        object.__setattr__(self, "probes", FrozenMapping(self.probes))
        if len(self.by_id) != len(self.prompts):
            twice, _ = Counter(prompt.id for prompt in self.prompts).most_common(1)[0]
            raise SuiteError(f"suite {self.name!r}: duplicate prompt id {twice!r}; ids must be unique")

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        """Iterate over the prompts in order."""
        return iter(self.prompts)

    @cached_property
    def by_id(self) -> Mapping[str, Prompt]:
        """Prompts by id."""
        return {prompt.id: prompt for prompt in self.prompts}

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Categories in order of first appearance."""
        return tuple(dict.fromkeys(prompt.category for prompt in self.prompts))

    @cached_property
    def digest(self) -> str:
        """Digest of name, version and every prompt; the order of the prompts does not count."""
        return content_digest([self.name, self.version, sorted(prompt.digest for prompt in self.prompts)])

    def select(
        self,
        categories: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Suite:
        """Return the suite restricted to prompts that satisfy every given filter, in the suite's order.

        Args:
            categories: Keep these categories.
            tags: Keep prompts with at least one of these tags; a class such as `anatomy` stands for all its leaves.
            ids: Keep these prompts.
            limit: Keep at most this many, taken from the categories in turn, so that a small slice stays balanced.

        Raises:
            SuiteError: A category, tag or id that the suite does not have, a limit below 1, or nothing left.
        """
        _refuse_unknown(self, "category", categories, self.categories)
        _refuse_unknown(self, "prompt id", ids, tuple(self.by_id))
        known_tags = {
            part for prompt in self.prompts for tag in prompt.tags for part in (tag, tag.split(".")[0])
        }
        _refuse_unknown(self, "tag", tags, tuple(sorted(known_tags)))
        kept = [
            prompt
            for prompt in self.prompts
            if (categories is None or prompt.category in categories)
            and (ids is None or prompt.id in ids)
            and (tags is None or any(tag in tags or tag.split(".")[0] in tags for tag in prompt.tags))
        ]
        if limit is not None:
            kept = _balanced(kept, limit)
        if not kept:
            raise SuiteError(f"suite {self.name!r}: no prompt satisfies all of the filters; drop one of them")
        return replace(self, prompts=tuple(kept))


def _refuse_unknown(suite: Suite, what: str, asked: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in asked or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            cure = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:20]) or 'none'}"
            raise SuiteError(f"suite {suite.name!r} has no {what} {name!r}; {cure}")


def _balanced(prompts: Sequence[Prompt], limit: int) -> list[Prompt]:
    if limit < 1:
        raise SuiteError(f"limit must be at least 1, got {limit}")
    rank: dict[str, int] = {}
    order = []
    for position, prompt in enumerate(prompts):
        turn = rank[prompt.category] = rank.get(prompt.category, -1) + 1
        order.append((turn, position))
    return [prompts[position] for position in sorted(position for _, position in sorted(order)[:limit])]
