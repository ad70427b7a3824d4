"""Reviews over HTTP: what is checked, who may, what is told, and the choices that a stale page gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scene import make_scene, scene_node
from tests.unit.workflows.web.reviewing import UNDO_S, client_as, copied, sign_and_write, study_of
from workflows.bootstrap import Node
from workflows.state.purging import _delete_rows
from workflows.state.reviewing import VerdictKind


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Node:
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images")
    return node


@pytest.fixture
def node(scene: Node, tmp_path: Path) -> Iterator[Node]:
    node = copied(scene, tmp_path)
    yield node
    node.repository.close()


def verdicts(values: dict[str, Any], kind: str = "accept") -> list[dict[str, str]]:
    return [{"place": place, "kind": kind} for place in values["places"]]


def test_a_review_from_the_first_look_to_the_signature_and_back(node: Node) -> None:
    client, path = client_as(node, "alpha"), f"/studies/{study_of(node)}/review"
    seen = client.get(path).json()
    assert (seen["review"], seen["base"], seen["mine"], seen["may"]) == (None, None, True, True)
    assert set(seen["places"].values()) == {"liver", "spleen"}
    draft = client.put(path, json={"base": None, "verdicts": verdicts(seen), "missed": []}).json()
    assert draft["base"] == [1, 1]
    signed = client.post(f"{path}/sign", json={"base": draft["base"], "results": seen["results"]}).json()
    assert signed["review"]["state"] == "SIGNED"
    assert 0 < signed["review"]["undo_s"] <= UNDO_S
    again = client.post(f"{path}/undo").json()
    assert (again["review"]["state"], again["review"]["verdicts"]) == ("DRAFT", draft["review"]["verdicts"])
    assert client.post(f"{path}/withdraw", json={"base": again["base"]}).json()["review"] is None


def test_what_is_written_is_changed_by_amending_alone(node: Node) -> None:
    sign_and_write(node, {})
    client, path = client_as(node, "beta"), f"/studies/{study_of(node)}/review"
    written = client.get(path).json()
    said = {"base": written["base"], "verdicts": verdicts(written, "not-there"), "missed": []}
    for refused in (
        client.put(path, json=said),
        client.post(f"{path}/sign", json={"base": written["base"], "results": written["results"]}),
    ):
        assert refused.status_code == 409
        assert "choose Amend" in refused.json()["detail"]
    assert client.get(path).json()["review"]["state"] == "WRITTEN"
    further = client.post(f"{path}/amend", json={"base": written["base"]}).json()
    assert (further["review"]["state"], further["review"]["number"], further["mine"]) == ("DRAFT", 2, True)
    assert further["review"]["verdicts"] == written["review"]["verdicts"]
    assert client.post(f"{path}/withdraw", json={"base": further["base"]}).json()["review"]["state"] == "WRITTEN"


def test_what_was_signed_is_what_page_outlines_and_worklist_show(node: Node) -> None:
    sign_and_write(node, {"liver": (VerdictKind.NAME, "pancreas"), "spleen": (VerdictKind.NOT_THERE, None)})
    study_uid, client = study_of(node), client_as(node, "beta")
    model = client.get(f"/studies/{study_uid}/model").json()
    findings = [one for job in model["jobs"] for answer in job["answers"] for one in answer["findings"]]
    standing = {one["label"] for one in findings if not one["taken_out"]}
    gone = [one for one in findings if one["taken_out"]]
    assert standing == {"pancreas"}
    assert {one["label"] for one in gone} == {"spleen"}
    assert all(one["value"] == "" for one in gone)
    shown = set()
    for job in model["jobs"]:
        for index in range(job["parts"][0]["slices"]):
            path = f"/studies/{study_uid}/jobs/{job['job_key']}/parts/0/outlines/{index}"
            shown |= {one["label"] for one in client.get(path).json()["findings"]}
    assert shown == {"pancreas"}
    (source,) = node.repository.worklist_sources([study_uid])
    assert {one.label for job in source.jobs for answer in job.answers for one in answer.findings} == {"pancreas"}


def test_words_that_are_wrong_are_kept_and_have_a_button_at_their_question(node: Node) -> None:
    client, path = client_as(node, "alpha"), f"/studies/{study_of(node)}/review"
    seen = client.get(path).json()
    wrong = [{"job_key": next(iter(seen["places"])).split("/")[0], "answer": 0, "reason": "another organ"}]
    draft = client.put(path, json={"base": None, "verdicts": verdicts(seen), "missed": [], "words": wrong}).json()
    assert client.get(path).json()["review"]["words"] == draft["review"]["words"] == wrong
    assert len(draft["review"]["verdicts"]) == len(seen["places"])
    assert f'data-words="{wrong[0]["job_key"]}/0"' in client.get(path.removesuffix("/review")).text


@pytest.mark.parametrize(
    "body",
    [
        {"base": None, "verdicts": [{"place": "../../etc", "kind": "accept"}]},
        {"base": None, "verdicts": [{"place": "a/0/0", "kind": "perhaps"}]},
        {"base": None, "verdicts": [{"place": "a/0/0", "kind": "outline", "correction": "../x"}]},
        {"base": None, "verdicts": [{"place": "a/0/0", "kind": "accept", "reason": "x" * 501}]},
        {"base": [1], "verdicts": []},
        {"base": None, "verdicts": [], "missed": [{"job_key": "a"}]},
        {"base": None, "verdicts": [], "state": "WRITTEN"},
        {"verdicts": "all"},
    ],
)
def test_what_no_page_sends_is_refused(node: Node, body: dict[str, Any]) -> None:
    client, path = client_as(node, "alpha"), f"/studies/{study_of(node)}/review"
    assert client.put(path, json=body).status_code == 422
    assert client.get(path).json()["review"] is None


def test_markup_and_directions_in_a_reason_are_kept_as_they_are(node: Node) -> None:
    client, path = client_as(node, "alpha"), f"/studies/{study_of(node)}/review"
    said = verdicts(client.get(path).json())
    said[0] |= {"kind": "not-there", "reason": "<script>alert(1)</script> \u202eback"}
    client.put(path, json={"base": None, "verdicts": said}).raise_for_status()
    assert client.get(path).json()["review"]["verdicts"][0]["reason"] == said[0]["reason"]
    page = client.get(path.removesuffix("/review")).text
    assert "<script>alert" not in page


def test_a_viewer_looks_and_changes_nothing(node: Node) -> None:
    study_uid = study_of(node)
    client, path = client_as(node, "viewer"), f"/studies/{study_uid}/review"
    assert client.get(path).json()["may"] is False
    assert client.post(f"/studies/{study_uid}/open", json={}).status_code == 200
    assert client.put(path, json={"base": None, "verdicts": []}).status_code == 403
    assert client.post(f"{path}/sign", json={"base": None, "results": ""}).status_code == 403
    for act in ("undo", "take-over", "reopen", "withdraw"):
        assert client.post(f"{path}/{act}", json={"base": None}).status_code == 403
    decision = client.post(f"/studies/{study_uid}/proposals/1.2/1", json={"base": None, "decision": "confirm"})
    assert decision.status_code == 403
    page = client.get(f"/studies/{study_uid}").text
    assert 'data-kind="accept"' not in page
    assert "You may look" in page


def test_two_readers_at_once(node: Node) -> None:
    study_uid = study_of(node)
    path = f"/studies/{study_uid}/review"
    alpha, beta = client_as(node, "alpha"), client_as(node, "beta")
    assert alpha.post(f"/studies/{study_uid}/open", json={}).json()["open"] == []
    assert beta.post(f"/studies/{study_uid}/open", json={}).json()["open"] == ["Reader, Alpha"]
    seen = alpha.get(path).json()
    draft = alpha.put(path, json={"base": None, "verdicts": verdicts(seen)}).json()
    late = beta.put(path, json={"base": None, "verdicts": verdicts(seen, "not-there")})
    assert late.status_code == 409
    assert late.json()["kind"] == "stale"
    assert "Alpha Reader changed this review" in late.json()["detail"]
    assert "differs from yours on liver and spleen" in late.json()["detail"]
    current = late.json()["current"]
    assert (current["base"], current["mine"]) == (draft["base"], False)
    refused = beta.put(path, json={"base": current["base"], "verdicts": verdicts(seen, "not-there")})
    assert (refused.status_code, refused.json()["kind"]) == (409, "refused")
    taken = beta.post(f"{path}/take-over", json={"base": current["base"]}).json()
    assert taken["mine"] is True
    beta.put(path, json={"base": taken["base"], "verdicts": verdicts(seen, "not-there")}).raise_for_status()
    signature = {"base": draft["base"], "results": seen["results"]}
    assert alpha.post(f"{path}/sign", json=signature).json()["kind"] == "stale"
    beta.post(f"/studies/{study_uid}/open", json={"closed": True})
    assert alpha.post(f"/studies/{study_uid}/open", json={}).json()["open"] == []


def test_nothing_is_signed_that_was_not_judged(node: Node) -> None:
    client, path = client_as(node, "alpha"), f"/studies/{study_of(node)}/review"
    seen = client.get(path).json()
    draft = client.put(path, json={"base": None, "verdicts": verdicts(seen)[:1]}).json()
    refusal = client.post(f"{path}/sign", json={"base": draft["base"], "results": seen["results"]})
    assert refusal.status_code == 409
    assert refusal.json()["detail"].startswith("No verdict yet on")


def test_nothing_is_signed_that_the_page_has_not_shown(node: Node) -> None:
    study_uid = study_of(node)
    client, path = client_as(node, "alpha"), f"/studies/{study_uid}/review"
    shown = client.get(f"/studies/{study_uid}/model").json()["results"]
    draft = client.put(path, json={"base": None, "verdicts": verdicts(client.get(path).json())}).json()
    assert client.post(f"{path}/sign", json={"base": draft["base"]}).status_code == 422, "a page says what it has shown"
    refusal = client.post(f"{path}/sign", json={"base": draft["base"], "results": "0" * 32})
    assert (refusal.status_code, refusal.json()["kind"]) == (409, "results")
    assert "load the page again" in refusal.json()["detail"]
    signed = client.post(f"{path}/sign", json={"base": draft["base"], "results": shown})
    assert signed.json()["review"]["state"] == "SIGNED"


def test_a_study_that_was_deleted_while_it_was_open(node: Node) -> None:
    study_uid = study_of(node)
    client, path = client_as(node, "alpha"), f"/studies/{study_uid}/review"
    seen = client.get(path).json()
    with node.repository._writing() as session:
        _delete_rows(session, study_uid)
    refusal = client.put(path, json={"base": None, "verdicts": verdicts(seen)})
    assert (refusal.status_code, refusal.json()["kind"]) == (404, "gone")
    assert "deleted" in refusal.json()["detail"]
