"""Every form of the web app, by the keyboard alone: reached with Tab, filled in by typing, sent with Enter or Space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evalkit.failures.record import Confirmation, Model, now
from tests.server.conftest import Site, log_in

pytestmark = pytest.mark.browser


class Keys:
    """A person without a mouse."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def to(self, selector: str) -> None:
        """Tab until the focus is on it."""
        for _ in range(90):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} cannot be reached by the Tab key on {self.page.url}")

    def type(self, selector: str, text: str) -> None:
        """Type into a field, or the beginning of an option's name into a list."""
        self.to(selector)
        self.page.keyboard.type(text)

    def press(self, selector: str, key: str = "Enter", wait: str = "**") -> None:
        """Press a button, and wait for the page that it leads to."""
        self.to(selector)
        with self.page.expect_navigation(url=wait):
            self.page.keyboard.press(key)


@pytest.fixture
def keys(site: Site, address: str, open_page: Callable[..., Any]) -> Keys:
    """Ada, an administrator, logged in."""
    page = open_page(f"{address}/login").page
    page.set_default_timeout(60_000)
    log_in(page, address, site.tokens["ada"])
    return Keys(page, address)


def test_runs_are_filtered_and_compared(site: Site, keys: Keys):
    a, b = site.run_id("fine"), site.run_id("broken")
    keys.go(f"/runs/{b}")
    keys.type("[name=q]", "p0001")
    keys.press("main form button")
    assert keys.page.locator(".tile").count() == 1
    keys.go("/compare")
    keys.type("[name=a]", "fine")
    keys.type("[name=b]", "broken")
    keys.press("main form button", wait=f"**/compare?a={a}&b={b}")
    assert keys.page.locator(".verdicts").count() == 1


def test_reports_are_found_moved_and_commented(site: Site, keys: Keys, report_id: str):
    keys.go("/reports")
    keys.type("[name=severity]", "S2")
    keys.press("main form.filters button", wait="**/reports?*severity=S2*")
    assert keys.page.locator(".ticket").count() == 2
    keys.press(f'.ticket a[href$="{report_id}"]', wait=f"**/reports/{report_id}")
    keys.press('form[action$="/witness"] button')
    keys.type('form[action$="/comment"] textarea', "seen on two screens")
    keys.press('form[action$="/comment"] button')
    keys.type("#triage-status", "triaged")
    keys.type("[name=note]", "looked at it")
    keys.press('form[action$="/triage"] button')
    assert [entry.action for entry in site.store.history(report_id)] == [
        "filed",
        "witness",
        "comment",
        "moved",
    ]
    assert site.store.get(report_id).status == "triaged"
    # The table is the board's equal for the keyboard.
    keys.go("/reports/table")
    keys.type("[name=status]", "triaged")
    keys.press("main form.filters button", wait="**/reports/table?status=triaged*")
    keys.type(f"#to-{report_id}", "needs info")
    keys.press(f'form[action$="{report_id}/triage"] button')
    assert site.store.get(report_id).status == "needs_info"


def test_a_duplicate_is_marked(site: Site, keys: Keys, report_id: str):
    other = next(report.id for report in site.store.find() if report.id != report_id)
    keys.go(f"/reports/{other}")
    keys.type("#triage-status", "duplicate")
    keys.type("[name=duplicate_of]", report_id)
    keys.page.keyboard.press("Escape")  # the list of suggestions
    keys.press('form[action$="/triage"] button')
    assert site.store.get(other).duplicate_of == report_id


def test_a_failure_is_reproduced_promoted_and_checked(
    site: Site, keys: Keys, report_id: str, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(site.app.state.jobs, "submit", lambda _, command: asked.append(command))
    site.store.move(report_id, "triaged", actor="tom")
    keys.go(f"/reports/{report_id}")
    keys.to("[name=metric]")
    keys.type("[name=limit]", "0.1")
    keys.type("[name=seeds]", "7, 8")
    keys.press('form[action$="/reproduce"] button')
    (command,) = asked
    assert {"--metric=temporal.flicker", "--limit=0.1", "--seeds=7, 8"} <= set(command)
    seen = Confirmation(
        kind="reproduction", by="tom", at=now(), model=Model(name="m", version="1"), seeds=(7, 8),
        failed_seeds=(7,), metric_id="temporal.flicker", limit=0.1,
    )  # fmt: skip
    site.store.confirm(report_id, seen, actor="tom")
    keys.go(f"/reports/{report_id}")
    keys.press('form[action$="/promote"] button')
    case = site.store.get(report_id).case
    assert (site.app.state.settings.cases / f"{case}.yaml").is_file()
    keys.go("/reports")
    keys.type("[name=run]", "fine")
    keys.press('form[action$="/check-cases"] button', wait="**/reports/check-cases")
    assert case in keys.page.locator("main table").inner_text()


def test_a_clip_is_chosen_from_the_disk(site: Site, keys: Keys):
    run = site.app.state.library.run(site.run_id("fine"))
    # The browser hands choosers over as long as somebody listens. Listening only around the key press asks for that
    # while the key is on its way, and a chooser that opens before the answer is lost.
    keys.page.on("filechooser", lambda _: None)
    keys.go("/file")
    keys.to("#clip-file")
    with keys.page.expect_file_chooser() as chooser:
        keys.page.keyboard.press("Space")
    chooser.value.set_files(str(run.path_of(run.generations["path"].iloc[0])))
    keys.page.locator("#upload-state", has_text="12 frames").wait_for()


def test_votes_are_cast_and_given_up(site: Site, keys: Keys):
    keys.go("/vote")
    keys.type("[name=a]", "fine")
    keys.type("[name=b]", "broken")
    keys.press("main form.filters button", wait="**/vote?*")
    keys.press("button[value=tie]", key="Space", wait="**/vote/*")
    assert [vote.choice for vote in site.app.state.votes.counted()] == ["tie"]
    keys.press("main .centre a.primary", wait="**/vote?*")
    keys.press("button.plain", wait="**/vote/*")
    keys.press("button[value=left]", wait="**/vote/*")
    assert "does not count" in keys.page.locator("main").inner_text()
    assert len(site.app.state.votes.counted()) == 1


def test_accounts_are_made_and_removed_and_the_session_ends(site: Site, keys: Keys):
    keys.go("/accounts")
    keys.type("[name=name]", "zoe")
    keys.type("[name=scope]", "triage")
    keys.press("main form.filters button")
    accounts = site.app.state.accounts
    assert {account.name: account.scopes for account in accounts.list()}["zoe"] == ("triage",)
    token = keys.page.locator(".token").inner_text()
    assert accounts.of_token(token).name == "zoe"
    keys.press("tr:last-child form button", wait="**/accounts")
    assert "zoe" not in [account.name for account in accounts.list()]
    keys.to(".who summary")
    keys.page.keyboard.press("Enter")
    keys.press('form[action$="/logout"] button', wait="**/login")
