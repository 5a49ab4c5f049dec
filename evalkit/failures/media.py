"""Files of reports, named by their content: the same clip is kept once, and no name from outside becomes a path."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from evalkit.failures.errors import InvalidReport
from evalkit.runs.files import atomic_path

__all__ = ["ATTACHMENT_TYPES", "MediaFolder", "StoredFile", "UnwantedFile", "sniff_attachment"]

_DIGEST = re.compile(r"[0-9a-f]{32}")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
)
ATTACHMENT_TYPES = ("image/png", "image/jpeg", "application/json", "text/plain")
_MARKUP = re.compile(rb"<\s*(!doctype|html|svg|script|iframe|\?xml|body|head|img|math)", re.IGNORECASE)


class UnwantedFile(InvalidReport):
    """A file of a kind that is not taken."""


class StoredFile(NamedTuple):
    """A file of the media folder."""

    digest: str
    size: int


class MediaFolder:
    """A folder of files whose names are their blake2b digests (32 hex digits).

    Args:
        root: the folder; made when the first file comes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the file of this digest lies.

        Raises:
            InvalidReport: not a digest. Whatever reaches a path has passed here.
        """
        if not _DIGEST.fullmatch(digest):
            raise InvalidReport(f"{digest!r} is no media digest; it has 32 characters of 0-9 and a-f")
        return self.root / digest[:2] / digest

    def add(self, source: Path) -> StoredFile:
        """Copy a file into the folder; a file that is there already is kept as it is."""
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, _hasher).hexdigest()
        target = self.path(digest)
        if not target.is_file():
            with atomic_path(target) as temporary, source.open("rb") as file, temporary.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        return StoredFile(digest, target.stat().st_size)

    def add_bytes(self, content: bytes) -> StoredFile:
        """Keep a small file that is in memory."""
        digest = _hasher(content).hexdigest()
        target = self.path(digest)
        if not target.is_file():
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
        return StoredFile(digest, len(content))

    def remove(self, digest: str) -> None:
        """Remove a file that no report uses."""
        self.path(digest).unlink(missing_ok=True)


def _hasher(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=16)


def sniff_attachment(content: bytes) -> str:
    """The type of an attachment by its bytes; what it is called and what the sender says of it play no part.

    Returns:
        One of `ATTACHMENT_TYPES`.

    Raises:
        UnwantedFile: another kind of file. Markup (SVG, HTML, XML) is refused even as text, since a browser that is
            talked into rendering it would run its scripts; archives are refused because nobody unpacks them safely.
    """
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = None
    if text is None or "\x00" in text or not text.strip():
        raise UnwantedFile(
            f"the attachment is none of {', '.join(ATTACHMENT_TYPES)} (it begins {content[:8].hex(' ')!r}); "
            "convert it, or put a link into the description"
        )
    if _MARKUP.search(content):
        raise UnwantedFile(
            "the attachment holds markup (SVG, HTML or XML); attach a PNG, JPEG, JSON or plain text"
        )
    return "application/json" if text.lstrip()[0] in "{[" else "text/plain"
