"""From the fields of the filing form to the fields of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from evalkit.failures.drafts import clip_fields, keep_clip
from evalkit.failures.errors import InvalidReport
from evalkit.failures.record import ClipEvidence, FailureReport, Segment, describe, parse_report

if TYPE_CHECKING:
    from starlette.datastructures import FormData

    from evalkit.failures.store import FailureStore
    from evalkit.server.accounts import Account
    from evalkit.server.library import Library

__all__ = ["read_report"]

_NUMBERS = {
    "seed": int,
    "width": int,
    "height": int,
    "num_frames": int,
    "num_inference_steps": int,
    "context_window": int,
    "guidance_scale": float,
}
_TEXTS = ("fps", "scheduler", "negative_prompt", "commit", "precision", "quantization", "model_spec")


def read_report(
    form: FormData, *, store: FailureStore, library: Library, account: Account, keep: bool
) -> FailureReport:
    """The report that a form describes.

    Args:
        form: fields of the filing form, or of the JSON API's short form.
        store, library: where uploads and runs are.
        account: who files.
        keep: whether the clip's preview is copied into the store; not for a mere look at duplicates.

    Raises:
        InvalidReport: a field is wrong; the message names it.
    """
    observation = {
        "expected": _text(form, "expected"),
        "observed": _text(form, "observed"),
        "segments": [segment.model_dump() for segment in _segments(form)],
        "boxes": _boxes(form),
    }
    category = _text(form, "category")
    fields = _clip(form, store, library, account, category, _segments(form), keep)
    evidence = fields.setdefault("evidence", {})
    if attachments := [digest for digest in map(str, form.getlist("attachment")) if digest]:
        evidence["attachments"] = attachments
    if not evidence.get("clip") and not attachments:
        evidence["statement"] = observation["observed"]
    reproduction = dict(fields.get("reproduction", {}))
    for name, kind in _NUMBERS.items():
        if text := _text(form, name).strip():
            try:
                reproduction[name] = kind(text)
            except ValueError:
                raise InvalidReport(f"{name.replace('_', ' ')}: {text!r} is no number") from None
    reproduction |= {name: text for name in _TEXTS if (text := _text(form, name).strip())}
    fields |= {
        "category": category,
        "severity": _text(form, "severity"),
        "title": _text(form, "title").strip(),
        "source": {"kind": "human", "name": account.name},
        "observation": observation,
        "reproduction": reproduction,
    }
    if "prompt" in form:
        fields["prompt"] = _text(form, "prompt")
    if _text(form, "model_name").strip():
        fields["model"] = {
            "name": _text(form, "model_name").strip(),
            "version": _text(form, "model_version").strip(),
        }
    return parse_report(fields)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


def _segments(form: FormData) -> list[Segment]:
    firsts, lasts = form.getlist("first"), form.getlist("last")
    found = []
    for first, last in zip(firsts, lasts, strict=False):
        if str(first).strip() == "" and str(last).strip() == "":
            continue
        try:
            found.append(Segment(first=int(str(first)), last=int(str(last) or str(first))))
        except ValidationError as error:
            raise InvalidReport(f"span: {describe(error)}") from error
        except ValueError:
            raise InvalidReport(f"span: {first!r} to {last!r} are no frames") from None
    return found


def _boxes(form: FormData) -> list[dict[str, float]]:
    columns = [form.getlist(f"box_{name}") for name in ("frame", "x", "y", "w", "h")]
    boxes = []
    for values in zip(*columns, strict=False):
        texts = [str(value).strip() for value in values]
        if not all(texts):
            continue
        try:
            frame, x, y, w, h = int(texts[0]), *(float(text) / 100 for text in texts[1:])
        except ValueError:
            raise InvalidReport(f"box: {', '.join(texts)} are no numbers") from None
        boxes.append({"frame": frame, "x": x, "y": y, "w": w, "h": h})
    return boxes


def _clip(
    form: FormData,
    store: FailureStore,
    library: Library,
    account: Account,
    category: str,
    segments: list[Segment],
    keep: bool,
) -> dict[str, Any]:
    run_id, clip_id = _text(form, "run"), _text(form, "clip")
    if run_id:
        run = library.run(run_id)
        row = library.clips(run).get(clip_id) if run is not None else None
        if run is None or row is None:
            raise InvalidReport(f"clip {clip_id!r} of run {run_id!r} is not on this server any more")
        fields = clip_fields(run, row, segments, category)
        if keep:
            fields["evidence"]["clip"] |= keep_clip(store, run, row, actor=account.name)
        return fields
    if uploaded := _text(form, "upload"):
        return {"evidence": {"clip": _uploaded(uploaded, store, account)}}
    return {}


def _uploaded(text: str, store: FailureStore, account: Account) -> dict[str, Any]:
    try:
        data = json.loads(text)
        clip = ClipEvidence.model_validate(data if isinstance(data, Mapping) else {})
    except (ValueError, ValidationError) as error:
        raise InvalidReport("the uploaded clip cannot be read back from the form; upload it again") from error
    row = store.media_row(clip.original or "")
    if row is None or (not account.may("triage") and row["added_by"] != account.name):
        raise InvalidReport("the uploaded clip is not on this server any more; upload it again")
    # Where a clip was made is known for clips of runs alone; nobody may claim it for a file.
    return clip.model_copy(update={"run_id": None, "prompt_id": "", "sample_index": None}).model_dump()
