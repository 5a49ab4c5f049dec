"""What every request passes and every answer carries.

A page of another site can make the browser of a tester send requests here, and a name server can make its own name
point to 127.0.0.1 (DNS rebinding). So the Host and Origin headers must be exactly ours, a cookie never travels with
a request that another site caused (SameSite=Strict), and a form must carry the session's token.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from evalkit.server.accounts import Account, Accounts, Session
from evalkit.server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "COOKIE",
    "RENDERED_PAGE_POLICY",
    "Admin",
    "BodyCap",
    "Gatekeeper",
    "Reporter",
    "Triager",
    "check_csrf",
    "current",
    "find_session",
    "local_account",
]

COOKIE = "evalkit_session"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Reports and galleries are single files for `file://`: their style and scripts are in the page. They may not talk to
# the server by script, nor send forms.
RENDERED_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'none'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # Not "no-referrer": browsers then send forms with "Origin: null", which is refused here.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Gatekeeper:
    """Refuses requests with another Host or Origin, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.hosts, self.origins = app, settings.hosts, settings.origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app: ASGIApp = self.app if refusal is None else refusal
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return PlainTextResponse("this server is not known under that name (Host header)\n", 421)
        origins = headers.getlist("origin")
        if origins and (len(origins) > 1 or origins[0] not in self.origins):
            return PlainTextResponse("requests from another site are refused (Origin header)\n", 403)
        if method not in _SAFE_METHODS and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return PlainTextResponse("requests from another site are refused (Sec-Fetch-Site header)\n", 403)
        return None


class BodyCap:
    """Refuses bodies beyond a cap, by the announced length and again while they arrive.

    Args:
        app: what is protected.
        limit: bytes of any body.
        limits: other limits for some paths.
    """

    def __init__(self, app: ASGIApp, limit: int, limits: Mapping[str, int]) -> None:
        self.app, self.limit, self.limits = app, limit, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope["path"], self.limit)
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            refusal = PlainTextResponse(f"the body is larger than {limit:,} bytes\n", 413)
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body is larger than {limit:,} bytes")
            return message

        await self.app(scope, counted, send)


def local_account(settings: Settings, accounts: Accounts) -> Account | None:
    """The one local user with every right, while nobody has made accounts."""
    return None if accounts.list() else Account(settings.local_user, ("admin",))


def find_session(request: Request) -> Session | None:
    """The session of a request: by bearer token (scripts; no cookie, so no forgery) or by cookie (browsers)."""
    state = request.app.state
    accounts: Accounts = state.accounts
    local = local_account(state.settings, accounts)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        account = accounts.of_token(token.strip()) if scheme.lower() == "bearer" else None
        if (
            local is not None
            and scheme.lower() == "bearer"
            and _equal(token.strip(), state.settings.launch_token)
        ):
            account = local
        return None if account is None else Session(account, "")
    cookie = request.cookies.get(COOKIE, "")
    return accounts.session(cookie, local) if cookie else None


def _equal(first: str, second: str) -> bool:
    return secrets.compare_digest(first.encode(), second.encode())


def current(request: Request) -> Session:
    """The session, or 401 (browsers are sent to the login page by the error handler)."""
    session = find_session(request)
    if session is None:
        raise HTTPException(401, "log in with your token", {"WWW-Authenticate": "Bearer"})
    request.state.session = session
    return session


async def check_csrf(request: Request, session: Annotated[Session, Depends(current)]) -> Session:
    """Writes that come with a cookie must carry the session's token, in a header or in the form."""
    if request.method in _SAFE_METHODS or not session.csrf:
        return session
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        value = (await request.form()).get("csrf", "")
        given = value if isinstance(value, str) else ""
    if not _equal(given, session.csrf):
        raise HTTPException(403, "the form is out of date or was sent by another site; load the page again")
    return session


def _scoped(scope: str) -> object:
    def check(session: Annotated[Session, Depends(check_csrf)]) -> Account:
        if not session.account.may(scope):
            raise HTTPException(403, f"this needs the scope {scope!r}; ask whoever runs this server")
        return session.account

    return Depends(check)


Reporter = Annotated[Account, _scoped("report")]
Triager = Annotated[Account, _scoped("triage")]
Admin = Annotated[Account, _scoped("admin")]
