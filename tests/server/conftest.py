"""A server in this process, two small runs to look at, and people who log in."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from evalkit.failures.database import open_database
from evalkit.failures.record import parse_report
from evalkit.server.app import create_app
from evalkit.server.settings import Settings
from tests.server.process import free_port

BASE = "http://127.0.0.1:8765"


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `fine` (version 1) and `broken` (version 2), whose first clip flickers in frames 4 to 8, and whose third one
    flashes four times a second."""
    import torch

    from evalkit.testing.runs import make_run, make_suite
    from evalkit.video import Video

    folder = tmp_path_factory.mktemp("runs")

    def clip(version: int) -> Callable[[int, int], Video]:
        def make(prompt: int, _sample: int) -> Video:
            frames = torch.full((12, 3, 48, 64), 60 + 30 * prompt + 5 * version, dtype=torch.uint8)
            for t in range(12):
                frames[t, 1, 16:32, 4 * t : 4 * t + 16] = 230
                if version == 2 and prompt == 0 and 4 <= t <= 8 and t % 2:
                    frames[t] = 255 - frames[t]
                if version == 2 and prompt == 2 and t % 2:
                    frames[t] = 20
            return Video(frames, Fraction(8))

        return make

    for name, version, flicker in (("fine", 1, 0.01), ("broken", 2, 0.3)):
        values = np.array([[flicker], [0.02], [0.03]])

        def series(_metric: str, prompt: int, _sample: int, values: np.ndarray = values) -> np.ndarray:
            course = np.full(11, 0.01)
            course[4:8] = values[prompt, 0]
            return course

        make_run(
            folder / name,
            values={"temporal.flicker": values},
            directions={"temporal.flicker": "lower"},
            suite=make_suite(3),
            series=series,
            clip=clip(version),
            model={"id": "synthetic", "revision": f"v{version}"},
            metrics={"temporal.flicker": {"title": "flicker", "leaf": "temporal.flicker"}},
        )
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at the newest schema, to be copied: migrating one for every test would take most of the time."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    database = open_database(f"sqlite:///{path}")
    with database.engine.connect() as connection:
        connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@dataclass
class Site:
    """A running app and the tokens of its people."""

    app: Any
    client: TestClient
    tokens: dict[str, str]
    folder: Path

    def bearer(self, name: str) -> dict[str, str]:
        """Headers of a script that acts for somebody."""
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def browser(self, name: str) -> tuple[TestClient, str]:
        """A logged-in browser, and the token that its forms carry."""
        client = TestClient(self.app, base_url=BASE, follow_redirects=False)
        answer = client.post("/login", data={"token": self.tokens[name]}, headers={"Origin": BASE})
        assert answer.status_code == 303
        session = self.app.state.accounts.session(client.cookies["evalkit_session"], None)
        return client, session.csrf

    @property
    def store(self) -> Any:
        return self.app.state.store

    def run_id(self, name: str) -> str:
        """Id of the run in the folder `name`."""
        return next(
            run_id for run_id, run in self.app.state.library.runs().items() if run.folder.name == name
        )

    def clip_id(self, name: str, prompt_id: str) -> str:
        """Id of the clip of a prompt."""
        run = self.app.state.library.run(self.run_id(name))
        clips = self.app.state.library.clips(run)
        return next(clip_id for clip_id, row in clips.items() if row["prompt_id"] == prompt_id)


@pytest.fixture
def site(tmp_path: Path, runs_folder: Path, empty_database: Path) -> Iterator[Site]:
    """An app with the accounts anna (report), ben (report), tom (triage) and ada (admin)."""
    shutil.copy(empty_database, tmp_path / "failures.db")
    settings = Settings(
        runs=runs_folder,
        db=f"sqlite:///{tmp_path / 'failures.db'}",
        cases=tmp_path / "regressions",
        models=("replay",),
        max_upload_bytes=300_000,
    )
    app = create_app(settings)
    people = {"anna": "report", "ben": "report", "tom": "triage", "ada": "admin"}
    tokens = {name: app.state.accounts.add(name, [scope]) for name, scope in people.items()}
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield Site(app, client, tokens, tmp_path)


@pytest.fixture
def new_report() -> dict[str, Any]:
    """What a script sends to file a report."""
    return {
        "category": "temporal.flicker",
        "severity": "S1",
        "model": {"name": "reference", "version": "v1"},
        "prompt": "a red ball rolls to the left",
        "evidence": {"statement": "the wall pulses"},
    }


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
