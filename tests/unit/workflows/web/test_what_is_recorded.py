"""What the audit has of people who look, search and are refused: who and what, never what was searched for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scene import make_scene, scene_node
from tests.unit.workflows.web.reviewing import client_as, study_of, volume_jobs
from workflows.bootstrap import Node
from workflows.state.auditing import AuditAction, AuditEntry


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images")
    yield node
    node.repository.close()


def of(node: Node, action: AuditAction, who: str) -> list[AuditEntry]:
    return [entry for entry in node.repository.audit_entries() if (entry.action, entry.who) == (action.value, who)]


def addresses(node: Node) -> dict[str, str]:
    study_uid = study_of(node)
    (job, *_) = volume_jobs(node, study_uid)
    part = f"/studies/{study_uid}/jobs/{job.job_key}/parts/0"
    return {
        "page": f"/studies/{study_uid}",
        "model": f"/studies/{study_uid}/model",
        "slice": f"{part}/slices/1",
        "values": f"{part}/slices/1/values",
        "outlines": f"{part}/outlines/1",
        "mask": f"{part}/masks/0/0.nii.gz",
    }


@pytest.mark.parametrize("what", ["page", "model", "slice", "values", "outlines", "mask"])
def test_a_look_is_recorded_once_whatever_is_looked_at(node: Node, what: str) -> None:
    client = client_as(node, f"looker-{what}")
    for _ in range(3):
        assert client.get(addresses(node)[what]).status_code == 200
    (entry,) = of(node, AuditAction.LOOK, f"looker-{what}")
    assert entry.study_uid == study_of(node)


def test_a_study_that_is_not_here_was_not_looked_at(node: Node) -> None:
    assert client_as(node, "searcher").get("/studies/1.2.3.4.5").status_code == 404
    assert of(node, AuditAction.LOOK, "searcher") == []


def test_a_search_is_recorded_without_what_was_searched_for(node: Node) -> None:
    client, body = client_as(node, "finder"), {"filters": {"tab": ["review"]}, "q": "PHANTOM Secret"}
    headers = {"X-CSRF-Token": "token"}
    assert client.post("/worklist/rows", json=body, headers=headers).status_code == 200
    assert client.post("/worklist/rows?live=1", json=body, headers=headers).status_code == 200
    (entry,) = of(node, AuditAction.SEARCH, "finder")
    assert "Secret" not in repr(entry)


def test_who_is_refused_is_recorded_with_the_right_that_was_missing(node: Node) -> None:
    assert client_as(node, "viewer").get("/operate").status_code == 403
    (entry,) = of(node, AuditAction.FORBIDDEN, "viewer")
    assert entry.details == {"needs": "OPERATE"}
