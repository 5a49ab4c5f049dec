"""A real Chromium for tests of pages, shared by every area.

In the area's `conftest.py`:

    from tests.browser import chromium, open_page  # noqa: F401

A test then marks itself `browser`, opens pages with `open_page(url)` and ends with `page.assert_clean()`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "vendor" / "axe.min.js"

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Reported by the browser as an event; a blocked inline style is not an error in the console.
_COLLECT_VIOLATIONS = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", event => {
  window.__violations.push(event.violatedDirective + " " + event.blockedURI + " " + event.sample);
});
"""


@dataclass
class Watched:
    """A page, and everything that went wrong on it.

    Attributes:
        page: the Playwright page.
        requests: addresses asked for that are neither files nor the page's own origin.
        errors: errors and warnings in the console, and uncaught exceptions.
        failures: requests that failed, of any kind.
    """

    page: Any
    origin: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """Violations of the page's content security policy."""
        found: list[str] = self.page.evaluate("window.__violations")
        return found

    def until(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until a JavaScript expression is true, and return its value.

        Playwright's own `wait_for_function` evaluates text inside the page, which a strict policy forbids.
        """
        end = time.monotonic() + seconds
        while not (value := self.page.evaluate(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"not true within {seconds:g} s: {expression}")
            self.page.wait_for_timeout(15)
        return value

    def assert_clean(self) -> None:
        """No foreign request, no error, no policy violation so far."""
        assert self.requests == []
        assert self.errors == []
        assert self.failures == []
        assert self.violations == []

    def axe(self, *impacts: str) -> list[str]:
        """Violations that axe-core finds, of the given impacts (serious and critical when none are given)."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        wanted = impacts or ("serious", "critical")
        return [
            f"{violation['id']}: {node['target']}: {node['failureSummary']}"
            for violation in result["violations"]
            if violation["impact"] in wanted
            for node in violation["nodes"]
        ]


def find_chromium() -> str | None:
    """Path of the browser: $EVALKIT_CHROMIUM, or the system's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("EVALKIT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium for the whole session; skips where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: install Debian's package `chromium`, or set EVALKIT_CHROMIUM to its path")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Watched]]:
    """A function that opens an address or a file in a fresh context and watches it.

    Keyword arguments are those of Playwright's `new_context` (`color_scheme`, `reduced_motion`, `viewport`).
    """
    contexts = []

    def open_it(address: str | Path, **options: Any) -> Watched:
        url = address.resolve().as_uri() if isinstance(address, Path) else address
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        page = context.new_page()
        origin = "/".join(url.split("/")[:3])
        watched = Watched(page, origin)
        page.add_init_script(_COLLECT_VIOLATIONS)
        page.on("request", lambda request: _note_request(watched, request.url))
        page.on("requestfailed", lambda request: _note_failure(watched, request))
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on("console", lambda message: _note_message(watched, message))
        page.goto(url)
        return watched

    yield open_it
    for context in contexts:
        context.close()


def _note_request(watched: Watched, url: str) -> None:
    if not url.startswith(("data:", "blob:", watched.origin + "/")):
        watched.requests.append(url)


def _note_failure(watched: Watched, request: Any) -> None:
    # A player that is released or seeks aborts its own download.
    if request.failure != "net::ERR_ABORTED":
        watched.failures.append(f"{request.url}: {request.failure}")


def _note_message(watched: Watched, message: Any) -> None:
    if message.type in ("error", "warning"):
        watched.errors.append(message.text)
