"""What a file's tags give away. Pure: tags in, findings out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

__all__ = ["Leak", "metadata_leaks"]

Kind = Literal["prompt", "path", "place", "person", "secret"]

_EXCERPT = 60
# A prompt of one or two words ("a dog") is found in innocent titles.
_PROMPT_WORDS = 3

_GENERATOR_SETTINGS = re.compile(
    r'"class_type"\s*:'  # ComfyUI's graph
    r"|\bSteps:\s*\d+,.*\bSampler:"  # the web UIs' parameter line
    r"|\bnegative[ _]prompt\b"
    r'|"(?:positive_)?prompt"\s*:',
    re.IGNORECASE | re.DOTALL,
)
_PATH = re.compile(
    r"(?:file://\S"
    r"|(?<![\w/.])/(?:home|Users|root|mnt|media|data|workspace|scratch|opt|srv|var|tmp)/\w"
    r"|\b[A-Za-z]:\\{1,2}\w"
    r"|\\\\[\w.-]+\\\w)"
)
_PLACE_TAG = re.compile(r"location|gps", re.IGNORECASE)
_PLACE = re.compile(r"^[+-]\d{2}(?:\.\d+)?[+-]\d{3}(?:\.\d+)?")  # ISO 6709
_PERSON_TAG = re.compile(
    r"(?:^|[.:])(?:artist|author|creator|composer|owner|cameraownername|byline)$", re.IGNORECASE
)
_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[opsur]_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,})"
    r"|://[^/\s:@]+:[^/\s@]+@"
    r"|[?&](?:X-Amz-Signature|sig|token|access_token)=\w"
)


class Leak(NamedTuple):
    """One finding.

    kind: `prompt` (the prompt or the generator's settings), `path` (a folder of the author's machine),
        `place`, `person`, `secret` (a key or a password).
    tag: the tag that holds it.
    excerpt: the beginning of its text; of a secret only the first characters, so that a report is no leak.
    """

    kind: Kind
    tag: str
    excerpt: str


def metadata_leaks(tags: Mapping[str, str], prompt: str | None = None) -> tuple[Leak, ...]:
    """Private data in the tags of a container, at most one finding of a kind per tag.

    Args:
        tags: name to text, as `evalkit.video.probe(path).metadata` gives them.
        prompt: the clip's prompt, to be recognised in any tag.

    Example:
        >>> metadata_leaks({"comment": "saved to /home/ada/clips/ball.mp4", "encoder": "Lavf62"})
        (Leak(kind='path', tag='comment', excerpt='saved to /home/ada/clips/ball.mp4'),)
    """
    wanted = _words(prompt or "")
    found = []
    for tag, text in tags.items():
        kinds: list[Kind] = []
        known_prompt = len(wanted.split()) >= _PROMPT_WORDS and wanted in _words(text)
        if known_prompt or _GENERATOR_SETTINGS.search(text):
            kinds.append("prompt")
        if _PATH.search(text):
            kinds.append("path")
        if _PLACE.match(text) or (_PLACE_TAG.search(tag) and text.strip()):
            kinds.append("place")
        # A password in a URL looks like an address: "//ada:secret@example.org".
        if _EMAIL.search(_SECRET.sub(" ", text)) or (_PERSON_TAG.search(tag) and text.strip()):
            kinds.append("person")
        secret = _SECRET.search(text)
        if secret:
            kinds.append("secret")
        for kind in kinds:
            # Every excerpt of a tag that holds a secret is cut before it.
            end = min(secret.start() + 4, _EXCERPT) if secret else _EXCERPT
            begin = secret.start() if secret and kind == "secret" else 0
            shown = " ".join(text[begin:end].split())
            found.append(Leak(kind, tag, shown + ("..." if len(text) > end else "")))
    return tuple(found)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
