"""The same pages in Firefox, where it is installed, driven through its own Marionette protocol."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import FPS, FRAMES

pytestmark = pytest.mark.browser

_START_SECONDS = 60


class Firefox:
    """The few commands that these tests need; Playwright drives only its own build of Firefox."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._number = 0
        self._read()  # greeting
        self.call("WebDriver:NewSession", {})

    def call(self, name: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, name, parameters]).encode()
        self._connection.sendall(str(len(message)).encode() + b":" + message)
        _, _, error, result = self._read()
        assert error is None, f"{name}: {error}"
        return result

    def _read(self) -> Any:
        size = b""
        while not size.endswith(b":"):
            size += self._connection.recv(1)
        body = b""
        while len(body) < int(size[:-1]):
            body += self._connection.recv(int(size[:-1]) - len(body))
        return json.loads(body)

    def open(self, address: str) -> None:
        self.call("WebDriver:Navigate", {"url": "about:blank"})
        self.call("WebDriver:Navigate", {"url": address})

    def value(self, expression: str) -> Any:
        return self.call("WebDriver:ExecuteScript", {"script": f"return {expression};", "args": []})["value"]

    def until(self, expression: str, seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"not true within {seconds:g} s: {expression}"
        return value


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    path = shutil.which("firefox") or shutil.which("firefox-esr")
    if path is None:
        pytest.skip("no Firefox: install Debian's package `firefox-esr`")
    profile = tmp_path_factory.mktemp("firefox")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "marionette.port": port,
        "datareporting.policy.dataSubmissionEnabled": False,
        "app.update.enabled": False,
        "browser.shell.checkDefaultBrowser": False,
        "network.captive-portal-service.enabled": False,
        "network.connectivity-service.enabled": False,
    }
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in settings.items()]
    (profile / "user.js").write_text("\n".join(lines))
    command = [path, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connection = None
    try:
        end = time.monotonic() + _START_SECONDS
        while connection is None:
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            except OSError:
                assert time.monotonic() < end, "Firefox did not open its Marionette port"
                assert process.poll() is None, "Firefox ended while starting"
        with connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_the_gallery_opens_and_shows_its_cards(firefox: Firefox, gallery_page: Path):
    firefox.open(gallery_page.as_uri())
    firefox.until("document.querySelectorAll('.tile').length > 10")
    firefox.until("document.querySelectorAll('.tile .spark-line').length > 0")
    firefox.until("[...document.images].some(image => image.complete && image.naturalWidth > 0)")
    assert firefox.value("getComputedStyle(document.querySelector('.tiles')).display") == "grid"


def test_a_clip_plays_and_seeks_to_an_exact_frame(firefox: Firefox, gallery_page: Path):
    firefox.open(gallery_page.as_uri() + "#clip=p0002%2F%2F0&frame=5")
    firefox.until("document.querySelectorAll('#panes video').length === 2")
    for frame in (5, 0, FRAMES - 1):
        firefox.value(f"(window.wrappedJSObject || window).evalkit.detail.current().group.seek({frame}) && 1")
        firefox.until(
            "[...document.querySelectorAll('#panes video')].every(v => v.readyState >= 2 && !v.seeking "
            f"&& Math.floor(v.currentTime * {FPS}) === {frame})"
        )
        assert firefox.value("document.getElementById('frame').textContent").startswith(f"frame {frame} of")


def test_the_report_is_styled_and_has_its_pictures(firefox: Firefox, report_page: Path):
    firefox.open(report_page.as_uri())
    assert firefox.value("document.querySelectorAll('.plot').length") > 3
    assert firefox.value("getComputedStyle(document.querySelector('.strip')).display") == "grid"
    firefox.value("[...document.images].forEach(image => { image.loading = 'eager'; })")
    firefox.until("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
