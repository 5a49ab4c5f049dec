"""Take the pictures of the README from the committed example report, in headless Chromium.

    python docs/images/take.py [--chromium /usr/bin/chromium]

Writes report.png and gallery.png beside this file, both 1280 pixels wide.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "reports" / "example"
SIZE = {"width": 1280, "height": 860}


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="path of the browser")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto((EXAMPLE / "report" / "index.html").as_uri())
        page.screenshot(path=HERE / "report.png")
        page = browser.new_page(viewport=SIZE, color_scheme="dark")
        page.goto((EXAMPLE / "gallery" / "index.html").as_uri())
        page.wait_for_selector(".tile img")
        page.wait_for_timeout(1000)  # posters and sparklines come as they are looked at
        page.screenshot(path=HERE / "gallery.png")
        browser.close()


if __name__ == "__main__":
    main()
