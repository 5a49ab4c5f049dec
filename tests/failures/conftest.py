"""Stores on both databases, and reports to put into them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from evalkit.failures.database import open_database
from evalkit.failures.record import FailureReport, parse_report
from evalkit.failures.store import FailureStore, open_store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of the administration database of a server that lives as long as the tests."""
    from tests.failures.postgres import cluster

    # Not pytest's temporary folder: a socket's path may have at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="evalkit-pg-"))
    try:
        with cluster(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of its own for one test."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    admin = sa.create_engine(
        sa.make_url(postgres_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each test that asks for it runs on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'failures.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[FailureStore]:
    """An empty store."""
    opened = open_store(database_url, tmp_path / "media")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at the newest schema, to be copied: migrating one for every test would take most of the time."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    database = open_database(f"sqlite:///{path}")
    with database.engine.connect() as connection:
        connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture
def lite(tmp_path: Path, empty_database: Path) -> Iterator[FailureStore]:
    """An empty store on SQLite, for tests that are not about the database."""
    shutil.copy(empty_database, tmp_path / "failures.db")
    opened = open_store(f"sqlite:///{tmp_path / 'failures.db'}")
    yield opened
    opened.close()


@pytest.fixture
def make_report() -> Callable[..., FailureReport]:
    """A valid report; keyword arguments replace fields."""

    def make(**fields: Any) -> FailureReport:
        return parse_report(
            {
                "category": "temporal.flicker",
                "severity": "S1",
                "source": {"kind": "human", "name": "anna"},
                "model": {"name": "reference", "version": "v1"},
                "prompt": "a red ball rolls to the left",
                "evidence": {"statement": "the wall pulses"},
                **fields,
            }
        )

    return make
