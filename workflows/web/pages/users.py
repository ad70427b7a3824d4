"""The administrator's page of accounts: list, add, role, disable, and a link for who cannot sign in."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from workflows.errors import AccountRefused
from workflows.state.people import OneTimeKind, Role, account_name
from workflows.web.access import Permission, Person, base_path_of, needs, node_of
from workflows.web.rendering import render
from workflows.web.told import tell_audit

__all__ = ["router"]

router = APIRouter(prefix="/users")
Administrator = Annotated[Person, Depends(needs(Permission.ADMINISTER))]
_LINK_LASTS = timedelta(hours=24)


@router.get("")
def users(request: Request, person: Administrator) -> Response:
    """Every account."""
    return _page(request)


@router.post("")
def add(
    request: Request,
    person: Administrator,
    account: Annotated[str, Form()] = "",
    family: Annotated[str, Form()] = "",
    given: Annotated[str, Form()] = "",
    role: Annotated[Role, Form()] = Role.VIEWER,
) -> Response:
    """A new account, and the link by which its owner chooses a password."""
    name = account_name(account)
    if name is None:
        return _page(request, 422, "An account has letters, digits and . _ @ - and begins with a letter or a digit.")
    try:
        node_of(request).repository.add_account(name, _person_name(family, given) or name, role)
    except AccountRefused as refusal:
        return _page(request, 409, _sentence(refusal))
    tell_audit(request, name, "account added", role.value)
    return _with_link(request, name)


@router.post("/{account}/role")
def change_role(request: Request, person: Administrator, account: str, role: Annotated[Role, Form()]) -> Response:
    """Another role; the account's sessions end."""
    return _changed(request, account, f"role {role.value}", lambda: node_of(request).repository.set_role(account, role))


@router.post("/{account}/disable")
def disable(request: Request, person: Administrator, account: str) -> Response:
    """The account signs in no more; its sessions end."""
    return _changed(request, account, "disabled", lambda: node_of(request).repository.disable_account(account))


@router.post("/{account}/enable")
def enable(request: Request, person: Administrator, account: str) -> Response:
    """The account may sign in again."""
    return _changed(request, account, "enabled", lambda: node_of(request).repository.enable_account(account))


@router.post("/{account}/link")
def make_link(request: Request, person: Administrator, account: str) -> Response:
    """A link by which the owner chooses a new password; the old one holds until then."""
    try:
        return _with_link(request, account)
    except AccountRefused as refusal:
        return _page(request, 404, _sentence(refusal))


def _changed(request: Request, account: str, what: str, change: object) -> Response:
    assert callable(change)
    try:
        change()
    except AccountRefused as refusal:
        return _page(request, 409, _sentence(refusal))
    tell_audit(request, account, "account changed", what)
    return RedirectResponse(f"{base_path_of(request)}/users", 303)


def _with_link(request: Request, account: str) -> Response:
    """The page with the link in it, once: it stands in no address, and is not kept."""
    token = node_of(request).repository.make_one_time(OneTimeKind.LINK, _LINK_LASTS, account, {"password": True})
    tell_audit(request, account, "link made", "page")
    address = f"{request.url.scheme}://{request.headers['host']}{base_path_of(request)}/link/{token}"
    return _page(request, made={"account": account, "address": address})


def _page(request: Request, status: int = 200, wrong: str = "", made: dict[str, str] | None = None) -> Response:
    accounts = node_of(request).repository.accounts()
    return render(request, "users.html", status, accounts=accounts, roles=list(Role), wrong=wrong, made=made)


def _person_name(family: str, given: str) -> str:
    """A person name (PS3.5 6.2, VR PN) of two components; what means something in it is left out of them."""
    parts = [
        "".join(" " if one in "^=\\" or not one.isprintable() else one for one in part) for part in (family, given)
    ]
    return "^".join(" ".join(part.split())[:31] for part in parts).strip("^ ")


def _sentence(refusal: AccountRefused) -> str:
    text = str(refusal)
    return f"{text[:1].upper()}{text[1:]}."
