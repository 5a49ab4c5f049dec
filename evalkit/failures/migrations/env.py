"""Alembic's environment: migrates over the connection that `evalkit.failures.database` hands in."""

from __future__ import annotations

from alembic import context

from evalkit.failures.tables import metadata

if hasattr(context, "config"):  # only while alembic runs; importing the module alone does nothing
    context.configure(
        connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
    )
    context.run_migrations()
