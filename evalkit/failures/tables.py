"""Tables of the database: reports with their history and media, and what the web app keeps beside them.

`reports.record` is the report; the other columns of that table repeat what is searched for. `history` only ever
grows: triggers refuse to change or delete a row of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["accounts", "ballots", "history", "media", "metadata", "report_media", "reports", "sessions"]

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_BIG = sa.BigInteger()
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False, index=True),
    sa.Column("category", sa.String(60), nullable=False, index=True),
    sa.Column("family", sa.String(30), nullable=False, index=True),
    sa.Column("severity", sa.String(2), nullable=False),
    sa.Column("restricted", sa.Boolean, nullable=False),
    sa.Column("source_kind", sa.String(10), nullable=False),
    sa.Column("reporter", sa.String(200), nullable=False),
    sa.Column("model_name", sa.String(200), nullable=False),
    sa.Column("model_version", sa.String(200), nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(40), nullable=False, index=True),
    sa.Column("clip_id", sa.String(64), index=True),
    sa.Column("run_id", sa.String(64), index=True),
    sa.Column("phash", sa.String(128)),
    sa.Column("duplicate_of", sa.String(26), index=True),
    sa.Column("filing_key", sa.String(100), unique=True),  # the same filing sent twice is one report
    sa.Column("created_ms", _BIG, nullable=False),
    sa.Column("updated_ms", _BIG, nullable=False),
    sa.Column("record", _JSON, nullable=False),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("report_id", sa.ForeignKey("reports.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at_ms", _BIG, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(30), nullable=False),
    sa.Column("from_status", sa.String(20)),
    sa.Column("to_status", sa.String(20), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("changes", _JSON, nullable=False),
)

media = sa.Table(
    "media",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("media_type", sa.String(60), nullable=False),
    sa.Column("size", _BIG, nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("added_by", sa.String(200), nullable=False),
    sa.Column("created_ms", _BIG, nullable=False),
)

report_media = sa.Table(
    "report_media",
    metadata,
    sa.Column("report_id", sa.ForeignKey("reports.id"), primary_key=True),
    sa.Column("digest", sa.ForeignKey("media.digest"), primary_key=True, index=True),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("token_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", sa.String(60), nullable=False),
    sa.Column("created_ms", _BIG, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(100), nullable=False, index=True),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("expires_ms", _BIG, nullable=False),
)

ballots = sa.Table(
    "ballots",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("rater", sa.String(100), nullable=False),
    sa.Column("run_a", sa.String(64), nullable=False),
    sa.Column("run_b", sa.String(64), nullable=False),
    sa.Column("prompt_id", sa.String(200), nullable=False),
    sa.Column("sample_index", sa.Integer, nullable=False),
    sa.Column("clip_a", sa.String(64), nullable=False),
    sa.Column("clip_b", sa.String(64), nullable=False),
    sa.Column("a_is_left", sa.Boolean, nullable=False),
    sa.Column("choice", sa.String(10)),  # a | b | tie | both_bad
    sa.Column("counted", sa.Boolean, nullable=False),
    sa.Column("created_ms", _BIG, nullable=False),
    sa.Column("voted_ms", _BIG),
    sa.Column("revealed_ms", _BIG),
    sa.UniqueConstraint("rater", "run_a", "run_b", "prompt_id", "sample_index"),
    sa.Index("ix_ballots_runs", "run_a", "run_b"),
)
