"""The operator's page: how the node stands, and orders that are foreseen before they are given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.quarantine import Quarantine, QuarantinedInstance
from workflows.roles.liveness import Liveness
from workflows.state.auditing import AuditFilter
from workflows.state.states import StudyState
from workflows.steps.operating import Action
from workflows.web.access import Person, Role
from workflows.web.app import create_app
from workflows.web.operations import Sign, standings

from .conftest import OpenDoor

UNKNOWN = "1.2.99"


class Scene:
    """A node with one study that was read and whose results wait for an archive."""

    def __init__(self, node: Node, study_uid: str) -> None:
        self.node, self.study_uid = node, study_uid

    def client(self, role: Role = Role.ADMINISTRATOR) -> TestClient:
        person = Person(account="op", name="Test^Op", role=role, csrf="token")
        return TestClient(create_app(self.node, OpenDoor(person)), base_url="http://127.0.0.1")

    def order(self, action: str, **wanted: Any) -> Any:
        return self.client().post(f"/operate/{action}", json=wanted)

    def state(self) -> StudyState:
        study = self.node.repository.study(self.study_uid)
        assert study is not None
        return study.state

    def audit(self) -> list[tuple[str, str, str]]:
        return [(one.who, one.action, one.subject) for one in self.node.repository.audit_entries()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with one study that was read, and the study: each test has a copy."""
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    (body,) = make_scene(node, folder / "images")
    node.repository.close()
    return folder / "data", body.study_uid


@pytest.fixture
def scene(made: tuple[Path, str], tmp_path: Path) -> Iterator[Scene]:
    data, study_uid = made
    node = scene_node(shutil.copytree(data, tmp_path / "data"))
    yield Scene(node, study_uid)
    node.repository.close()


def test_only_who_may_operate_sees_the_page(scene: Scene) -> None:
    assert scene.client().get("/operate").status_code == 200
    for role in (Role.VIEWER, Role.REVIEWER):
        assert scene.client(role).get("/operate").status_code == 403
        assert scene.client(role).post("/operate/cancel", json={"study_uid": [scene.study_uid]}).status_code == 403


def test_a_dry_run_says_what_the_order_then_does(scene: Scene) -> None:
    before = scene.state()
    foreseen = scene.order("cancel", study_uid=[scene.study_uid], dry_run=True).json()
    assert (foreseen["ready"], foreseen["outcomes"][0]["outcome"]) == (1, "4 jobs")
    assert (scene.state(), scene.audit()) == (before, [])
    done = scene.order("cancel", study_uid=[scene.study_uid], dry_run=False).json()
    assert done["outcomes"] == foreseen["outcomes"]
    assert scene.state() is StudyState.FAILED
    assert scene.order("requeue", study_uid=[scene.study_uid], dry_run=False).json()["ready"] == 1
    assert scene.state() is StudyState.DELIVERING
    assert scene.audit() == [("op", "cancel", scene.study_uid), ("op", "requeue", scene.study_uid)]


def test_an_order_without_a_word_on_it_is_a_dry_run(scene: Scene) -> None:
    assert scene.order("cancel", study_uid=[scene.study_uid]).json()["dry_run"] is True
    assert scene.audit() == []


def test_a_study_is_read_again_by_selectors(scene: Scene) -> None:
    done = scene.order("reread", selectors={"protocol": "abdominal-ct", "since": "1d"}, dry_run=False).json()
    assert done["outcomes"][0]["outcome"] == "will be read again"
    assert scene.state() is StudyState.COMPLETE
    assert scene.audit() == [("op", "reread", scene.study_uid)]
    again = scene.order("reread", study_uid=[scene.study_uid], dry_run=False).json()
    assert again["ready"] == 0
    assert "it is planned in any case" in again["outcomes"][0]["outcome"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "name the studies"),
        ({"selectors": {}}, "name the studies"),
        ({"selectors": {"state": "LOST"}}, "is no state; there are"),
        ({"selectors": {"since": "yesterday"}}, "is no time"),
        ({"study_uid": ["1.2.3"], "archive": "elsewhere"}, "no archive of that name"),
    ],
)
def test_an_order_that_cannot_be_is_refused_with_what_to_do(scene: Scene, wanted: dict[str, Any], says: str) -> None:
    refused = scene.order("requeue", **wanted)
    assert (refused.status_code, says in refused.json()["detail"]) == (422, True)


def test_unknown_studies_and_orders_are_told(scene: Scene) -> None:
    answer = scene.order("resend", study_uid=[UNKNOWN], dry_run=False).json()
    assert (answer["outcomes"], answer["unknown"]) == ([], [UNKNOWN])
    assert scene.order("destroy", study_uid=[UNKNOWN]).status_code == 422


def test_the_page_shows_what_stands_still_with_its_remedy(scene: Scene) -> None:
    known = {one.name: one for one in standings(scene.node)}
    assert (known["role scp"].sign, known["role scp"].remedy[:5]) == (Sign.BAD, "Start")
    Liveness("scp", scene.node.folder.root).beat()
    assert {one.name: one.sign for one in standings(scene.node)}["role scp"] is Sign.OK
    assert known["intake"].sign is Sign.OK
    assert "results to send" in known["queue"].told
    page = scene.client().get("/operate").text
    assert "Nothing is in quarantine." in page
    assert "<script>" not in page
    assert " style=" not in page


def quarantined(scene: Scene, reason: str = "its header <b>breaks off</b>") -> QuarantinedInstance:
    one = QuarantinedInstance(
        "a" * 64, "1.2.3.4", "1.2.3", "1.2.3.1", "1.2.840.10008.5.1.4.1.1.2", "CT1", "2026-01-01T00:00:00", reason, 3
    )
    Quarantine(scene.node.folder.quarantine).keep(one, lambda file: file.write(b"abc"))
    return one


def test_an_instance_of_the_quarantine_is_shown_and_deleted_after_it_was_said(scene: Scene) -> None:
    one = quarantined(scene)
    page = scene.client().get("/operate").text
    assert "its header &lt;b&gt;breaks off&lt;/b&gt;" in page
    discard = {"ids": [one.identifier]}
    foreseen = scene.client().post("/operate/quarantine/discard", json=discard).json()
    assert (foreseen["dry_run"], len(Quarantine(scene.node.folder.quarantine))) == (True, 1)
    scene.client().post("/operate/quarantine/discard", json={**discard, "dry_run": False})
    assert len(Quarantine(scene.node.folder.quarantine)) == 0
    assert scene.audit() == [("op", "quarantine-discard", "1.2.3.4")]
    assert scene.client().post("/operate/quarantine/discard", json=discard).status_code == 404


def test_an_instance_that_still_cannot_be_read_stays_in_quarantine(scene: Scene) -> None:
    one = quarantined(scene)
    released = scene.client().post("/operate/quarantine/release", json={"ids": [one.identifier], "dry_run": False})
    assert "cannot be released" in released.json()["outcomes"][0]["outcome"]
    assert len(Quarantine(scene.node.folder.quarantine)) == 1


def test_orders_have_names_that_people_use(scene: Scene) -> None:
    html = scene.client().get("/operate").text
    for action in Action:
        assert f'value="{action.value}"' in html and f">{action.shown}</option>" in html
        assert "-" not in action.shown


def test_the_audit_knows_from_where_an_order_came(scene: Scene) -> None:
    scene.order("cancel", study_uid=[scene.study_uid], dry_run=False)
    (row,) = scene.node.repository.latest_audit(AuditFilter(None, "cancel", None, None, None), 5, None)
    assert (row.who, row.address) == ("op", "testclient")
