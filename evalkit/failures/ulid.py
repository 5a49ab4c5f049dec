"""ULIDs: ids that sort by the time they were made (https://github.com/ulid/spec)."""

from __future__ import annotations

import os
import time

__all__ = ["ULID_PATTERN", "new_ulid", "ulid_milliseconds"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_PATTERN = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"


def new_ulid(milliseconds: int | None = None, entropy: bytes | None = None) -> str:
    """26 characters of Crockford's base 32: 48 bits of Unix time in milliseconds, then 80 random bits.

    Args:
        milliseconds: since 1970; now by default.
        entropy: 10 bytes; from the operating system by default.

    >>> new_ulid(1469918176385, bytes(10))
    '01ARYZ6S410000000000000000'
    """
    stamp = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    number = stamp << 80 | int.from_bytes(os.urandom(10) if entropy is None else entropy, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def ulid_milliseconds(ulid: str) -> int:
    """The time in a ULID, in milliseconds since 1970.

    >>> ulid_milliseconds("01ARYZ6S410000000000000000")
    1469918176385
    """
    number = 0
    for character in ulid:
        number = number << 5 | _ALPHABET.index(character)
    return number >> 80
