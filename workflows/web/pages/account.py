"""One's own account: the password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from workflows.web.access import Permission, Person, needs, node_of
from workflows.web.passwords import hash_password, why_no_password
from workflows.web.rendering import render
from workflows.web.sessions import start_session
from workflows.web.signing_in import remember_device, try_password
from workflows.web.told import tell_audit

__all__ = ["router"]

router = APIRouter()
SignedInPerson = Annotated[Person, Depends(needs(Permission.LOOK))]


@router.get("/account")
def account(request: Request, person: SignedInPerson) -> Response:
    """The page of the person's own account."""
    return _page(request, person)


@router.post("/account")
def change_password(
    request: Request,
    person: SignedInPerson,
    now: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    """Another password. Every other browser of the account is signed out."""
    wrong = why_no_password(password, person.account) or ("" if password == again else "the two passwords differ")
    if wrong:
        return _page(request, person, 422, f"{wrong[:1].upper()}{wrong[1:]}.")
    attempt = try_password(request, person.account, now)
    if attempt.account is None:
        slowed = attempt.wait_s > 0
        return _page(
            request, person, 429 if slowed else 403, attempt.sentence if slowed else "That is not your password."
        )
    repository = node_of(request).repository
    changed = repository.set_password(person.account, hash_password(password))
    device = repository.attempt_succeeded(person.account, "", "")
    tell_audit(request, person.account, "password", "page")
    # The session ended with the old password: the page that says so belongs to the new one.
    page = render(request, "message.html", title="The password is changed", sentence="Other browsers are signed out.")
    start_session(request, page, changed)
    remember_device(request, page, device)
    return page


def _page(request: Request, person: Person, status: int = 200, wrong: str = "") -> Response:
    held = node_of(request).repository.account(person.account)
    return render(request, "account.html", status, account=held, wrong=wrong)
