"""The pages of reading protocols in service: the list, and each in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.scene import make_scene
from workflows.bootstrap import Node
from workflows.errors import ProtocolMistake
from workflows.web.access import Role

from .rules_scene import ABDOMEN, OFF, client_of, rules_node

PATHS = ("/rules", "/rules/abdomen", "/rules/test", "/rules/change")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = rules_node(tmp_path, abdomen=ABDOMEN, heart=OFF)
    yield node
    node.repository.close()


@pytest.mark.parametrize("path", PATHS)
def test_who_may_operate_sees_them_and_nobody_else(node: Node, path: str) -> None:
    page = client_of(node).get(path)
    assert page.status_code == 200
    assert "<script>" not in page.text and " style=" not in page.text and "onclick" not in page.text
    assert '<a href="/rules" aria-current="page">Rules</a>' in page.text
    for role in (Role.VIEWER, Role.REVIEWER):
        assert client_of(node, role).get(path).status_code == 403
        assert 'href="/rules' not in client_of(node, role).get("/worklist").text


def test_the_list_says_what_is_in_service_and_why_one_is_off(node: Node) -> None:
    page = client_of(node).get("/rules").text
    assert page.index("abdomen") < page.index("heart")
    assert "2 in service, 1 of them off" in page
    assert "the weights have not learned &lt;b&gt;it&lt;/b&gt;" in page
    assert "is refused" not in page


def test_the_list_counts_what_each_has_asked(tmp_path: Path) -> None:
    node = rules_node(tmp_path, abdomen=ABDOMEN.replace("name: abdomen", "name: abdominal-ct"))
    make_scene(node, tmp_path / "images")
    assert node.repository.series_asked(datetime.now(UTC) - timedelta(days=1)) == {"abdominal-ct": 4}
    assert '<td class="num">4</td>' in client_of(node).get("/rules").text
    node.repository.close()


def test_a_refused_edit_is_told_with_its_lines_while_the_old_rules_stay(node: Node) -> None:
    mistake = ProtocolMistake(
        Path("somewhere/abdomen.yaml"), 12, "no field is called 'modalty'; did you mean 'modality'?"
    )
    node.repository.refuse_protocols("0" * 64, [mistake])
    page = client_of(node).get("/rules").text
    assert "The edited folder is refused" in page
    assert "abdomen.yaml</bdi>, line 12" in page and "modalty" in page and "somewhere" not in page
    assert "2 in service" in page


def test_a_node_without_right_protocols_says_so(tmp_path: Path) -> None:
    node = rules_node(tmp_path)
    (tmp_path / "rules" / "x.yaml").write_text("name: [\n")
    page = client_of(node).get("/rules").text
    assert "No protocol is in service" in page and "x.yaml</bdi>, line" in page
    node.repository.close()


def test_a_protocol_is_told_in_words(node: Node) -> None:
    page = client_of(node).get("/rules/abdomen").text
    for said in (
        "age is at least 18 years, or is not given", "modality is CT", r"description matches /\babd/",
        "original before derived", "The first of these is", "only if liver is seen and larger than 1500 ml",
        "a CT of the abdomen", "must match", "passes", "prefer: [original, thin]",
    ):  # fmt: skip
        assert said in page, said


def test_earlier_versions_stand_under_the_one_in_service(node: Node, tmp_path: Path) -> None:
    edited = ABDOMEN.replace('"2"', '"3"').replace("at_least: 18", "at_least: 21")
    (tmp_path / "rules" / "abdomen.yaml").write_text(edited)
    node.rules.settle_s = 0.0
    for _ in range(2):
        node.load_protocols()
    page = client_of(node).get("/rules/abdomen").text
    assert "at least 21 years" in page
    assert page.count("at_least: 18") == 1 and "Version <bdi>2</bdi>" in page


def test_a_name_that_is_none_leads_nowhere_and_is_not_repeated(node: Node) -> None:
    for name in ("nothing", "%3Cscript%3Ealert(1)%3C/script%3E", "..%2F..%2Fetc", "a%00b", "x" * 3000):
        page = client_of(node).get(f"/rules/{name}", headers={"Accept": "text/html"})
        assert page.status_code == 404 and "alert(1)" not in page.text


def test_a_protocol_called_like_a_page_has_an_address(tmp_path: Path) -> None:
    test, slash = OFF.replace("name: heart", "name: test"), ABDOMEN.replace("name: abdomen", "name: a/b")
    node = rules_node(tmp_path, test=test, slash=slash)
    client = client_of(node)
    page = client.get("/rules").text
    for path in ("/rules/named/test", "/rules/a%2Fb"):
        assert f'href="{path}"' in page
        assert client.get(path).status_code == 200
    node.repository.close()
