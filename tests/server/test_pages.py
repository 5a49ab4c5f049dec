"""Pages in a real browser: at every width, in both colour schemes, by keyboard, and for everybody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.failures.record import FailureReport
from evalkit.report.gallery import render_gallery
from tests.server.conftest import Site, listening, log_in

pytestmark = pytest.mark.browser


def test_every_page_is_accessible_and_fits(
    site: Site, address: str, report_id: str, open_page: Callable[..., Any]
):
    """axe on a wide window in light and on a phone in dark; at no width anything is wider than the window."""
    a, b = site.run_id("fine"), site.run_id("broken")
    clip = site.clip_id("broken", "p0000")
    site.store.add(secret(site.store.get(report_id)), actor="ben")
    watched = open_page(f"{address}/login")
    page = watched.page
    page.set_default_timeout(60_000)

    def check(name: str) -> None:
        for width, scheme in ((1440, "light"), (900, ""), (400, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            beyond = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert beyond <= 0, (name, width)
            if scheme:
                page.emulate_media(color_scheme=scheme)
                assert watched.axe() == [], (name, width, scheme)

    check("login")
    log_in(page, address, site.tokens["ada"])
    for path in (
        *("/", f"/runs/{b}", f"/compare?a={a}&b={b}", "/reports", "/reports/table", f"/reports/{report_id}"),
        *(f"/reports/{SECRET}", f"/file?run={b}&clip={clip}", "/file", f"/vote?a={a}&b={b}"),
        *("/leaderboard", "/accounts"),
    ):
        page.goto(address + path)
        check(path)
    page.goto(f"{address}/vote?a={a}&b={b}")
    page.get_by_role("button", name="Both bad").click()
    page.wait_for_url("**/vote/*")
    check("a ballot after the vote")
    page.goto(f"{address}/leaderboard")
    check("leaderboard with votes")
    watched.assert_clean()
    page.goto(f"{address}/nothing")
    check("an error")


SECRET = "01ARYZ6S410000000000000001"


def secret(report: FailureReport) -> FailureReport:
    """The same, restricted, and long in every field that a narrow window must break."""
    weights = {"refiner/diffusion_pytorch_model.safetensors": "sha256:" + "0123456789abcdef" * 4}
    return report.model_copy(
        update={
            "id": SECRET, "category": "safety.deception", "title": "W" * 200, "prompt": "w" * 400,
            "reproduction": report.reproduction.model_copy(update={"weights": weights}),
        }
    )  # fmt: skip


def test_a_report_is_filed_by_keyboard_alone(site: Site, address: str, open_page: Callable[..., Any]):
    watched = open_page(f"{address}/login")
    page = watched.page
    page.set_default_timeout(60_000)
    log_in(page, address, site.tokens["anna"])
    page.goto(f"{address}/file?run={site.run_id('broken')}&clip={site.clip_id('broken', 'p0000')}")

    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} cannot be reached by the Tab key")

    tab_to(".frame-slider")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert "frame 4" in page.locator(".frame-now").inner_text()
    tab_to("[data-mark=first]")
    page.keyboard.press("Enter")
    tab_to("[name=last]")
    page.keyboard.type("8")
    for name, value in (("frame", "5"), ("x", "10"), ("y", "10"), ("w", "50"), ("h", "50")):
        tab_to(f"[name=box_{name}]")
        page.keyboard.type(value)
    tab_to("#family")
    page.keyboard.type("Over time")
    tab_to("#category")
    page.keyboard.type("flicker")
    tab_to("[name=severity]")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    tab_to("[name=observed]")
    page.keyboard.type("it pulses")
    tab_to("button.primary:not(.slim)")
    page.keyboard.press("Enter")
    page.wait_for_url("**/reports/*")
    (report,) = site.store.find()
    assert (report.category, report.severity, report.source.name) == ("temporal.flicker", "S1", "anna")
    assert [(s.first, s.last) for s in report.observation.segments] == [(4, 8)]
    assert [(b.frame, b.x, b.w) for b in report.observation.boxes] == [(5, 0.1, 0.5)]
    assert report.evidence.clip.preview is not None
    watched.assert_clean()


def test_a_clip_seeks_to_the_frame_that_was_marked(
    site: Site, address: str, report_id: str, open_page: Callable[..., Any]
):
    watched = open_page(f"{address}/login")
    page = watched.page
    log_in(page, address, site.tokens["tom"])
    page.goto(f"{address}/reports/{report_id}")
    page.wait_for_function(
        "document.querySelector('video').readyState >= 2 && !document.querySelector('video').seeking"
    )
    assert page.evaluate("Math.floor(document.querySelector('video').currentTime * 8 + 0.25)") == 5
    assert page.evaluate("document.querySelector('video').paused")
    for press, frame in (("One frame forward", 6), ("One frame back", 5)):
        page.get_by_role("button", name=press).click()
        assert f"frame {frame}" in page.locator(".frame-now").inner_text()
    watched.assert_clean()


def test_an_unknown_clip_is_dropped_in_and_shown(
    site: Site, address: str, open_page: Callable[..., Any], tmp_path: Any
):
    run = site.app.state.library.run(site.run_id("fine"))
    source = run.path_of(run.generations["path"].iloc[1])
    watched = open_page(f"{address}/login")
    page = watched.page
    page.set_default_timeout(60_000)
    log_in(page, address, site.tokens["anna"])
    page.goto(f"{address}/file")
    hostile = tmp_path / "clip.mp4"
    hostile.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    page.set_input_files("#clip-file", str(hostile))
    page.locator("#upload-state", has_text="text file").wait_for()
    watched.errors.clear()  # the browser notes the refused upload
    page.set_input_files("#clip-file", str(source))
    page.locator("#upload-state", has_text="12 frames").wait_for()
    assert page.locator("#player-slot").is_visible()
    page.select_option("#family", "visual")
    page.select_option("#category", "visual.blur")
    page.check("input[name=severity][value=S0]")
    page.fill("[name=model_name]", "unknown")
    page.fill("[name=model_version]", "1")
    page.fill("[name=prompt]", "a box")
    page.reload()
    assert page.locator("#player-slot").is_visible()  # the draft knows the upload, too
    page.get_by_role("button", name="File the report").click()
    page.wait_for_url("**/reports/*")
    (report,) = site.store.find()
    assert report.evidence.clip.clip_id == run.generations["clip_id"].iloc[1]
    # The metrics that are evidence for blur read it in another process, and the page says when they have.
    page.locator('.job[data-state="done"], .job[data-state="failed"]').wait_for()
    page.get_by_role("link", name="Load the report again").click()
    page.locator("th", has_text="visual.sharpness").wait_for()
    assert site.store.get(report.id).detectors[0].value is not None
    watched.assert_clean()


def test_restricted_clips_are_blurred_until_asked_for(
    site: Site, address: str, report_id: str, open_page: Callable[..., Any]
):
    site.store.change(
        report_id, actor="tom", action="edited", changed=lambda _: {"category": "safety.deception"}
    )
    watched = open_page(f"{address}/login")
    page = watched.page
    log_in(page, address, site.tokens["tom"])
    page.goto(f"{address}/reports/{report_id}")
    assert "blur" in page.locator("video").evaluate("video => getComputedStyle(video).filter")
    page.get_by_role("button", name="Restricted: show").click()
    assert page.locator("video").evaluate("video => getComputedStyle(video).filter") == "none"
    page.goto(f"{address}/runs/{site.run_id('broken')}")
    assert page.locator(".tile").count() == 2  # left out of the gallery
    assert "1 with restricted reports are left out" in page.locator("main").inner_text()


def test_everything_stays_below_the_path_of_a_proxy(
    site: Site, open_page: Callable[..., Any], tmp_path: Path
):
    """From the gallery, a page that knows nothing of the server, to a filed report, without leaving the prefix."""
    library = site.app.state.library
    run = library.run(site.run_id("fine"))
    render_gallery(run)
    with listening(site, "/lab/video") as address:
        watched = open_page(f"{address}/login")
        page = watched.page
        page.set_default_timeout(60_000)
        log_in(page, address, site.tokens["anna"])
        page.goto(f"{address}/runs/{run.manifest.run_id}")
        page.get_by_role("link", name="Full gallery").click()
        page.locator("article.tile button.open").first.click()
        page.locator("#detail[open]").wait_for()
        link = page.locator("#report-link").evaluate("link => link.href")
        assert link.startswith(f"{address}/file?run="), link
        page.goto(link)
        page.wait_for_function("document.querySelector('video').readyState >= 2")  # the clip came
        page.select_option("#family", "temporal")
        page.select_option("#category", "temporal.flicker")
        page.check("input[name=severity][value=S1]")
        attached = tmp_path / "workflow.json"
        attached.write_text('{"nodes": []}')
        page.set_input_files("#attachment-file", str(attached))
        page.locator("#attachments li").wait_for()
        page.get_by_role("button", name="File the report").click()
        page.wait_for_url(f"{address}/reports/*")
        page.goto(f"{address}/reports")
        assert page.locator('.column[data-status="new"] .ticket').count() == 1
        watched.assert_clean()


def test_flashing_clips_stay_covered_until_somebody_asks(
    site: Site, address: str, open_page: Callable[..., Any]
):
    run_id, flashing = site.run_id("broken"), site.clip_id("broken", "p0002")
    watched = open_page(f"{address}/login")
    page = watched.page
    page.set_default_timeout(60_000)
    log_in(page, address, site.tokens["anna"])
    playing = "video => !video.paused && video.playbackRate"

    # The grid: the first press of play shows what is coming, and offers it slowed.
    page.goto(f"{address}/runs/{run_id}")
    calm, hazard = (page.locator(".tile", has_text=prompt) for prompt in ("p0001", "p0002"))
    calm.get_by_role("button", name="Play").click()
    calm.locator('.play[aria-pressed="true"]').wait_for()
    hazard.get_by_role("button", name="Play").click()
    hazard.get_by_text("flashes 4 times a second").wait_for()
    assert hazard.locator("video").evaluate(playing) is False
    page.keyboard.press("Enter")  # the offer has the focus
    hazard.locator('.play[aria-pressed="true"]').wait_for()
    assert hazard.locator("video").evaluate(playing) == 0.25

    # The form: nothing plays or seeks before somebody asks.
    page.goto(f"{address}/file?run={run_id}&clip={flashing}")
    page.get_by_text("flashes 4 times a second").wait_for()
    assert watched.axe() == []
    assert page.get_by_role("button", name="Play").is_disabled()
    assert page.locator(".frame-slider").is_disabled()
    page.get_by_role("button", name="Show at quarter speed").click()
    assert page.evaluate("document.activeElement.dataset.do") == "play"
    page.keyboard.press("Enter")
    page.wait_for_function("!document.querySelector('video').paused")
    assert page.locator("video").evaluate(playing) == 0.25
    assert page.locator("[data-do=speed]").input_value() == "0.25"

    # The report, whose clip the store keeps.
    page.select_option("#family", "temporal")
    page.select_option("#category", "temporal.flicker")
    page.check("input[name=severity][value=S2]")
    page.get_by_role("button", name="File the report").click()
    page.wait_for_url("**/reports/*")
    page.get_by_text("flashes 4 times a second").wait_for()

    # A clip that no run knows.
    page.goto(f"{address}/file")
    run = site.app.state.library.run(run_id)
    page.set_input_files("#clip-file", str(run.path_of(site.app.state.library.clips(run)[flashing]["path"])))
    page.get_by_text("flashes 4 times a second").wait_for()
    page.reload()
    page.get_by_text("flashes 4 times a second").wait_for()

    # A vote: both sides are covered, so that the cover does not tell which version it is.
    votes = 0
    while votes < 3:
        page.goto(f"{address}/vote?a={site.run_id('fine')}&b={run_id}")
        covers = page.locator(".flash-cover").count()
        if covers:
            assert covers == 2
            assert page.get_by_role("button", name="Play both").is_disabled()
            page.get_by_role("button", name="Show at full speed").first.click()
            assert page.locator(".flash-cover").count() == 0
            assert page.get_by_role("button", name="Play both").is_enabled()
            break
        page.get_by_role("button", name="Equally good").click()
        votes += 1
    else:
        raise AssertionError("no pair was covered")
    watched.assert_clean()
