"""The web app, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from evalkit.errors import EvalkitError, UnreadableVideo, UnsupportedVideo, VideoError, VideoLimitExceeded
from evalkit.failures.errors import InvalidReport, StateConflict, UnknownReport
from evalkit.failures.ingest import MAX_ATTACHMENT_BYTES
from evalkit.failures.media import UnwantedFile
from evalkit.failures.store import FailureStore, open_store
from evalkit.server.accounts import Accounts
from evalkit.server.jobs import Jobs
from evalkit.server.library import Library
from evalkit.server.routes import api, filing, runs, session, triage, voting
from evalkit.server.security import BodyCap, Gatekeeper
from evalkit.server.settings import Settings, is_loopback
from evalkit.server.view import page, redirect
from evalkit.server.votes import Votes

__all__ = ["create_app"]

_STATIC = {
    "base.css": (Path(__file__).parents[1] / "report" / "static" / "base.css", "text/css; charset=utf-8"),
    "theme.js": (
        Path(__file__).parents[1] / "report" / "static" / "theme.js",
        "text/javascript; charset=utf-8",
    ),
    **{
        name: (Path(__file__).parent / "static" / name, kind)
        for name, kind in (
            ("server.css", "text/css; charset=utf-8"),
            ("clip.js", "text/javascript; charset=utf-8"),
            ("file.js", "text/javascript; charset=utf-8"),
            ("board.js", "text/javascript; charset=utf-8"),
            ("htmx.min.js", "text/javascript; charset=utf-8"),
            ("htmx.LICENSE.txt", "text/plain; charset=utf-8"),
        )
    },
}
# The first class that fits decides.
_STATUS: tuple[tuple[type[EvalkitError], int], ...] = (
    (UnknownReport, 404),
    (StateConflict, 409),
    (UnwantedFile, 415),
    (InvalidReport, 422),
    (VideoLimitExceeded, 413),
    (UnreadableVideo, 415),
    (UnsupportedVideo, 415),
    (VideoError, 415),
    (EvalkitError, 422),
)


def create_app(settings: Settings) -> FastAPI:
    """Make the app.

    Raises:
        EvalkitError: it would listen to other machines although nobody needs a token of an account.
        StoreError: the database cannot be opened.
    """
    store: FailureStore = open_store(settings.db or None, settings.media)
    accounts = Accounts(store.database)
    if not is_loopback(settings.host) and not accounts.list():
        store.close()
        raise EvalkitError(
            f"refusing to listen on {settings.host}: other machines could reach it, and there are no accounts; make one "
            "with `evalkit serve --add-account NAME:admin`, or listen on 127.0.0.1"
        )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store.prune_media()
        yield
        app.state.jobs.close()
        store.close()

    app = FastAPI(
        title="evalkit",
        description="Failure reports of generated video.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # the interactive pages load their scripts from another site
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.store = store
    app.state.accounts = accounts
    app.state.votes = Votes(store.database)
    app.state.library = Library(settings.runs)
    app.state.jobs = Jobs(Path.cwd())
    app.state.db_url = store.database.engine.url.render_as_string(hide_password=False)
    app.state.reproductions = store.media.root.parent / "reproductions"

    for part in (session, runs, filing, triage, voting, api):
        app.include_router(part.router)
    app.add_api_route("/static/{name}", _static, include_in_schema=False)
    app.add_api_route("/healthz", _health, include_in_schema=False)
    app.add_exception_handler(EvalkitError, _known_error)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    uploads = (filing.UPLOAD_PATH, api.UPLOAD_PATH)
    attachments = (filing.ATTACHMENT_PATH, api.ATTACHMENT_PATH)
    caps = dict.fromkeys(uploads, settings.max_upload_bytes) | dict.fromkeys(
        attachments, MAX_ATTACHMENT_BYTES
    )
    app.add_middleware(BodyCap, limit=settings.max_body_bytes, limits=caps)
    app.add_middleware(Gatekeeper, settings=settings)
    return app


def _static(name: str) -> FileResponse:
    if name not in _STATIC:
        raise HTTPException(404, "no such file")
    path, kind = _STATIC[name]
    return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})


def _health() -> dict[str, str]:
    """For a reverse proxy: the process answers."""
    return {"status": "ok"}


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def _refuse(request: Request, status: int, message: str) -> Response:
    if not _wants_page(request) or request.headers.get("hx-request"):
        return JSONResponse({"detail": message}, status)
    if status == 401:
        return redirect(request, "/login")
    return page(request, "error.html", status, code=status, message=message)


async def _known_error(request: Request, error: Exception) -> Response:
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    return _refuse(request, status, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    told = "there is nothing at this address" if error.detail == "Not Found" else str(error.detail)
    response = _refuse(request, error.status_code, told)
    response.headers.update(error.headers or {})
    return response


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'][1:])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )
    return _refuse(request, 422, said)
