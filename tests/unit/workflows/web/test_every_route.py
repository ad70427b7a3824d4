"""Every route of the pages, with every role and with nobody: who may, who may not, and nothing without its token."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tests.unit.workflows.web.conftest import Browser
from workflows.bootstrap import Node
from workflows.state.people import Role
from workflows.web.access import PERMISSIONS, Permission
from workflows.web.app import create_app, is_open, routes_of_pages
from workflows.web.gate import SAFE_METHODS
from workflows.web.sessions import SessionDoor

ROUTES = [(method, route) for route in routes_of_pages() for method in sorted(route.methods - {"HEAD"})]
CLOSED = [(method, route) for method, route in ROUTES if not is_open(route.path)]
CHANGING = [(method, route) for method, route in ROUTES if method not in SAFE_METHODS]
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


def named(routes: list[tuple[str, APIRoute]]) -> list[object]:
    return [pytest.param(method, route, id=f"{method} {route.path}") for method, route in routes]


def permissions_of(dependant: Dependant) -> Iterator[Permission]:
    """What a route's dependencies need, however deep they lie."""
    for inner in dependant.dependencies:
        needed = getattr(inner.call, "permission", None)
        if isinstance(needed, Permission):
            yield needed
        yield from permissions_of(inner)


def address(route: APIRoute) -> str:
    """An address of the route, of things that are not there."""
    return re.sub(r"\{[^}]+\}", "1", route.path)


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Role | None, Browser]]:
    """A browser for each role, signed in through the real door, and one for nobody."""
    from workflows.settings import Settings

    folder = tmp_path_factory.mktemp("node") / "data"
    node = Node(Settings.model_validate({"node": {"data_dir": str(folder)}}))
    app = create_app(node, SessionDoor(node))
    made: dict[Role | None, Browser] = {}
    for role in (*Role, None):
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False)
        made[role] = Browser(client, node)
        if role is not None:
            made[role].add(role.value, role)
            made[role].sign_in(role.value)
    yield made
    node.repository.close()


@pytest.mark.parametrize(("method", "route"), named(ROUTES))
def test_a_route_says_what_it_needs_or_is_open(method: str, route: APIRoute) -> None:
    needed = set(permissions_of(route.dependant))
    assert bool(needed) is not is_open(route.path), "needs(Permission.X) as a dependency, or sessions.OPEN_PATHS"


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(("method", "route"), named(CLOSED))
def test_a_role_may_what_the_table_says(
    method: str, route: APIRoute, role: Role, browsers: dict[Role | None, Browser]
) -> None:
    may = set(permissions_of(route.dependant)) <= PERMISSIONS[role]
    if may and route.path in ("/logout", "/events"):
        return  # it would end the session, or never end
    browser = browsers[role]
    headers = {**SCRIPT, "X-CSRF-Token": browser.csrf()}
    status = browser.client.request(method, address(route), headers=headers).status_code
    assert status not in (401, 303) or may
    assert (status == 403) is not may


@pytest.mark.parametrize(("method", "route"), named(CLOSED))
def test_nobody_gets_in(method: str, route: APIRoute, browsers: dict[Role | None, Browser]) -> None:
    client = browsers[None].client
    assert client.request(method, address(route), headers=SCRIPT).status_code == 401
    page = client.request(method, address(route), headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
    if method in SAFE_METHODS:
        assert page.status_code == 303 and page.headers["location"].startswith("/login")
    else:
        assert page.status_code == 401


@pytest.mark.parametrize("token", [None, "", "x" * 43, "of another session"])
@pytest.mark.parametrize(("method", "route"), named(CHANGING))
def test_nothing_changes_without_the_token_of_the_session(
    method: str, route: APIRoute, token: str | None, browsers: dict[Role | None, Browser]
) -> None:
    browser = browsers[Role.ADMINISTRATOR]
    other = browsers[Role.VIEWER].csrf() if token == "of another session" else token
    headers = SCRIPT if other is None else {**SCRIPT, "X-CSRF-Token": other}
    answer = browser.client.request(method, address(route), headers=headers)
    assert answer.status_code == 403 and "earlier session" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
                                     {"Sec-Fetch-Site": "none"}, {"Origin": "https://evil.example"},
                                     {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"}])  # fmt: skip
@pytest.mark.parametrize(("method", "route"), named(CHANGING))
def test_nothing_changes_from_another_sites_page(
    method: str, route: APIRoute, headers: dict[str, str], browsers: dict[Role | None, Browser]
) -> None:
    browser = browsers[Role.ADMINISTRATOR]
    sent = {"Accept": "application/json", "X-CSRF-Token": browser.csrf(), **headers}
    answer = browser.client.request(method, address(route), headers=sent)
    assert answer.status_code == 403 and "another site" in answer.json()["detail"]
