"""Everything that evalkit raises on purpose.

    EvalkitError                     exit code 2: usage or configuration
    ├── SuiteError                   a prompt suite or prompt file is wrong
    ├── UnknownName                  a metric, model or extractor nobody registered ("did you mean ...?")
    ├── MissingExtra                 an optional package is not installed; names the extra
    ├── MissingWeights               a network's weights are not at hand; says how to get them
    ├── VideoError                   one clip cannot be used; becomes a row with status `failed`
    │   ├── UnreadableVideo          corrupt, empty, truncated, or not a video at all
    │   ├── UnsupportedVideo         readable, but not something evalkit can score faithfully
    │   └── VideoLimitExceeded       larger than the configured limits
    ├── NotApplicable                a metric has no meaning for this clip; becomes a status, never a number
    ├── RunError                     a run folder is missing, damaged, locked, or belongs to another plan
    └── EvidenceError                exit code 4: evidence is incomplete or cannot be compared

A message is one paragraph: what was wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "EvalkitError",
    "EvidenceError",
    "MissingExtra",
    "MissingWeights",
    "NotApplicable",
    "RunError",
    "SuiteError",
    "UnknownName",
    "UnreadableVideo",
    "UnsupportedVideo",
    "VideoError",
    "VideoLimitExceeded",
]


class EvalkitError(Exception):
    """Base class. `exit_code` is what the command line ends with when nobody handles the error."""

    exit_code = 2


class SuiteError(EvalkitError):
    """A prompt suite or prompt file is wrong; the message carries `file:line:column`."""


class UnknownName(EvalkitError):
    """Nothing is registered under this name.

    Args:
        kind: what was looked up, in the singular (`"metric"`).
        name: the name that was asked for.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(self.known)}"
        )
        super().__init__(f"unknown {kind} {name!r}; {hint} (`evalkit {kind}s list` shows all)")


class MissingExtra(EvalkitError):
    """An optional package is needed.

    Args:
        package: the import that failed.
        extra: the extra of evalkit that installs it.
        purpose: what needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'evalkit[{extra}]'"
        )


class MissingWeights(EvalkitError):
    """Weights of a network are not at hand. Scores that need them get the status `skipped`."""


class VideoError(EvalkitError):
    """One clip cannot be used. A run records it on the clip's rows and goes on."""


class UnreadableVideo(VideoError):
    """Corrupt, empty, truncated, or not a video at all."""


class UnsupportedVideo(VideoError):
    """Readable, but not something that can be scored faithfully."""


class VideoLimitExceeded(VideoError):
    """More pixels, frames, seconds, bytes or streams than the limits allow."""


class NotApplicable(EvalkitError):
    """A metric has no meaning for this clip (one frame, no prompt, no expectation)."""


class RunError(EvalkitError):
    """A run folder is missing, damaged, in use by another process, or was made from another plan."""


class EvidenceError(EvalkitError):
    """Evidence is incomplete (clips are missing) or two runs cannot be compared."""

    exit_code = 4
