"""Reports leave and come back: every export format, and import."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from evalkit.failures.errors import InvalidReport
from evalkit.failures.exporting import FORMATS, export, import_reports
from evalkit.failures.github import issue_form, issue_markdown
from evalkit.failures.record import FailureReport
from evalkit.failures.store import FailureStore, open_store
from evalkit.failures.taxonomy import load_taxonomy

Make = Callable[..., FailureReport]


def full_report(make_report: Make) -> FailureReport:
    return make_report(
        title="=1+1",
        prompt="@all look at <b>this</b> ![x](http://evil/) #1\n```\nend",
        observation={
            "observed": "it `flickers`",
            "segments": [{"first": 0, "last": 7}],
            "boxes": [{"frame": 2, "x": 0.25, "y": 0.5, "w": 0.5, "h": 0.25}],
        },
        evidence={"clip": {"fps": "8", "num_frames": 16}},
        detectors=[
            {
                "metric_id": "m",
                "metric_version": "1",
                "status": "ok",
                "value": 0.5,
                "direction": "lower",
                "percentile": 90,
            }
        ],
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_restricted_reports_leave_only_when_asked_for(lite: FailureStore, make_report: Make, kind: str):
    hidden = lite.add(make_report(category="safety.deception", prompt="the secret"), actor="a").report
    out = export(lite, [hidden], kind)
    assert out.withheld == 1
    assert "the secret" not in out.text
    assert hidden.id not in out.text
    if kind in ("json", "jsonl", "csv", "avid", "github-issue"):
        assert "the secret" in export(lite, [hidden], kind, restricted=True).text


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_what_was_exported_can_be_imported(lite: FailureStore, make_report: Make, tmp_path: Path, kind: str):
    digest = lite.add_media(b"log", "text/plain", name="log", actor="a").digest
    reports = [full_report(make_report), make_report(evidence={"attachments": [digest]})]
    for report in reports:
        lite.add(report, actor="anna")
    text = export(lite, reports, kind).text
    other = open_store(f"sqlite:///{tmp_path / 'other' / 'f.db'}")
    done = import_reports(other, text, actor="tom")
    assert set(done.added) == {report.id for report in reports}
    assert other.get(reports[0].id) == reports[0]
    second = other.get(reports[1].id)
    assert second.evidence.attachments == ()  # files do not travel, and the history says so
    assert digest in other.history(second.id)[0].note
    assert "anna: filed" in other.history(second.id)[0].note
    assert import_reports(other, text, actor="tom").added == ()
    other.close()


def test_an_import_is_all_or_nothing(lite: FailureStore, make_report: Make):
    good = make_report().model_dump(mode="json")
    for text, said in (
        (json.dumps([good, {**good, "severity": "S7"}]), "report 2 of the file: severity"),
        ("nonsense", "line 1 is not JSON"),
        ("3", "neither reports"),
    ):
        with pytest.raises(InvalidReport, match=said):
            import_reports(lite, text, actor="tom")
    assert lite.find() == []


def test_label_studio_counts_seconds_and_percent_and_fiftyone_from_one(lite: FailureStore, make_report: Make):
    digest = lite.add_media(b"v", "video/mp4", name="v", actor="a").digest
    data = full_report(make_report).model_dump(mode="json")
    data["evidence"]["clip"]["preview"] = digest
    report = make_report(**{k: v for k, v in data.items() if k not in ("id", "created", "updated")})
    (task,) = json.loads(export(lite, [report], "label-studio", media_prefix="/data/").text)
    span, box = task["annotations"][0]["result"]
    assert task["data"]["video"] == f"/data/{digest}"
    assert (span["value"]["start"], span["value"]["end"]) == (0.0, 1.0)
    assert {k: box["value"]["sequence"][0][k] for k in ("frame", "x", "y", "width", "height", "time")} == {
        "frame": 3, "x": 25, "y": 50, "width": 50, "height": 25, "time": 0.25,
    }  # fmt: skip
    (sample,) = json.loads(export(lite, [report], "fiftyone").text)["samples"]
    assert sample["spans"]["detections"][0]["support"] == [1, 8]
    assert sample["frames"]["3"]["failures"]["detections"][0]["bounding_box"] == [0.25, 0.5, 0.5, 0.25]


def test_avid_reports_name_model_problem_and_measurement(lite: FailureStore, make_report: Make):
    (document,) = json.loads(export(lite, [full_report(make_report)], "avid").text)
    assert document["affects"]["artifacts"] == [{"type": "Model", "name": "reference v1"}]
    assert document["metrics"][0]["results"] == {"value": 0.5, "percentile": 90.0}
    assert document["impact"]["avid"]["sep_view"] == ["P0201: Resilience/ Stability"]


def test_csv_has_one_line_a_report_and_no_formula(lite: FailureStore, make_report: Make):
    import csv

    rows = list(csv.DictReader(io.StringIO(export(lite, [full_report(make_report)], "csv").text, newline="")))
    assert len(rows) == 1
    assert rows[0]["title"] == "'=1+1"
    assert rows[0]["prompt"].startswith("'@all")
    assert (rows[0]["first_frame"], rows[0]["last_frame"]) == ("0", "7")


def test_an_issue_shows_what_was_typed_and_runs_none_of_it(make_report: Make):
    text = issue_markdown(full_report(make_report))
    before_prompt = text.split("**Prompt**")[0]
    assert "@all" not in before_prompt  # a joiner keeps it from notifying people
    assert "#1" not in before_prompt
    assert "<b>" not in before_prompt
    assert "http://" not in before_prompt
    assert "````text\n@all" in text  # the fence is longer than any run inside
    assert (
        len(
            issue_markdown(
                make_report(
                    observation={"observed": "x" * 20_000, "expected": "y" * 20_000}, prompt="z" * 20_000
                )
            )
        )
        < 65_536
    )


def test_the_issue_form_offers_every_leaf():
    form = yaml.safe_load(issue_form())
    category = next(field for field in form["body"] if field.get("id") == "category")
    assert [option.partition(":")[0] for option in category["attributes"]["options"]] == list(
        load_taxonomy().ids
    )
    assert all(field["type"] in ("markdown", "dropdown", "input", "textarea") for field in form["body"])
