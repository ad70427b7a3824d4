"""Addresses that no page has: values of any size, and results of one study under another's address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.state.views import Selection
from workflows.web.access import Person, Role
from workflows.web.app import create_app, routes_of_pages
from workflows.web.sessions import is_open

HOSTILE = [
    "0", "-1", "1" * 30, "9223372036854775808", "1e9", "nan", "\x00", "a\x00b", "\U0001f600",
    "x" * 4000, "%", "'", "..", "\u202e", "<b>", "\r\nX: y", "2147483648",
]  # fmt: skip
ROUTES = [
    (method, route)
    for route in routes_of_pages()
    for method in sorted(route.methods - {"HEAD"})
    if not is_open(route.path) and route.path not in ("/events", "/logout")
]
OF_JOBS = [(method, route) for method, route in ROUTES if "{study_uid}" in route.path and "{job_key}" in route.path]
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
BODIES: dict[str, Any] = {
    "base": None, "verdicts": [], "missed": [], "results": "0", "decision": "dismiss", "closed": False,
}  # fmt: skip


class OpenDoor:
    async def admit(self, _request: Request) -> Person:
        return Person("admin", "PHANTOM^Admin", Role.ADMINISTRATOR, "token")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images", studies=3)
    yield node
    node.repository.close()


@pytest.fixture(scope="module")
def client(node: Node) -> TestClient:
    door = create_app(node, OpenDoor())
    return TestClient(door, base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False)


def named(routes: list[tuple[str, APIRoute]]) -> list[object]:
    return [pytest.param(method, route, id=f"{method} {route.path}") for method, route in routes]


def known(node: Node, place: int = 0) -> dict[str, str]:
    """Values of a study that is there, by the names that routes have for them."""
    view = sorted(node.repository.study_views(), key=lambda one: one.study.study_uid)[place]
    return {
        "study_uid": str(view.study.study_uid), "job_key": view.jobs[0].job.job_key, "part": "0", "index": "0",
        "answer": "0", "finding": "0", "digest": "f" * 64, "seg_uid": "1.2", "segment": "1", "account": "admin",
    }  # fmt: skip


def address(route: APIRoute, values: dict[str, str]) -> str:
    return re.sub(r"\{([^}:]+)[^}]*\}", lambda found: quote(values.get(found[1], "1"), safe=""), route.path)


@pytest.mark.parametrize(("method", "route"), named(ROUTES))
def test_no_value_in_an_address_makes_the_node_fail(
    method: str, route: APIRoute, node: Node, client: TestClient
) -> None:
    there = known(node)
    body = {"json": {}} if method in ("POST", "PUT") else {}
    for name in re.findall(r"\{([^}:]+)", route.path):
        for value in HOSTILE:
            answer = client.request(method, address(route, {**there, name: value}), headers=SCRIPT, **body)
            assert answer.status_code < 500, f"{name}={value[:20]!r}"
            assert "Traceback" not in answer.text
    for field in route.dependant.query_params:
        for value in HOSTILE:
            asked = {field.name: value}
            answer = client.request(method, address(route, there), params=asked, headers=SCRIPT, **body)
            assert answer.status_code < 500, f"?{field.name}={value[:20]!r}"


@pytest.mark.parametrize(("method", "route"), named(OF_JOBS))
def test_results_of_another_study_are_not_under_this_ones_address(
    method: str, route: APIRoute, node: Node, client: TestClient
) -> None:
    mine, other = known(node), known(node, 1)
    assert mine["study_uid"] != other["study_uid"]
    where = address(route, {**mine, "job_key": other["job_key"]})
    assert client.request(method, where, headers=SCRIPT, content=b"").status_code == 404


def test_a_verdict_on_another_studys_finding_is_refused(node: Node, client: TestClient) -> None:
    mine = known(node)["study_uid"]
    for place in range(1, 3):
        other = known(node, place)
        (view,) = node.repository.study_views(Selection(study_uid=other["study_uid"]))
        at = f"{view.jobs[0].job.job_key}/0/0"
        body = {"base": None, "verdicts": [{"place": at, "kind": "accept"}]}
        answer = client.put(f"/studies/{mine}/review", json=body)
        assert (answer.status_code, answer.json()["kind"]) == (409, "results")
    assert node.repository.review(mine) is None


@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b"{", b'{"filters": [], "q": ""}', b'{"filters": {"page": "after:\\u0000"}, "q": "\\u0000"}',
    b'{"filters": {"tab": [{}], "modality": [[]]}, "q": "%_\\\\"}', b'{"q": "\\ud800"}', b"\xff\xfe",
    b'{"base": [1e99, 2], "verdicts": []}', b'{"base": [9223372036854775808, 1], "verdicts": []}',
    b'{"base": null, "verdicts": [], "missed": [{"job_key": "a\\u0000", "answer": 0, "label": "liver", "slice": 0, '
    b'"row": NaN, "column": Infinity}]}',
    b'{"results": "\\u0000", "base": null}', b'{"decision": "confirm", "base": null}',
    b'{"question": "\\u0000 where?", "job_key": "x"}', b'{"question": "\\ud800"}', b"[" * 100_000,
])  # fmt: skip
def test_no_body_makes_the_node_fail(body: bytes, node: Node, client: TestClient) -> None:
    there = known(node)
    for method, route in ROUTES:
        if method in ("POST", "PUT") and "/operate" not in route.path and "/users" not in route.path:
            headers = {**SCRIPT, "Content-Type": "application/json"}
            answer = client.request(method, address(route, there), headers=headers, content=body)
            assert answer.status_code < 500, f"{method} {route.path}"
