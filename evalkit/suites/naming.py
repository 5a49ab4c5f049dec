"""Ids made from texts, for prompts that come without one."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_LENGTH = 56


def prompt_id(text: str) -> str:
    """Return an id that is readable, names a file safely and differs whenever the text does.

    The words are kept where they say everything; a few digits of a digest are added where case, punctuation or
    length got lost. The id depends on nothing but the text.

    >>> prompt_id("a red ball")
    'a-red-ball'
    >>> prompt_id("A red ball!") == prompt_id("a red ball!")
    False
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if slug.replace("-", " ") == text and len(slug) <= _LENGTH:
        return slug
    digits = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{slug[:_LENGTH].strip('-')}-{digits}".lstrip("-")
