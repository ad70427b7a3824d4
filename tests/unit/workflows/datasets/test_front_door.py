"""The review page of MedSeg-QA has the gate of the node's pages before it, and a link that works once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from workflows.datasets.front_door import behind_front_door


@pytest.fixture
def served() -> Iterator[tuple[TestClient, str]]:
    page = FastAPI()

    @page.get("/")
    def look() -> str:
        return "the page"

    @page.post("/verdict/1")
    def decide() -> str:
        return "decided"

    guarded, path = behind_front_door(page, "127.0.0.1")
    with TestClient(guarded, base_url="http://127.0.0.1:8765", follow_redirects=False) as client:
        yield client, path


def test_the_link_lets_one_browser_in_once(served: tuple[TestClient, str]) -> None:
    client, path = served
    assert client.get("/").status_code == 401
    assert client.get("/link/" + "x" * 43).status_code == 401
    assert client.get(path).status_code == 303
    assert client.get("/").status_code == 200
    assert client.get(path).headers["location"] == "/", "opened again by the same browser"
    client.cookies.clear()
    assert client.get(path).status_code == 401, "by another one"


def test_nothing_is_decided_from_another_site_or_by_a_form(served: tuple[TestClient, str]) -> None:
    client, path = served
    client.get(path)
    assert client.post("/verdict/1", json={}).status_code == 200
    assert client.post("/verdict/1", json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/verdict/1", json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/verdict/1", data={"a": "b"}).status_code == 415


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", ""])
def test_another_name_gets_nothing(host: str, served: tuple[TestClient, str]) -> None:
    client, path = served
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert "script-src 'self'" in answer.headers["content-security-policy"]
