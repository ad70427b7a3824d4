"""Signing in and out: by a password, or by a link that works once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from workflows.errors import AccountRefused
from workflows.state.people import Account, AccountSource, OneTimeKind, make_token
from workflows.web.access import Permission, Person, base_path_of, needs, node_of
from workflows.web.cookies import Cookie, cookie_of, set_cookie
from workflows.web.failures import draw_failure
from workflows.web.passwords import hash_password, why_no_password
from workflows.web.rendering import render
from workflows.web.sessions import end_session, own_path, start_session
from workflows.web.signing_in import remember_device, try_password
from workflows.web.told import tell_audit

__all__ = ["router"]

router = APIRouter()
SignedInPerson = Annotated[Person, Depends(needs(Permission.LOOK))]
_USED = "This link was used already, or its time is over. Ask an administrator for another one."


@router.get("/login")
def login(request: Request, next: str = "") -> Response:
    """The page to sign in; whoever is signed in goes on."""
    if getattr(request.state, "person", None) is not None:
        return RedirectResponse(base_path_of(request) + own_path(next), 303)
    return _login_page(request, own_path(next))


@router.post("/login")
def sign_in(
    request: Request,
    account: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "",
) -> Response:
    """Sign in by a password."""
    attempt = try_password(request, account, password)
    if attempt.account is None:
        status = 429 if attempt.wait_s > 0 else 401
        page = _login_page(request, own_path(next), status, wrong=attempt.sentence, typed=account[:64])
        if attempt.wait_s > 0:
            page.headers["Retry-After"] = str(round(attempt.wait_s) + 1)
        return page
    response = _go_on(request, attempt.account, own_path(next), "password")
    remember_device(request, response, attempt.device)
    return response


@router.post("/logout")
def logout(request: Request, person: SignedInPerson) -> Response:
    """Sign out."""
    response = RedirectResponse(f"{base_path_of(request)}/login", 303)
    end_session(request, response)
    tell_audit(request, person.account, "sign-out", "page")
    return response


@router.get("/link/{token}")
def link(request: Request, token: str) -> Response:
    """Who a link signs in, and a button. Looking does not use it up: mail programs look at links too."""
    known = node_of(request).repository.known_one_time(OneTimeKind.LINK, token)
    return draw_failure(request, 404, _USED) if known is None else _link_page(request, *known)


@router.post("/link/{token}")
def use_link(
    request: Request,
    token: str,
    password: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    """Sign in by a link, with a new password where it is for that."""
    repository = node_of(request).repository
    known = repository.known_one_time(OneTimeKind.LINK, token)
    if known is None:
        return draw_failure(request, 404, _USED)
    owner, content = known
    chooses = bool(content.get("password")) and owner.source is AccountSource.LOCAL
    if chooses and (wrong := _why_not(password, again, owner.account)):
        return _link_page(request, owner, content, 422, wrong)
    hashed = hash_password(password) if chooses else ""
    used = repository.use_one_time(OneTimeKind.LINK, token)
    if used is None or used[0] is None:
        return draw_failure(request, 404, _USED)
    account = used[0]
    if chooses:
        account = repository.set_password(account.account, hashed)
        tell_audit(request, account.account, "password", "link")
    return _go_on(request, account, own_path(content.get("next")), "link")


def _go_on(request: Request, account: Account, path: str, how: str) -> Response:
    response = RedirectResponse(base_path_of(request) + path, 303)
    try:
        start_session(request, response, account)
    except AccountRefused as refusal:
        return draw_failure(request, 403, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
    tell_audit(request, account.account, "sign-in", how)
    return response


def _why_not(password: str, again: str, account: str) -> str:
    return why_no_password(password, account) or ("" if password == again else "the two passwords differ")


def _login_page(request: Request, path: str, status: int = 200, wrong: str = "", typed: str = "") -> Response:
    provider = node_of(request).settings.web.oidc.issuer
    return _with_form(request, "login.html", status, next=path, wrong=wrong, typed=typed, provider=bool(provider))


def _link_page(
    request: Request, account: Account, content: dict[str, object], status: int = 200, wrong: str = ""
) -> Response:
    chooses = bool(content.get("password")) and account.source is AccountSource.LOCAL
    # Typed or pasted, or opened by another program: no page sent the browser here to sign in as somebody else.
    by_itself = not chooses and request.headers.get("sec-fetch-site") == "none" and request.state.person is None
    values = {"account": account, "chooses": chooses, "by_itself": by_itself, "wrong": wrong}
    return _with_form(request, "link.html", status, **values)


def _with_form(request: Request, template: str, status: int, **values: object) -> Response:
    """A page whose form carries the token of a cookie: no other site can send it (login CSRF)."""
    token = cookie_of(request, Cookie.FORM) or make_token()
    page = render(request, template, status, form_token=token, **values)
    set_cookie(request, page, Cookie.FORM, token)
    return page
