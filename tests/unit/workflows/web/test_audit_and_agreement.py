"""The pages of audit and agreement: who may see them, what stands in them, and that exports are recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from starlette.requests import Request

from workflows.bootstrap import Node
from workflows.state.auditing import AuditAction, AuditEvent, Outcome
from workflows.web import auditing
from workflows.web.access import Person, Role

Client = Callable[[Role], TestClient]


def actions(node: Node) -> list[str]:
    return [row.action for row in node.repository.audit_entries()]


def test_the_audit_is_for_administrators(node: Node, client_of: Client) -> None:
    node.repository.record_event(
        AuditEvent("<b>anna</b>", AuditAction.LOOK, "1.2.3", "1.2.3", Outcome.MINOR_FAILURE, "10.0.0.7", {"images": 3})
    )
    assert client_of(Role.VIEWER).get("/audit").status_code == 403
    assert client_of(Role.REVIEWER).post("/audit/verify").status_code == 403
    page = client_of(Role.ADMINISTRATOR).get("/audit")
    assert page.status_code == 200 and "&lt;b&gt;anna" in page.text and "<b>anna" not in page.text
    assert ">refused<" in page.text and "3 images" in page.text and "style=" not in page.text
    assert actions(node)[-1] == "audit-read"


def test_filters_and_pages_of_the_audit(node: Node, client_of: Client) -> None:
    for number in range(120):
        node.repository.record_event(AuditEvent("anna", AuditAction.LOOK, f"1.2.{number}", f"1.2.{number}"))
    client = client_of(Role.ADMINISTRATOR)
    first = client.get("/audit?who=anna").text
    assert "1.2.119" in first and "1.2.19<" not in first and "before=21" in first
    assert "1.2.19<" in client.get("/audit?who=anna&before=21").text
    assert "No row is like that" in client.get("/audit?who=berta").text
    assert "A day is written as" in client.get("/audit?since=yesterday").text
    assert "1.2.7<" in client.get("/audit?study=1.2.7").text


def test_a_broken_chain_is_told(node: Node, client_of: Client) -> None:
    client = client_of(Role.ADMINISTRATOR)
    node.repository.record_event(AuditEvent("anna", AuditAction.LOOK, "1.2.3", "1.2.3"))
    whole = client.post("/audit/verify").json()
    assert (whole["rows"], whole["count"], whole["faults"]) == (1, 0, [])
    with node.repository._engine.begin() as connection:
        connection.execute(text("UPDATE audit SET who = 'berta' WHERE number = 1"))
    broken = client.post("/audit/verify").json()
    assert broken["count"] == 1 and broken["faults"][0]["number"] == 1
    last = node.repository.audit_entries()[-1]
    assert (last.action, last.outcome) == ("audit-verify", Outcome.SERIOUS_FAILURE)


def request_of(node: Node, client: TestClient, account: str) -> Request:
    request = Request({"type": "http", "app": client.app, "client": ("10.0.0.7", 1), "headers": [], "state": {}})
    request.state.person = Person(account, "Test^A", Role.VIEWER)
    return request


def test_a_look_is_recorded_once_in_a_while_for_each_person_and_study(
    node: Node, client_of: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(Role.VIEWER)
    now = [1000.0]
    monkeypatch.setattr(auditing.time, "monotonic", lambda: now[0])
    anna, berta = request_of(node, client, "anna"), request_of(node, client, "berta")
    for request, study in ((anna, "1.2"), (anna, "1.2"), (anna, "1.3"), (berta, "1.2")):
        auditing.looked(request, study)
    assert [(row.who, row.study_uid) for row in node.repository.audit_entries()] == [
        ("anna", "1.2"), ("anna", "1.3"), ("berta", "1.2"),
    ]  # fmt: skip
    assert node.repository.audit_entries()[0].address == "10.0.0.7"
    now[0] += auditing.AGAIN_S
    auditing.looked(anna, "1.2")
    assert len(actions(node)) == 4


def test_a_look_that_could_not_be_recorded_is_recorded_next_time(
    node: Node, client_of: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(node, client_of(Role.VIEWER), "anna")
    with monkeypatch.context() as broken:
        broken.setattr(type(node.repository), "record_event", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            auditing.looked(request, "1.2")
    auditing.looked(request, "1.2")
    assert actions(node) == ["look"]


def test_agreement_and_its_exports(node: Node, client_of: Client) -> None:
    assert client_of(Role.VIEWER).get("/agreement").status_code == 403
    client = client_of(Role.REVIEWER)
    page = client.get("/agreement")
    assert page.status_code == 200 and "Nothing to compare yet" in page.text
    assert client.get("/agreement.csv?by=scanner").text.splitlines()[1].startswith("scanner,all,0,0")
    assert client.get("/agreement.json?by=weights").json()["by"] == "weights"
    assert client.get("/agreement?by=patient").status_code == 422
    assert [(row.action, row.subject) for row in node.repository.audit_entries("export")] == [
        ("export", "agreement.csv"), ("export", "agreement.json"),
    ]  # fmt: skip
