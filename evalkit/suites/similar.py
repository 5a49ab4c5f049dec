"""Prompts that look like the same prompt twice.

A near-duplicate counts one question double and narrows every interval without cause. Prompts that differ in `expect`,
`params` or `negative` are minimal pairs ("moves left", "moves right") and are left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.suites.document import Document
    from evalkit.suites.load import Placed

_ARTICLES = frozenset({"a", "an", "the"})
_WORDS = re.compile(r"\w+(?:'\w+)?")
_JACCARD = 0.8
_SPELLING = 0.82


def normalise(text: str) -> str:
    """Return the words of `text` without case, punctuation, articles and compatibility forms.

    >>> normalise("The  Cat -- and a dog!")
    'cat and dog'
    """
    words = _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())
    return " ".join(word for word in words if word not in _ARTICLES)


def find_similar(document: Document, placed: Sequence[Placed]) -> None:
    """Warn on `document` about ids and texts that are nearly the same as an earlier one."""
    _similar_ids(document, placed)
    _similar_texts(document, placed)


def _similar_ids(document: Document, placed: Sequence[Placed]) -> None:
    first: dict[str, Placed] = {}
    for entry in placed:
        squeezed = re.sub(r"[._-]", "", entry.prompt.id).casefold()
        earlier = first.setdefault(squeezed, entry)
        if earlier.prompt.id.casefold() != entry.prompt.id.casefold():
            message = (
                f"prompt id {entry.prompt.id!r} is easily confused with {earlier.prompt.id!r} "
                f"(line {earlier.id_node.start_mark.line + 1}); rename one"
            )
            document.warn(entry.id_node, "near-duplicate-id", message)


def _similar_texts(document: Document, placed: Sequence[Placed]) -> None:
    groups: dict[object, list[Placed]] = {}
    for entry in placed:
        settings = (entry.prompt.expect, entry.prompt.params, entry.prompt.negative)
        groups.setdefault(settings, []).append(entry)
    for group in groups.values():
        words = [normalise(entry.prompt.text).split() for entry in group]
        sets = [frozenset(entry) for entry in words]
        for later in range(len(group)):
            for earlier in range(later):
                said = _likeness(
                    group[earlier], group[later], words[earlier], words[later], sets[earlier], sets[later]
                )
                if said:
                    code, how = said
                    other = group[earlier]
                    message = (
                        f"text of {group[later].prompt.id!r} {how} that of {other.prompt.id!r} "
                        f"(line {other.text_node.start_mark.line + 1}); one question would count twice, "
                        "drop one or make them differ in what they probe"
                    )
                    document.warn(group[later].text_node, code, message)
                    break


def _likeness(
    first: Placed,
    second: Placed,
    first_words: list[str],
    second_words: list[str],
    first_set: frozenset[str],
    second_set: frozenset[str],
) -> tuple[str, str] | None:
    if first_words == second_words and first_words:
        if first.prompt.text == second.prompt.text:
            return "duplicate-text", "is the same as"
        if first.prompt.text.casefold() == second.prompt.text.casefold():
            return "case-collision", "differs only by case from"
        return "near-duplicate-text", "has the same words as"
    smaller, larger = sorted((len(first_set), len(second_set)))
    if smaller < _JACCARD * larger:
        return None
    shared = len(first_set & second_set)
    jaccard = shared / max(1, smaller + larger - shared)
    if jaccard >= _JACCARD:
        return "near-duplicate-text", f"shares {jaccard:.0%} of its words with"
    other, own = first_set - second_set, second_set - first_set
    if len(other) == len(own) == 1:  # a plural or a misspelt word
        (before,), (after,) = other, own
        if SequenceMatcher(None, before, after, autojunk=False).ratio() >= _SPELLING:
            return "near-duplicate-text", f"differs only in {after!r} for {before!r} from"
    return None
