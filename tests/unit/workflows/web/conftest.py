"""The pages over a node of a test's own, with somebody signed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from httpx2 import Response

from workflows.bootstrap import Node
from workflows.settings import Settings
from workflows.web.access import Person, Role
from workflows.web.app import create_app
from workflows.web.passwords import hash_password
from workflows.web.sessions import SessionDoor


class OpenDoor:
    """A front door that lets everybody in as one person."""

    def __init__(self, person: Person) -> None:
        self._person = person

    async def admit(self, request: Request) -> Person:
        return self._person


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(Settings.model_validate({"node": {"data_dir": str(tmp_path / "data")}}))
    yield node
    node.repository.close()


@pytest.fixture
def client_of(node: Node) -> Callable[[Role], TestClient]:
    """A client of the pages, signed in as somebody with this role."""

    def client(role: Role) -> TestClient:
        person = Person(account=role.value, name=f"Test^{role.value.title()}", role=role, csrf="token")
        return TestClient(create_app(node, OpenDoor(person)), base_url="http://127.0.0.1")

    return client


@pytest.fixture
def browser(node: Node) -> Iterator[Browser]:
    """A browser before the pages with their real front door."""
    with TestClient(create_app(node, SessionDoor(node)), base_url="http://127.0.0.1", headers=PAGE) as client:
        client.follow_redirects = False
        yield Browser(client, node)


PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
PASSWORD = "a horse in the corridor"


class Browser:
    """Opens pages and sends their forms, with the tokens that stand in them."""

    def __init__(self, client: TestClient, node: Node) -> None:
        self.client, self.node = client, node

    def csrf(self, path: str = "/account") -> str:
        """The token that the form of a page carries."""
        found = re.search(r'name="csrf" (?:value|content)="([^"]+)"', self.client.get(path).text)
        assert found is not None
        return found[1]

    def add(self, account: str, role: Role = Role.REVIEWER, password: str = PASSWORD) -> None:
        """An account as an administrator would have made it."""
        self.node.repository.add_account(account, f"Test^{account.title()}", role, hash_password(password))

    def sign_in(self, account: str, password: str = PASSWORD, **more: str) -> Response:
        form = {"csrf": self.csrf("/login"), "account": account, "password": password, **more}
        return self.client.post("/login", data=form)

    def send(self, path: str, form_of: str = "/account", **form: str) -> Response:
        return self.client.post(path, data={"csrf": self.csrf(form_of), **form})
