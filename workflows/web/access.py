"""Who may do what: roles, what each may do, and how a route says what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from fastapi import HTTPException, Request
from starlette.responses import Response

from workflows.bootstrap import Node
from workflows.state.people import Role

__all__ = [
    "PERMISSIONS", "Forbidden", "FrontDoor", "Permission", "Person", "Role", "base_path_of", "needs", "node_of",
    "person_of",
]  # fmt: skip


class Permission(Enum):
    """What a route needs."""

    LOOK = "look at studies and results"
    REVIEW = "give verdicts, correct, ask again"
    OPERATE = "read again, send again, cancel, requeue; see reading protocols and try them"
    AGREEMENT = "see and export agreement"
    ADMINISTER = "accounts and the audit"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.LOOK}),
    Role.REVIEWER: frozenset({Permission.LOOK, Permission.REVIEW, Permission.AGREEMENT}),
    Role.ADMINISTRATOR: frozenset(Permission),
}
"""One table: a test goes through every route with every role."""


@dataclass(frozen=True)
class Person:
    """Who is signed in. `account`: what the audit and reviews name. `name`: as DICOM has it (PN), `Family^Given`.

    `csrf`: the token that every changing request of this session carries.
    """

    account: str
    name: str
    role: Role
    csrf: str = ""

    def may(self, permission: Permission) -> bool:
        """Whether the person's role allows it."""
        return permission in PERMISSIONS[self.role]


class FrontDoor(Protocol):
    """Decides who is asking before any route does: sessions, CSRF, hosts, headers."""

    async def admit(self, request: Request) -> Person | Response | None:
        """The person; a response where there is none to be had (sign in first); None: a route that needs nobody."""


def node_of(request: Request) -> Node:
    """The node that the pages are of."""
    node = request.app.state.node
    assert isinstance(node, Node)
    return node


def base_path_of(request: Request) -> str:
    """The path below which a proxy shows the pages, or ""."""
    return node_of(request).settings.web.base_path


def person_of(request: Request) -> Person:
    """The person that a request comes from. Raises 401 where nobody is signed in."""
    person = getattr(request.state, "person", None)
    if not isinstance(person, Person):
        raise HTTPException(401, "Sign in first.")
    return person


class Forbidden(HTTPException):
    """A person asks for what the role has not; the audit has a line of it."""

    def __init__(self, person: Person, permission: Permission) -> None:
        told = f"A {person.role.value} may not do this: {permission.value}. An administrator may allow it."
        super().__init__(403, told)
        self.person, self.permission = person, permission


def needs(permission: Permission) -> Callable[[Request], Person]:
    """A dependency of a route: the person, who may do this. Raises 401, 403.

    `@router.get(...)` `def page(person: Annotated[Person, Depends(needs(Permission.LOOK))])`. Every route has one, but
    for those that `app.OPEN_PATHS` names; a test goes through all.
    """

    def check(request: Request) -> Person:
        person = person_of(request)
        if not person.may(permission):
            raise Forbidden(person, permission)
        return person

    check.permission = permission  # type: ignore[attr-defined]
    return check
