"""Pages in a real browser: at every width, in both colour schemes, by keyboard, and for everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from evalkit.failures.record import parse_report
from evalkit.report.gallery import render_gallery
from tests.server.conftest import Site
from tests.server.process import free_port

pytestmark = pytest.mark.browser


@contextmanager
def listening(site: Site, prefix: str = "") -> Iterator[str]:
    """The app on a real socket; its checks of Host and Origin know the port.

    Args:
        site: the app.
        prefix: path below which a reverse proxy offers it; requests arrive without it, as behind a proxy.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}{prefix}"
    settings = replace(site.app.state.settings, port=port, public_url=address if prefix else "")
    gate = next(layer for layer in site.app.user_middleware if layer.cls.__name__ == "Gatekeeper")
    gate.kwargs["settings"] = site.app.state.settings = settings
    site.app.middleware_stack = None  # built anew with the other port

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith(f"{prefix}/"), scope["path"]  # nothing beside what the proxy offers
        await site.app({**scope, "path": scope["path"].removeprefix(prefix)}, receive, send)

    server = uvicorn.Server(
        uvicorn.Config(proxied, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.02)
    yield address
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    with listening(site) as found:
        yield found


@pytest.fixture
def report_id(site: Site) -> str:
    """A report with everything on it."""
    from evalkit.failures.drafts import clip_fields, keep_clip
    from evalkit.failures.record import Segment

    library = site.app.state.library
    run = library.run(site.run_id("broken"))
    row = library.clips(run)[site.clip_id("broken", "p0000")]
    fields = clip_fields(run, row, [Segment(first=4, last=8)], "temporal.flicker")
    fields["evidence"]["clip"] |= keep_clip(site.store, run, row, actor="anna")
    report = parse_report(
        {
            **fields,
            "category": "temporal.flicker",
            "severity": "S2",
            "source": {"kind": "human", "name": "anna"},
            "title": "The wall pulses",
            "observation": {
                "observed": "light and dark by turns",
                "segments": [{"first": 4, "last": 8}],
                "boxes": [{"frame": 5, "x": 0.1, "y": 0.1, "w": 0.5, "h": 0.5}],
            },
        }
    )
    site.store.add(report, actor="anna")
    site.store.add(report.model_copy(update={"id": "01ARYZ6S410000000000000000"}), actor="ben")
    return report.id


def log_in(page: Any, address: str, token: str) -> None:
    """By keyboard, as a person does."""
    page.goto(f"{address}/login")
    page.wait_for_function("document.activeElement.name === 'token'")
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/")


def test_every_page_is_accessible_and_fits(
    site: Site, address: str, report_id: str, open_page: Callable[..., Any]
):
    a, b = site.run_id("fine"), site.run_id("broken")
    paths = (
        *("/", f"/runs/{b}", f"/compare?a={a}&b={b}", "/reports", "/reports/table", f"/reports/{report_id}"),
        *(
            f"/file?run={b}&clip={site.clip_id('broken', 'p0000')}",
            "/file",
            f"/vote?a={a}&b={b}",
            "/leaderboard",
            "/accounts",
        ),
    )
    for width, scheme in ((1440, "light"), (400, "dark")):
        watched = open_page(f"{address}/login", viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = watched.page
        page.set_default_timeout(60_000)
        log_in(page, address, site.tokens["ada"])
        for path in paths:
            page.goto(address + path)
            assert watched.axe() == [], path
            beyond = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert beyond <= 0, (path, width)
        watched.assert_clean()


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
