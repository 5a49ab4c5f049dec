"""Reports with history and media; accounts, sessions and ballots of the web app."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_REFUSAL = "the history of a report only ever grows"


def upgrade() -> None:
    """Create everything, and make the history append-only by triggers."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=60), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_accounts"),
        sa.UniqueConstraint("token_digest", name="uq_accounts_token_digest"),
    )
    op.create_table(
        "ballots",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("rater", sa.String(length=100), nullable=False),
        sa.Column("run_a", sa.String(length=64), nullable=False),
        sa.Column("run_b", sa.String(length=64), nullable=False),
        sa.Column("prompt_id", sa.String(length=200), nullable=False),
        sa.Column("sample_index", sa.Integer(), nullable=False),
        sa.Column("clip_a", sa.String(length=64), nullable=False),
        sa.Column("clip_b", sa.String(length=64), nullable=False),
        sa.Column("a_is_left", sa.Boolean(), nullable=False),
        sa.Column("choice", sa.String(length=10), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("voted_ms", sa.BigInteger(), nullable=True),
        sa.Column("revealed_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_ballots"),
        sa.UniqueConstraint(
            "rater",
            "run_a",
            "run_b",
            "prompt_id",
            "sample_index",
            name="uq_ballots_rater_run_a_run_b_prompt_id_sample_index",
        ),
    )
    op.create_index("ix_ballots_runs", "ballots", ["run_a", "run_b"], unique=False)
    op.create_table(
        "media",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=60), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("added_by", sa.String(length=200), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_media"),
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("category", sa.String(length=60), nullable=False),
        sa.Column("family", sa.String(length=30), nullable=False),
        sa.Column("severity", sa.String(length=2), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("source_kind", sa.String(length=10), nullable=False),
        sa.Column("reporter", sa.String(length=200), nullable=False),
        sa.Column("model_name", sa.String(length=200), nullable=False),
        sa.Column("model_version", sa.String(length=200), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=40), nullable=False),
        sa.Column("clip_id", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("phash", sa.String(length=128), nullable=True),
        sa.Column("duplicate_of", sa.String(length=26), nullable=True),
        sa.Column("filing_key", sa.String(length=100), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("record", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.UniqueConstraint("filing_key", name="uq_reports_filing_key"),
    )
    op.create_index("ix_reports_category", "reports", ["category"], unique=False)
    op.create_index("ix_reports_clip_id", "reports", ["clip_id"], unique=False)
    op.create_index("ix_reports_duplicate_of", "reports", ["duplicate_of"], unique=False)
    op.create_index("ix_reports_family", "reports", ["family"], unique=False)
    op.create_index("ix_reports_fingerprint", "reports", ["fingerprint"], unique=False)
    op.create_index("ix_reports_run_id", "reports", ["run_id"], unique=False)
    op.create_index("ix_reports_status", "reports", ["status"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=100), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
    )
    op.create_index("ix_sessions_account", "sessions", ["account"], unique=False)
    op.create_table(
        "history",
        sa.Column("report_id", sa.String(length=26), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=30), nullable=False),
        sa.Column("from_status", sa.String(length=20), nullable=True),
        sa.Column("to_status", sa.String(length=20), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changes", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_history_report_id"),
        sa.PrimaryKeyConstraint("report_id", "seq", name="pk_history"),
    )
    op.create_table(
        "report_media",
        sa.Column("report_id", sa.String(length=26), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["media.digest"], name="fk_report_media_digest"),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_report_media_report_id"),
        sa.PrimaryKeyConstraint("report_id", "digest", name="pk_report_media"),
    )
    op.create_index("ix_report_media_digest", "report_media", ["digest"], unique=False)

    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER history_no_{event.lower()} BEFORE {event} ON history "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON history "
            "FOR EACH STATEMENT EXECUTE FUNCTION history_is_append_only()"
        )


def downgrade() -> None:
    """Drop everything; the reports are lost."""
    for table in ("report_media", "history", "sessions", "ballots", "accounts", "media", "reports"):
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION history_is_append_only")
