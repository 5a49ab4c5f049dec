"""Where a clip says it comes from, and what its file gives away: read from the original bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from evalkit.errors import MissingExtra, NotApplicable, UnreadableVideo
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["C2PA", "Credentials", "MetadataLeak", "read_credentials"]

# A file must not make the reader call out: neither for a manifest kept elsewhere nor for revocation lists.
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
# Formats by container: the reader goes by what the bytes are, not by the file's name.
_MIME = {"mp4": "video/mp4", "mov": "video/quicktime", "gif": "image/gif", "webp": "image/webp"}
_UNKNOWN_SIGNER = "signingCredential.untrusted"


class Credentials(NamedTuple):
    """Content credentials (C2PA) of a file.

    state: `missing`; `invalid` (changed after signing, or a broken manifest); `valid` (intact, signer not on
        a trust list); `trusted`.
    problems: the validator's codes, such as `assertion.bmffHash.mismatch`.
    generator: the program that made the claim.
    """

    state: Literal["missing", "invalid", "valid", "trusted"]
    problems: tuple[str, ...] = ()
    generator: str = ""


def read_credentials(path: Path) -> Credentials:
    """Read and check the C2PA manifest of a file's original bytes, without any network access.

    Raises:
        MissingExtra: `c2pa-python` is not installed.
        NotApplicable: the container cannot carry a manifest that the reader knows, or the manifest is kept
            elsewhere.
        UnreadableVideo: the file is missing or not a video.
    """
    try:
        import c2pa
    except ImportError as error:
        raise MissingExtra("c2pa", "provenance", "reading content credentials") from error
    from evalkit.video.container import sniff

    container = sniff(path).name
    if container not in _MIME:
        raise NotApplicable(f"content credentials are not defined for {container} files")
    try:
        with path.open("rb") as file, c2pa.Context.from_dict(_OFFLINE) as context:
            reader = c2pa.Reader.try_create(_MIME[container], file, context=context)
            if reader is None:
                return Credentials("missing")
            with reader:
                return _credentials(reader.get_validation_state(), reader.get_validation_results(), reader)
    except c2pa.C2paError as error:
        if str(error).startswith("Remote"):
            reason = "the manifest is kept on a server, and evalkit does not fetch it"
            raise NotApplicable(reason) from error
        return Credentials("invalid", (str(error),))
    except OSError as error:
        raise UnreadableVideo(f"{path}: cannot be read ({error.strerror or error})") from error


def _credentials(state: str | None, results: dict | None, reader: object) -> Credentials:  # type: ignore[type-arg]
    failures = ((results or {}).get("activeManifest") or {}).get("failure") or []
    problems = tuple(sorted({item["code"] for item in failures} - {_UNKNOWN_SIGNER}))
    manifest = reader.get_active_manifest() or {}  # type: ignore[attr-defined]
    makers = manifest.get("claim_generator_info") or []
    generator = makers[0].get("name", "") if makers else manifest.get("claim_generator", "")
    known: dict[str | None, Literal["valid", "trusted"]] = {"Valid": "valid", "Trusted": "trusted"}
    return Credentials(known.get(state, "invalid"), problems, generator)


def _original(clip: ClipFeatures) -> Path:
    if clip.record.path is None:
        raise NotApplicable(
            "evalkit wrote this file itself; provenance is measured on files as a model delivers them"
        )
    return Path(clip.record.path)


class C2PA(BaseMetric):
    """Whether the file carries content credentials that are intact."""

    spec = MetricSpec(
        id="provenance.c2pa",
        version="1",
        title="Content credentials",
        description="The file does not say, or says wrongly, that and by what it was generated.",
        direction="higher",
        range=(0.0, 1.0),
        formula="1 if the file's C2PA manifest is present and its hashes and signature hold, else 0",
        limits="A signer outside any trust list counts as intact; revocation and remote manifests are not looked up.",
        evidence="measured",
        citation="C2PA technical specification 2.2, through c2pa-python",
        default=False,
        leaf="provenance.manifest_missing",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """1 for intact credentials, 0 for missing or broken ones."""
        state = read_credentials(_original(clip)).state
        return ClipScore(float(state in ("valid", "trusted")))


class MetadataLeak(BaseMetric):
    """How many private facts the file's tags give away."""

    spec = MetricSpec(
        id="provenance.metadata_leak",
        version="1",
        title="Leaks in metadata",
        description="The file's tags hold the prompt, a path, a place, a name or a key.",
        direction="lower",
        unit="findings",
        range=(0.0, None),
        formula="number of (tag, kind) pairs; kinds: prompt or settings, path, place, person, secret",
        limits="Looks at tags of container, video stream, EXIF and XMP; not at subtitles, attachments or pixels.",
        evidence="measured",
        default=False,
        leaf="provenance.metadata_leak",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Findings in the tags of the original file."""
        from evalkit.metrics.functional.leaks import metadata_leaks
        from evalkit.video import probe

        prompt = clip.record.prompt
        tags = probe(_original(clip)).metadata
        return ClipScore(float(len(metadata_leaks(tags, prompt.text if prompt else None))))
