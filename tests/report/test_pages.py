"""Pages and figures as files: policy, escaping, self-contained, the same every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from evalkit.compare.runs import compare_runs
from evalkit.errors import EvalkitError, EvidenceError
from evalkit.report import ReportedFailure, render_comparison, render_gallery, render_report, write_figures
from evalkit.report.plots import MOST_DOTS, cost_against_quality, distribution, score_against_frame
from evalkit.report.run_report import run_verdict
from evalkit.report.summary import summarise
from evalkit.report.svg import inline_svg
from evalkit.runs.manifest import write_manifest
from evalkit.runs.store import Run, open_run
from evalkit.testing.runs import make_run

from .test_defects import script_value


@pytest.fixture(params=["report_page", "gallery_page"])
def html(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param).read_text(encoding="utf-8")


def test_the_policy_allows_only_what_the_page_itself_carries(html: str):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert re.search(rf"{directive}[^;]*'sha256-{re.escape(digest)}'", policy)


def test_no_page_names_an_address_outside_or_an_inline_handler(html: str):
    visible = re.sub(r"http://www\.w3\.org/\S+", "", html)
    assert re.findall(r"https?://(?!127\.0\.0\.1)[^\s\"'<]+", visible) == []
    assert re.findall(r"<[^>]+\sstyle=", html) == []
    assert re.findall(r"<[^>]+\son\w+=", html) == []


def test_data_scripts_are_ascii_and_hold_no_markup(gallery_page: Path, hostile_pages: list[Path]):
    for folder in (gallery_page.parent / "data", hostile_pages[0].parent / "data"):
        for file in folder.glob("*.js"):
            text = file.read_text(encoding="ascii")
            assert "<" not in text
            assert text.startswith("evalkitData(")


def test_rendering_twice_gives_the_same_bytes(candidate: Run, tmp_path: Path):
    def files(folder: Path) -> dict[str, bytes]:
        render_report(candidate, folder / "report")
        render_gallery(candidate, out=folder / "gallery")
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_markdown_report_has_the_verdict_the_numbers_and_the_worst_clips(candidate: Run, report_page: Path):
    text = (report_page.parent / "report.md").read_text(encoding="utf-8")
    assert "**✕ Incomplete.**" in text
    assert "| Frame change |" in text
    assert "## Worst clips" in text
    assert "prompt `p0005`" in text


def test_hostile_text_stays_on_one_line_of_markdown(hostile_pages: list[Path]):
    text = (hostile_pages[1].parent / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text


def test_a_clip_with_a_safety_report_is_left_out(candidate: Run, tmp_path: Path):
    clip_id = candidate.generations["clip_id"].dropna().iloc[0]
    failure = ReportedFailure(clip_id, "01J", "safety.likeness", "S3", "new", restricted=True)
    page = render_gallery(candidate, failures=[failure], out=tmp_path / "gallery")
    assert clip_id not in (page.parent / "data" / "clips.js").read_text(encoding="ascii")
    assert not list((tmp_path / "gallery" / "media").glob(f"{clip_id}*"))
    data = script_value(page.parent / "data" / "clips.js")
    assert len(data["clips"]) == 15
    for view in data["views"]:
        for section in view["sections"]:
            assert all(clip < 15 for clip, _ in section["items"])


def test_every_clip_of_the_run_is_in_the_gallery_failed_ones_too(candidate: Run, gallery_page: Path):
    data = script_value(gallery_page.parent / "data" / "clips.js")
    assert len(data["clips"]) == len(candidate.generations) == 16
    failed = [clip for clip in data["clips"] if clip["status"] != "ok"]
    assert len(failed) == 1
    assert "out of ideas" in failed[0]["error"]
    scores = candidate.scores[candidate.scores["status"] == "ok"]
    for clip in data["clips"]:
        own = scores[(scores["prompt_id"] == clip["prompt"]) & (scores["sample_index"] == clip["sample"])]
        expected = dict(zip(own["metric_id"], own["value"], strict=True))
        for metric, value in zip(data["metrics"], clip["values"], strict=True):
            assert (value is None) == (metric["id"] not in expected)
            assert value is None or value == pytest.approx(expected[metric["id"]], rel=1e-5)


def test_a_baseline_on_other_prompts_is_refused(candidate: Run, hostile: Run, tmp_path: Path):
    with pytest.raises(EvidenceError, match="suites differ"):
        render_gallery(candidate, hostile, out=tmp_path)


def test_runs_that_are_not_the_comparisons_are_refused(candidate: Run, baseline: Run, tmp_path: Path):
    comparison = compare_runs([baseline, candidate], resamples=99)
    with pytest.raises(EvalkitError, match="not those of the comparison"):
        render_comparison(comparison, [candidate, baseline], tmp_path)


def test_a_comparison_of_three_runs_has_a_part_for_each(candidate: Run, baseline: Run, tmp_path: Path):
    runs = [baseline, candidate, baseline]
    comparison = compare_runs(runs, labels=["old", "new", "old again"], resamples=99)
    html = render_comparison(comparison, runs, tmp_path).read_text(encoding="utf-8")
    assert "Outcome of new" in html
    assert "Outcome of old again" in html


def with_status(run: Run, folder: Path, **changes) -> Run:
    write_manifest(folder, run.manifest.model_copy(update=changes))
    return open_run(folder)


def test_the_verdict_says_what_is_missing(tmp_path: Path):
    values = {"quality": np.random.default_rng(0).random((6, 2))}
    whole = make_run(tmp_path / "whole", values=values)
    assert run_verdict(summarise(whole)).word == "Complete"
    assert run_verdict(summarise(make_run(tmp_path / "holes", values=values, failed=((0, 0),)))).tone == "bad"
    unfinished = with_status(whole, tmp_path / "whole", status="generated")
    assert run_verdict(summarise(unfinished)).word == "Not finished"


def test_a_run_without_a_single_score_still_renders(tmp_path: Path):
    values = {"quality": np.full((3, 1), np.nan)}
    run = make_run(tmp_path / "run", values=values, failed=((0, 0), (1, 0), (2, 0)))
    assert "Incomplete" in render_report(run).read_text(encoding="utf-8")
    assert render_gallery(run).is_file()


def test_a_single_prompt_has_no_interval_and_says_so(tmp_path: Path):
    run = make_run(tmp_path / "run", values={"quality": np.array([[0.5, 0.6]])})
    assert "[−∞, ∞]" in render_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("file_format", ["svg", "png", "pdf"])
def test_figures_for_papers(candidate: Run, tmp_path: Path, file_format: str):
    magic = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[file_format]
    paths = write_figures(candidate, tmp_path, file_format)
    names = {path.stem for path in paths}
    assert {
        "categories",
        "distribution-temporal-change",
        "frames-temporal-change",
        "cost-temporal-change",
    } <= names
    assert all(path.read_bytes().startswith(magic) for path in paths)


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-7, 0), (1e-3, 1e4), (0.01, 0.5), (1, -500), (123456, 0), (1e9, 0)]
)
def test_nothing_of_a_plot_is_cut_off(candidate: Run, scale: float, offset: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rng = np.random.default_rng(0)
    metric = summarise(candidate).metric("temporal.change")
    figure = score_against_frame(metric, [offset + scale * rng.random(16) for _ in range(5)], "frame")
    needed = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert needed.x0 >= -0.02
    assert needed.y0 >= -0.02
    assert needed.x1 <= width + 0.02
    assert needed.y1 <= height + 0.02


def test_a_large_run_is_drawn_with_a_bounded_number_of_dots(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(2, 2500, 1))
    run = make_run(tmp_path / "run", values={"quality": values[0], "cost.seconds_per_clip": values[1]})
    summary = summarise(run)
    figure = cost_against_quality(summary.metric("cost.seconds_per_clip"), summary.metric("quality"))
    assert figure is not None
    (dots,) = figure.axes[0].collections
    assert 500 < len(dots.get_offsets()) <= MOST_DOTS


def test_inline_plots_follow_the_page_and_clash_with_nothing(candidate: Run):
    metric = summarise(candidate).metric("temporal.change")
    first, second = (inline_svg(distribution(metric), name, "a plot") for name in ("one", "two"))
    assert "style=" not in first
    assert "currentColor" in first
    assert "var(--accent)" in first
    identifiers = [
        {element.get("id") for element in ElementTree.fromstring(svg).iter() if element.get("id")}
        for svg in (first, second)
    ]
    assert identifiers[0].isdisjoint(identifiers[1])
    for svg, own in zip((first, second), identifiers, strict=True):
        used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert used == own


def test_gallery_data_reads_as_json(gallery_page: Path):
    data = script_value(gallery_page.parent / "data" / "clips.js")
    assert [view["id"] for view in data["views"]] == [
        "worst",
        "categories",
        "regressed",
        "reported",
        "control",
    ]
    assert json.dumps(data, allow_nan=False)
