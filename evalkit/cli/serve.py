"""`evalkit serve`: the local web app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve"]


def serve(
    runs: Annotated[Path, typer.Option(help="Folder that is searched for runs.")] = Path("runs"),
    db: Annotated[
        str, typer.Option(help="Database URL (default: $EVALKIT_DB, else sqlite:///failures/failures.db).")
    ] = "",
    port: Annotated[int, typer.Option(help="Port.", min=1, max=65535)] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines need accounts.")
    ] = "127.0.0.1",
    public_url: Annotated[
        str,
        typer.Option(help="How browsers reach a reverse proxy in front, e.g. https://evalkit.example.org."),
    ] = "",
    cases: Annotated[Path, typer.Option(help="Folder of the regression cases.")] = Path("regressions"),
    media: Annotated[
        Path | None, typer.Option(help="Folder of the reports' files (default: beside the database).")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that triagers may run to reproduce a failure, as for `evalkit run`; repeatable."
        ),
    ] = None,
    max_upload: Annotated[int, typer.Option(help="Largest clip to take, in MiB.", min=1)] = 200,
    add_account: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME:SCOPE (report, triage or admin): make the account, print its token, end; repeatable."
        ),
    ] = None,
    remove_account: Annotated[
        list[str] | None, typer.Option(help="NAME: remove the account, end; repeatable.")
    ] = None,
) -> None:
    """Browse runs, file and triage failure reports, and vote, in a local web app.

    Without accounts only this machine can reach it, by the address that is printed. With accounts, everybody logs in
    with a token.

    Example: evalkit serve --runs runs --model reference
    """
    from evalkit.errors import MissingExtra

    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "server", "the web app") from error
    if add_account or remove_account:
        _change_accounts(db, add_account or [], remove_account or [])
        return
    from evalkit.server.app import create_app
    from evalkit.server.settings import Settings

    settings = Settings(
        runs=runs,
        host=host,
        port=port,
        db=db,
        media=media,
        cases=cases,
        public_url=public_url,
        models=tuple(model or ()),
        max_upload_bytes=max_upload << 20,
    )
    app = create_app(settings)
    token = "" if app.state.accounts.list() else f"/login?token={settings.launch_token}"
    typer.echo(f"open {settings.address}{token}", err=True)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # addresses may hold the launch token
        proxy_headers=False,  # Host and Origin are checked as they arrive; nothing else of a proxy is believed
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def _change_accounts(db: str, add: list[str], remove: list[str]) -> None:
    from evalkit.errors import EvalkitError
    from evalkit.failures.store import open_store
    from evalkit.server.accounts import Accounts

    accounts = Accounts(open_store(db or None).database)
    for entry in add:
        name, _, scope = entry.partition(":")
        token = accounts.add(name, [scope or "report"])
        typer.echo(f"account {name} ({scope or 'report'}); its token, shown only now:", err=True)
        typer.echo(token)
    for name in remove:
        if not accounts.remove(name):
            raise EvalkitError(f"there is no account {name!r}")
        typer.echo(f"removed {name}", err=True)
