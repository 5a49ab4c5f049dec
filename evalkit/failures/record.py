"""The record of a failure: what is asked of a report, in types that refuse what is not a report."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from evalkit.failures.errors import InvalidReport
from evalkit.failures.states import Status
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.failures.ulid import ULID_PATTERN, new_ulid

__all__ = [
    "SCHEMA_VERSION",
    "BoxKeyframe",
    "ClipEvidence",
    "Confirmation",
    "Detector",
    "Evidence",
    "FailureReport",
    "Model",
    "Observation",
    "Reproduction",
    "Segment",
    "Source",
    "now",
    "parse_report",
]

SCHEMA_VERSION: Literal[1] = 1
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def now() -> datetime:
    """The present moment in UTC, in whole milliseconds, which is what both databases keep."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _printable(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}; remove it")
    return text


def _fraction(text: str) -> str:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number or a fraction such as 24000/1001") from None
    if not 0 < rate <= 1000:
        raise ValueError("must lie in (0, 1000] frames per second")
    return str(rate)


Line = Annotated[str, Field(max_length=500), AfterValidator(_printable)]
Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Prose = Annotated[str, Field(max_length=20_000), AfterValidator(_printable)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
Ulid = Annotated[str, Field(pattern=ULID_PATTERN)]
FrameRate = Annotated[str, Field(max_length=40), AfterValidator(_fraction)]
FrameIndex = Annotated[int, Field(ge=0, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Scalar = str | int | float | bool | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Source(_Part):
    """Who says so: a person, a metric that stands out, or a gate that stopped a version."""

    kind: Literal["human", "metric", "gate"]
    name: Word = Field(description="the reporter, the metric id, or the gate's check id")


class Model(_Part):
    """Name and version of the model that made the clip."""

    name: Word
    version: Word


class Reproduction(_Part):
    """Everything needed to make the clip again; filled from the run when the clip comes from one."""

    model_spec: Line = Field("", description="what `evalkit run --model` was given")
    weights: dict[Word, Word] = Field({}, description="file or component to digest")
    commit: Line = ""
    precision: Line = ""
    quantization: Line = ""
    device: Line = ""
    seed: Seed | None = None
    width: Annotated[int, Field(ge=1, le=65_536)] | None = None
    height: Annotated[int, Field(ge=1, le=65_536)] | None = None
    num_frames: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    fps: FrameRate | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    guidance_scale: float | None = None
    scheduler: Line = ""
    negative_prompt: Prose = ""
    context_window: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    conditioning: dict[Word, Digest] = Field({}, description="kind of input to the digest of its file")
    params: dict[Word, Scalar] = Field({}, description="further settings of the model")
    expect: dict[Word, Any] = Field({}, description="the prompt's typed expectations, where it has any")
    workflow: Digest | None = Field(None, description="attachment: the raw workflow file")


class Segment(_Part):
    """A span of frames, both ends included, counted from 0."""

    first: FrameIndex
    last: FrameIndex

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the last frame {self.last} lies before the first {self.first}; swap them")
        return self


class BoxKeyframe(_Part):
    """A box on one frame; left, top, width and height as shares of the picture's width and height."""

    frame: FrameIndex
    x: Ratio
    y: Ratio
    w: Annotated[float, Field(gt=0, le=1)]
    h: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.x + self.w > 1 + 1e-6 or self.y + self.h > 1 + 1e-6:
            raise ValueError("the box reaches beyond the picture; x + w and y + h must be at most 1")
        return self


class Observation(_Part):
    """What was expected, what was seen, when and where."""

    expected: Prose = ""
    observed: Prose = ""
    segments: Annotated[tuple[Segment, ...], Field(max_length=100)] = ()
    boxes: Annotated[tuple[BoxKeyframe, ...], Field(max_length=1000)] = ()


class ClipEvidence(_Part):
    """A clip that shows the failure.

    `clip_id` names its pixels; `run_id`, `prompt_id` and `sample_index` tell where it was made; `preview`, `poster`
    and `original` are digests of files in the media store.
    """

    clip_id: Digest | None = None
    run_id: Digest | None = None
    prompt_id: Line = ""
    sample_index: Annotated[int, Field(ge=0)] | None = None
    original: Digest | None = None
    preview: Digest | None = None
    poster: Digest | None = None
    num_frames: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    width: Annotated[int, Field(ge=1, le=65_536)] | None = None
    height: Annotated[int, Field(ge=1, le=65_536)] | None = None
    fps: FrameRate | None = None
    phash: Annotated[str, Field(pattern=r"^([0-9a-f]{16}){1,8}$")] | None = None


class Evidence(_Part):
    """A clip, files, or words where there is nothing to show."""

    clip: ClipEvidence | None = None
    attachments: Annotated[tuple[Digest, ...], Field(max_length=10)] = ()
    statement: Prose = ""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.clip is None and not self.attachments and not self.statement.strip():
            raise ValueError("evidence is empty; give a clip, a file, or a statement in words")
        return self


class Detector(_Part):
    """What a metric says about the clip.

    `percentile` is the share of the run's clips, in percent, that this metric puts in a better place: 100 is the worst
    clip. `verdict` compares it with the reporter: `agrees` from 80 on, `disagrees` up to 50, else `unsure`.
    """

    metric_id: Word
    metric_version: Word
    status: Literal["ok", "failed", "skipped", "not_applicable", "generation_failed"]
    value: float | None = None
    reason: Line = ""
    direction: Literal["higher", "lower"]
    percentile: Annotated[float, Field(ge=0, le=100)] | None = None
    window: Segment | None = None
    window_value: float | None = None
    verdict: Literal["agrees", "disagrees", "unsure"] = "unsure"

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if (self.value is None) == (self.status == "ok"):
            raise ValueError("a detector has a value exactly where its status is ok")
        if self.status != "ok" and not self.reason:
            raise ValueError("a detector without a value needs a reason")
        return self


class Confirmation(_Part):
    """Somebody or something else has seen the failure too.

    `reproduction`: the model was run again over `seeds`, and `failed_seeds` broke the detector's limit.
    `witness`: a second person saw it.
    """

    kind: Literal["reproduction", "witness"]
    by: Word
    at: AwareDatetime
    model: Model | None = None
    seeds: tuple[Seed, ...] = ()
    failed_seeds: tuple[Seed, ...] = ()
    metric_id: Line = ""
    limit: float | None = None
    values: dict[str, float | None] = {}  # seed to the detector's value
    note: Prose = ""

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.kind == "reproduction" and not self.seeds:
            raise ValueError("a reproduction names the seeds that it ran")
        if not set(self.failed_seeds) <= set(self.seeds):
            raise ValueError("failed_seeds holds a seed that was not run")
        return self


class FailureReport(_Part):
    """A structured, reproducible report of one failure."""

    id: Ulid = Field(default_factory=new_ulid)
    schema_version: Literal[1] = SCHEMA_VERSION
    taxonomy_version: Word = Field(default_factory=lambda: load_taxonomy().version)
    created: AwareDatetime = Field(default_factory=now)
    updated: AwareDatetime = Field(default_factory=now)
    status: Status = "new"
    category: Word
    severity: Literal["S0", "S1", "S2", "S3"]
    source: Source
    model: Model
    prompt: Prose
    evidence: Evidence
    title: Line = ""
    observation: Observation = Observation()
    reproduction: Reproduction = Field(default_factory=lambda: Reproduction.model_validate({}))
    detectors: Annotated[tuple[Detector, ...], Field(max_length=200)] = ()
    confirmations: Annotated[tuple[Confirmation, ...], Field(max_length=200)] = ()
    duplicate_of: Ulid | None = None
    case: Line = ""  # id of the regression case that it was promoted to
    tags: Annotated[tuple[Word, ...], Field(max_length=50)] = ()

    @property
    def restricted(self) -> bool:
        """Whether the report stays out of galleries, exports and logs unless asked for."""
        return load_taxonomy().leaf(self.category).restricted

    @property
    def failed_of_tried(self) -> tuple[int, int]:
        """Seeds that showed the failure, and seeds that were run, over all reproductions."""
        runs = [entry for entry in self.confirmations if entry.kind == "reproduction"]
        return sum(len(entry.failed_seeds) for entry in runs), sum(len(entry.seeds) for entry in runs)

    @property
    def people(self) -> frozenset[str]:
        """Who has seen the failure with their own eyes."""
        witnesses = {entry.by for entry in self.confirmations if entry.kind == "witness"}
        return frozenset(witnesses | ({self.source.name} if self.source.kind == "human" else set()))

    @model_validator(mode="after")
    def _rules(self) -> Self:
        try:
            leaf = load_taxonomy().leaf(self.category)
        except InvalidReport as error:
            raise ValueError(str(error)) from error
        if not leaf.media and (self.evidence.clip is not None or self.evidence.attachments):
            raise ValueError(f"{leaf.id} accepts no media; describe the failure in evidence.statement only")
        if (self.status == "duplicate") != (self.duplicate_of is not None):
            raise ValueError(
                "a duplicate names the report it repeats in duplicate_of, and only a duplicate does"
            )
        if self.duplicate_of == self.id:
            raise ValueError("a report cannot be its own duplicate")
        if self.status == "confirmed" and self.failed_of_tried[0] == 0 and len(self.people) < 2:
            raise ValueError(
                "confirmed needs a reproduction in which at least one seed failed, or two people who saw it"
            )
        clip = self.evidence.clip
        frames = clip.num_frames if clip else None
        marks = [segment.last for segment in self.observation.segments]
        marks += [box.frame for box in self.observation.boxes]
        if frames is not None and any(mark >= frames for mark in marks):
            raise ValueError(f"frame {max(marks)} lies beyond the clip, whose frames are 0 to {frames - 1}")
        return self


def parse_report(data: Any) -> FailureReport:
    """Read a report from JSON data.

    Raises:
        InvalidReport: naming each field that is wrong.
    """
    try:
        return FailureReport.model_validate(data)
    except ValidationError as error:
        raise InvalidReport(describe(error)) from error


def describe(error: ValidationError) -> str:
    """One sentence for each wrong field, without pydantic's vocabulary."""
    said = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(map(str, problem["loc"])) or "report"
        said.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(said)
