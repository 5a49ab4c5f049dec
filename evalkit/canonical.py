"""One text for one value: canonical JSON, and the digest that content is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

__all__ = ["canonical_json", "content_digest"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; mappings, sequences, fractions and JSON scalars only.

    2 and 2.0 differ, as they do in JSON.

    >>> canonical_json({"b": 1, "a": (Fraction(24000, 1001), None)})
    '{"a":["24000/1001",null],"b":1}'

    Raises:
        TypeError: a value of another type, which would not have one stable text.
        ValueError: a float that is not finite.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):  # before the abstract types, which are ten times slower to ask for
        return [_plain(item) for item in value]
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise TypeError(f"a {type(value).__name__} has no canonical text: {value!r}")


def content_digest(value: Any) -> str:
    """128-bit blake2b digest (32 hex digits) of the canonical JSON of `value`."""
    text = canonical_json(value)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
