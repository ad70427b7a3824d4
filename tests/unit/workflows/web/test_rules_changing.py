"""A change of protocols, tried before it goes live: its mistakes, and what it would have asked otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.scene import make_scene
from workflows.bootstrap import Node
from workflows.web.pages import rules_changing

from .rules_scene import ABDOMEN, OFF, client_of, rules_node

BODY = ABDOMEN[: ABDOMEN.index("examples:")].replace("    description: {pattern: '\\babd'}\n", "")
BODY = BODY.replace("at_most: 5", "at_most: 50")
BOMB = "b0: &b0 [x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = rules_node(tmp_path, abdomen=ABDOMEN, heart=OFF)
    yield node
    node.repository.close()


@pytest.fixture
def client(node: Node) -> TestClient:
    return client_of(node)


@pytest.fixture
def one_study(node: Node, tmp_path: Path) -> None:
    """One study of the node was read, and no protocol of it asks anything now."""
    make_scene(node, tmp_path / "images")


def tried(client: TestClient, days: str = "30", **files: str) -> str:
    brought = [("files", (f"{name}.yaml", text.encode())) for name, text in files.items()]
    answer = client.post("/rules/change", files=brought, data={"days": days})
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.usefixtures("one_study")
def test_a_change_is_shown_with_the_studies_that_it_asks(node: Node, client: TestClient, tmp_path: Path) -> None:
    before = (tmp_path / "rules" / "abdomen.yaml").read_text(), node.repository.protocols_in_service()
    page = tried(client, edited=BODY.replace('"2"', '"3"'))
    assert "In place of what is in service: <strong><bdi>abdomen</bdi></strong>" in page
    assert ">+1<" in page.replace("\n", "") and "2 → 3" in page
    assert "1 studies" in page or "1 study" in page
    assert "<script" not in page and " style=" not in page
    after = (tmp_path / "rules" / "abdomen.yaml").read_text(), node.repository.protocols_in_service()
    assert after == before, "nothing goes live"


def test_a_new_protocol_stands_beside_those_in_service(client: TestClient) -> None:
    page = tried(client, new=BODY.replace("name: abdomen", "name: another"))
    assert "New: <strong><bdi>another</bdi></strong>" in page


def test_mistakes_are_told_with_their_lines_and_nothing_is_compared(client: TestClient) -> None:
    page = tried(client, broken=ABDOMEN.replace("modality: CT", "modalty: CT"), right=OFF)
    assert "would refuse this" in page and "broken.yaml</bdi>, line" in page and "modalty" in page
    assert "Model minutes" not in page


@pytest.mark.parametrize(
    "text",
    [
        BOMB, "[" * 50_000, "\x00\x01", "", "- a\n- b", "name: a\n" * 3, "x" * 600_000, "a: &a [*a]",
        "!!python/object:os.system {}",
    ],
    ids=["aliases", "brackets", "control", "empty", "list", "twice", "long", "itself", "object"],
)  # fmt: skip
def test_hostile_files_are_mistakes(client: TestClient, text: str) -> None:
    assert "would refuse this" in tried(client, hostile=text)


@pytest.mark.parametrize("days", ["0", "-1", "366", "many", "1e9", "", "٣"])
def test_days_are_bounded(client: TestClient, days: str) -> None:
    answer = client.post("/rules/change", files=[("files", ("a.yaml", OFF.encode()))], data={"days": days})
    assert answer.status_code == 422 and "whole number" in answer.json()["detail"]


def test_what_is_no_protocol_is_told(client: TestClient) -> None:
    answer = client.post("/rules/change", files=[("files", ("a.dcm", b"DICM"))])
    assert "a.dcm" in answer.text and "choose files of reading protocols" in answer.text
    assert client.post("/rules/change", files=[("files", ("a.yaml", bytes(6_000_000)))]).status_code == 413
    assert client.post("/rules/change", data={"days": "30"}).status_code == 422


def test_one_change_is_tried_at_a_time(client: TestClient) -> None:
    with rules_changing._one_at_a_time:
        answer = client.post("/rules/change", files=[("files", ("a.yaml", OFF.encode()))])
    assert answer.status_code == 429 and "Try again" in answer.json()["detail"]
    assert tried(client, heart=OFF)


@pytest.mark.usefixtures("one_study")
def test_only_so_many_studies_are_looked_at_and_the_page_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_changing, "_MOST_STUDIES", 0)
    assert "left out here" in tried(client, heart=OFF)
