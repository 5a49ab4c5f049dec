"""Logging in and out, and the accounts."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from evalkit.server.accounts import SCOPES, Account
from evalkit.server.security import COOKIE, Admin, Reporter, find_session, local_account
from evalkit.server.view import page, redirect

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login_page(request: Request, token: str = "") -> Response:
    """The form, or, with the token that the terminal shows, straight in."""
    if token:
        return _login(request, token)
    return redirect(request, "/") if find_session(request) else page(request, "login.html", problem="")


@router.post("/login")
def login(request: Request, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Log in with a token. No form token is needed: there is no session to misuse yet, and Origin was checked."""
    return _login(request, token.strip())


def _login(request: Request, token: str) -> Response:
    state = request.app.state
    local = local_account(state.settings, state.accounts)
    account: Account | None = state.accounts.of_token(token)
    if local is not None and secrets.compare_digest(token.encode(), state.settings.launch_token.encode()):
        account = local
    if account is None:
        return page(
            request, "login.html", 401, problem="That token is not known here. Check that it is complete."
        )
    response = redirect(request, "/")
    response.set_cookie(
        COOKIE,
        state.accounts.begin_session(account),
        max_age=14 * 86_400,
        path=state.settings.prefix or "/",
        httponly=True,
        secure=state.settings.secure,
        samesite="strict",
    )
    return response


@router.post("/logout")
def logout(request: Request, _: Reporter) -> RedirectResponse:
    """End the session."""
    request.app.state.accounts.end_session(request.cookies.get(COOKIE, ""))
    response = redirect(request, "/login")
    response.delete_cookie(COOKIE, path=request.app.state.settings.prefix or "/")
    return response


@router.get("/accounts")
def accounts_page(request: Request, _: Admin) -> Response:
    """Accounts and the form for a new one."""
    return _accounts(request)


@router.post("/accounts")
def add_account(
    request: Request,
    _: Admin,
    name: Annotated[str, Form(max_length=80)],
    scope: Annotated[str, Form()],
) -> Response:
    """Make an account, or give one a new token; the token is shown on this page only."""
    token = request.app.state.accounts.add(name.strip(), (scope,))
    return _accounts(request, made=name.strip(), token=token)


@router.post("/accounts/remove")
def remove_account(request: Request, _: Admin, name: Annotated[str, Form(max_length=80)]) -> Response:
    """Remove an account."""
    request.app.state.accounts.remove(name)
    return redirect(request, "/accounts")


def _accounts(request: Request, made: str = "", token: str = "") -> Response:
    listed = request.app.state.accounts.list()
    return page(request, "accounts.html", accounts=listed, scopes=SCOPES, made=made, token=token)
