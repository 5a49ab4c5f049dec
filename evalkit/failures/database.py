"""The database of reports: SQLite by default, PostgreSQL by URL, always at the newest schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from evalkit.failures.errors import StoreError

__all__ = ["Database", "open_database"]

_BUSY_MS = 30_000
_MIGRATION_LOCK = 0x65_76_61_6C  # any number, the same in every process


class Database:
    """An engine with two kinds of transactions.

    A writing transaction on SQLite begins with BEGIN IMMEDIATE: one that reads first and writes later could otherwise
    be refused the lock halfway, and no waiting would help.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(evalkit_write=True)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, rolled back on an exception."""
        with self._writer.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database, create it where there is none, and bring its schema up to date.

    Args:
        url: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        StoreError: the URL is of another kind, the server cannot be reached, or a newer evalkit wrote the schema.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(
            f"{url!r} is no database URL; write sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = _open_sqlite(parsed)
    elif backend == "postgresql":
        # SQLAlchemy's default driver for this name has changed between versions; ours is psycopg 3.
        try:
            engine = sa.create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_size=10, max_overflow=20, pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise StoreError(
                "PostgreSQL needs the package psycopg; install it with: pip install 'evalkit[server,postgres]'"
            ) from error
    else:
        raise StoreError(f"databases of the kind {backend!r} are not supported; use sqlite or postgresql")
    database = Database(engine)
    try:
        _migrate(database)
    except StoreError:
        database.close()
        raise
    except sa.exc.OperationalError as error:
        database.close()
        shown = parsed.render_as_string(hide_password=True)
        raise StoreError(
            f"cannot open {shown}: {error.orig}; check the path, the server and your rights"
        ) from error
    return database


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("an SQLite database needs a file; write sqlite:///PATH")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url,
        # A connection is used by one thread at a time (the pool sees to that), but not always by the same one.
        connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000},
        pool_size=10,
        max_overflow=50,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling would begin transactions late; see `_begin`.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # what a tester was told is filed survives a power cut
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("evalkit_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _migrate(database: Database) -> None:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "evalkit.failures:migrations")
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with database.reading() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"the database has the schema {current}, which a newer evalkit wrote (this one knows up to {head}); "
            "upgrade evalkit"
        )
    from alembic import command

    with database.writing() as connection:  # several processes may start at once
        if not database.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(f"the database cannot be brought up to date: {error}") from error
