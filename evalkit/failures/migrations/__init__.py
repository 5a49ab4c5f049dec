"""Schema changes, oldest first; `alembic` applies them when a database is opened."""
