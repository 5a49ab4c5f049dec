"""Report, compare page and gallery in a real Chromium: clean, accessible, laid out, inert."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.compare.runs import compare_runs
from evalkit.report import render_comparison
from evalkit.runs.store import Run

pytestmark = pytest.mark.browser

WIDTHS = (1440, 900, 400)


@pytest.fixture(scope="session")
def compare_page(baseline: Run, candidate: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [baseline, candidate]
    comparison = compare_runs(runs, margins={"alignment.made_up": 0.02}, resamples=199)
    return render_comparison(comparison, runs, tmp_path_factory.mktemp("compare"))


@pytest.fixture(params=["report", "gallery", "compare"])
def page_file(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_page")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_violation_and_no_complaint(open_page, page_file: Path, scheme: str):
    watched = open_page(page_file, color_scheme=scheme)
    watched.page.wait_for_selector(".tile, .strip")
    assert watched.axe() == []
    watched.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_detail_view_is_accessible(open_page, gallery_page: Path, scheme: str):
    watched = open_page(gallery_page.resolve().as_uri() + "#clip=p0003%2F%2F0", color_scheme=scheme)
    watched.page.wait_for_selector("#metrics tr")
    watched.until("document.getElementById('evidence').textContent")
    assert watched.axe() == []


def test_nothing_overflows_at_any_width(open_page, page_file: Path):
    watched = open_page(page_file)
    watched.page.wait_for_selector(".tile, .strip")
    for width in WIDTHS:
        watched.page.set_viewport_size({"width": width, "height": 900})
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_text_is_inert_and_laid_out(open_page, hostile_pages: list[Path]):
    for file in hostile_pages:
        watched = open_page(file, viewport={"width": 400, "height": 900})
        page = watched.page
        page.wait_for_selector(".tile, .card")
        assert "owned" not in page.title()
        for forbidden in ("b", "i", "u", "script[src^=x]", "img[src=x]", "svg[onload]"):
            inside = page.locator(f".tile {forbidden}, .card {forbidden}, h1 {forbidden}, table {forbidden}")
            assert inside.count() == 0, forbidden
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert watched.axe() == []
        watched.assert_clean()
    watched = open_page(hostile_pages[0])
    page = watched.page
    page.wait_for_selector(".tile")
    for tile in page.locator(".tile .open").all()[:8]:
        tile.click()
        page.wait_for_selector("#detail[open]")
        assert page.locator("#detail b >> text=category").count() == 0
        assert page.evaluate(
            "document.querySelector('#detail').scrollWidth <= document.querySelector('#detail').clientWidth"
        )
        page.keyboard.press("Escape")


def test_a_worst_clip_of_the_report_plays_when_asked(open_page, report_page: Path):
    watched = open_page(report_page)
    page = watched.page
    calm = page.locator("[data-player]:not([data-flashes]) .play").first
    calm.click()
    watched.until("document.querySelector('video').readyState === 4")
    assert page.locator("video").count() == 1
    page.locator("[data-flashes] .play").first.click()
    assert page.locator("[data-flashes] video").count() == 0
    page.get_by_text("Play at quarter speed").click()
    page.wait_for_selector("[data-flashes] video")
    assert page.evaluate("document.querySelector('[data-flashes] video').playbackRate") == 0.25
    assert page.locator("video").count() == 1
    watched.assert_clean()


def test_the_theme_button_switches_and_is_remembered(open_page, report_page: Path):
    watched = open_page(report_page, color_scheme="light")
    page = watched.page
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("[data-theme-button]").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    # What the browser keeps for the page is handed to a second one: when it writes that down is the browser's affair.
    kept = page.evaluate("JSON.stringify(localStorage)")
    again = open_page("about:blank", color_scheme="light")
    again.page.add_init_script(f"Object.assign(localStorage, {kept})")
    again.page.goto(report_page.resolve().as_uri())
    assert again.page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    watched.assert_clean()


def test_links_of_the_report_lead_to_files(open_page, report_page: Path):
    watched = open_page(report_page)
    page = watched.page
    targets = page.eval_on_selector_all(
        "main a[href]:not([href^='#']), nav a[href]:not([href^='#'])",
        "a => a.map(x => x.getAttribute('href'))",
    )
    assert any("gallery" in target for target in targets)
    for target in targets:
        assert (report_page.parent / target.split("#")[0]).resolve().is_file(), target


def test_prints_on_paper(open_page, page_file: Path):
    watched = open_page(page_file)
    watched.page.wait_for_selector(".tile, .strip")
    watched.page.emulate_media(media="print")
    assert watched.page.evaluate("getComputedStyle(document.querySelector('.theme')).display") == "none"
    assert len(watched.page.pdf()) > 10_000
