"""Who may do what: accounts with a token and scopes, and the sessions of browsers.

Only digests of tokens and session ids are stored; a token is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from evalkit.errors import EvalkitError
from evalkit.failures import tables
from evalkit.failures.database import Database
from evalkit.failures.record import now

__all__ = ["SCOPES", "Account", "Accounts", "Session"]

SCOPES = ("report", "triage", "admin")
"""report: see, file, vote, comment. triage: move, confirm, promote, restricted reports. admin: accounts."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,79}")
_SESSION_LIFE = timedelta(days=14)


class Account(NamedTuple):
    """A person or a script, and what it may do."""

    name: str
    scopes: tuple[str, ...]

    def may(self, scope: str) -> bool:
        """Whether the account has a scope; a higher one includes the lower."""
        return any(scope in SCOPES[: SCOPES.index(own) + 1] for own in self.scopes)


class Session(NamedTuple):
    """A browser that logged in, and the token that its forms must carry."""

    account: Account
    csrf: str


class Accounts:
    """Accounts and sessions in the database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, name: str, scopes: Iterable[str]) -> str:
        """Make an account, or give an existing one a new token and other scopes.

        Returns:
            the token; it is stored nowhere and cannot be shown again.

        Raises:
            EvalkitError: a name or a scope that is not allowed.
        """
        scopes = tuple(scopes)
        if not _NAME.fullmatch(name):
            raise EvalkitError(
                f"account name {name!r}: use letters, digits, spaces and . _ @ -, at most 80, not starting with a sign"
            )
        if not scopes or any(scope not in SCOPES for scope in scopes):
            raise EvalkitError(f"scopes of account {name!r}: give one or more of {', '.join(SCOPES)}")
        token = "evk_" + secrets.token_urlsafe(32)
        row = {"token_digest": _digest(token), "scopes": ",".join(scopes), "created_ms": _ms()}
        table = tables.accounts
        with self.database.writing() as connection:
            changed = connection.execute(sa.update(table).where(table.c.name == name).values(**row))
            if changed.rowcount == 0:
                connection.execute(sa.insert(table).values(name=name, **row))
            self._end_sessions(connection, name)
        return token

    def remove(self, name: str) -> bool:
        """Remove an account and end its sessions; whether there was one."""
        with self.database.writing() as connection:
            self._end_sessions(connection, name)
            gone = connection.execute(sa.delete(tables.accounts).where(tables.accounts.c.name == name))
            return gone.rowcount > 0

    def list(self) -> tuple[Account, ...]:
        """All accounts by name."""
        statement = sa.select(tables.accounts.c.name, tables.accounts.c.scopes).order_by(
            tables.accounts.c.name
        )
        with self.database.reading() as connection:
            return tuple(
                Account(name, tuple(scopes.split(","))) for name, scopes in connection.execute(statement)
            )

    def of_token(self, token: str) -> Account | None:
        """The account of a token. The look-up is by digest, so its time tells nothing about the token."""
        table = tables.accounts
        statement = sa.select(table.c.name, table.c.scopes).where(table.c.token_digest == _digest(token))
        with self.database.reading() as connection:
            row = connection.execute(statement).first()
        return None if row is None else Account(row[0], tuple(row[1].split(",")))

    def begin_session(self, account: Account) -> str:
        """Log a browser in and return the value of its cookie."""
        secret = secrets.token_urlsafe(32)
        with self.database.writing() as connection:
            connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.expires_ms < _ms()))
            connection.execute(
                sa.insert(tables.sessions).values(
                    digest=_digest(secret),
                    account=account.name,
                    csrf=secrets.token_urlsafe(32),
                    expires_ms=_ms(_SESSION_LIFE),
                )
            )
        return secret

    def session(self, secret: str, local: Account | None) -> Session | None:
        """The session of a cookie.

        Args:
            secret: the cookie.
            local: the one local user, who has no row in the table of accounts.
        """
        table = tables.sessions
        statement = (
            sa.select(table.c.account, table.c.csrf, tables.accounts.c.scopes)
            .select_from(table.outerjoin(tables.accounts, tables.accounts.c.name == table.c.account))
            .where(table.c.digest == _digest(secret), table.c.expires_ms > _ms())
        )
        with self.database.reading() as connection:
            row = connection.execute(statement).first()
        if row is None:
            return None
        name, csrf, scopes = row
        if scopes is not None:
            return Session(Account(name, tuple(scopes.split(","))), csrf)
        return Session(local, csrf) if local is not None and local.name == name else None

    def end_session(self, secret: str) -> None:
        """Log a browser out."""
        with self.database.writing() as connection:
            connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.digest == _digest(secret)))

    @staticmethod
    def _end_sessions(connection: sa.Connection, name: str) -> None:
        connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.account == name))


def _digest(secret: str) -> str:
    # Tokens have 256 random bits: a fast digest cannot be searched, and salting would only prevent the look-up.
    return hashlib.sha256(secret.encode()).hexdigest()


def _ms(ahead: timedelta = timedelta()) -> int:
    return round((now() + ahead).timestamp() * 1000)
