"""Ask again, by the addresses that the study page uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from inference.errors import CheckpointError
from tests.scene import Boxes, make_scene, scene_node
from workflows.bootstrap import Node
from workflows.state.records import Study
from workflows.state.views import Selection
from workflows.state.waker import RecordingWaker
from workflows.steps.predict import predict_job
from workflows.web.access import Person, Role
from workflows.web.app import create_app

from .conftest import OpenDoor


class Scene:
    """A node with one study that was read, and the pages over it."""

    def __init__(self, node: Node, study_uid: str) -> None:
        self.node, self.study_uid = node, study_uid
        (view,) = node.repository.study_views(Selection(study_uid=study_uid))
        self.job_key = view.jobs[0].job.job_key

    def client(self, role: Role = Role.REVIEWER, account: str = "anna") -> TestClient:
        person = Person(account=account, name="Test^Anna", role=role, csrf="token")
        return TestClient(create_app(self.node, OpenDoor(person)), base_url="http://127.0.0.1")

    def path(self, *more: str) -> str:
        return "/".join(["/studies", self.study_uid, "questions", *more])

    def ask(self, text: str = "Where is the liver?", **other: Any) -> Any:
        return self.client().post(self.path(), json={"question": text, "job_key": self.job_key, **other})

    def read(self, job_key: str) -> None:
        """What an inference worker does."""
        predictor = Boxes()
        inference = replace(self.node.inference(), predictor_for=lambda _wanted: predictor)
        predict_job(job_key, self.node.repository, self.node.folder, inference, RecordingWaker())

    def study(self) -> Study:
        study = self.node.repository.study(self.study_uid)
        assert study is not None
        return study


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with one study that was read, and the study: each test has a copy."""
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    (body,) = make_scene(node, folder / "images")
    node.repository.close()
    return folder / "data", body.study_uid


@pytest.fixture
def scene(made: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    data, study_uid = made
    node = scene_node(shutil.copytree(data, tmp_path / "data"))
    monkeypatch.setattr(node, "configured_weights", lambda: Boxes().description)
    yield Scene(node, study_uid)
    node.repository.close()


def test_a_question_is_taken_answered_and_kept(scene: Scene) -> None:
    before = scene.study()
    asked = scene.ask(part=0)
    assert asked.status_code == 202
    key = asked.json()["job_key"]
    assert (asked.json()["stage"], asked.json()["asked_by"]) == ("waiting", "anna")
    scene.read(key)
    client = scene.client()
    answered = client.get(scene.path(key)).json()
    assert (answered["stage"], answered["preliminary"]) == ("answered", True)
    assert answered["answers"][0]["findings"] == ["liver", "spleen"]
    assert answered["terms"] == "research use only"
    kept = client.post(scene.path(key, "keep")).json()
    assert (kept["state"], kept["preliminary"], kept["decided_by"]) == ("KEPT", False, "anna")
    assert scene.study().state is before.state
    assert [one["job_key"] for one in client.get(scene.path()).json()["questions"]] == [key]


def test_how_big_is_it_means_the_finding_at_hand(scene: Scene) -> None:
    """What the person has chosen, else what was asked last; a question of its own carries nothing."""

    def earlier(key: str) -> list[tuple[str, tuple[str, ...]]]:
        (question,) = scene.node.repository.job(key).questions
        return [(turn.question, turn.phrases) for turn in question.earlier]

    chosen = scene.ask("How big is it?", finding=f"{scene.job_key}/0/1").json()["job_key"]
    assert earlier(chosen)[-1] == ("Where are liver and spleen?", ("spleen",))
    first = scene.ask("Where is the liver?").json()["job_key"]
    assert earlier(first) == []
    scene.read(first)
    second = scene.ask("How big is it?").json()["job_key"]
    assert earlier(second)[-1] == ("Where is the liver?", ("liver", "spleen"))
    assert scene.ask("How big is it?").json()["job_key"] == second, "the same question in the same conversation"
    assert scene.client().post(scene.path(), json={"question": "Hello", "job_key": scene.job_key}).status_code == 409
    assert scene.ask("How big is it?", finding="nonsense").status_code == 422


def test_an_answer_that_is_not_kept_goes_from_the_page(scene: Scene) -> None:
    key = scene.ask().json()["job_key"]
    scene.read(key)
    assert scene.client().post(scene.path(key, "drop")).json()["state"] == "DROPPED"
    assert scene.client().get(scene.path()).json()["questions"] == []
    refused = scene.client().post(scene.path(key, "keep"))
    assert (refused.status_code, "ask again" in refused.json()["detail"]) == (409, True)


def test_a_viewer_looks_and_does_not_ask(scene: Scene) -> None:
    key = scene.ask().json()["job_key"]
    viewer = scene.client(Role.VIEWER)
    assert viewer.get(scene.path()).json()["may_ask"] is False
    assert viewer.get(scene.path(key)).status_code == 200
    for path in (scene.path(), scene.path(key, "keep"), scene.path(key, "drop")):
        assert viewer.post(path, json={"question": "Where?", "job_key": scene.job_key}).status_code == 403


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("x" * 20_000, "300 or fewer"),
        ("Where\u202e is it?", "cannot be seen"),
        ("肝臓", "Latin letters"),
    ],
)
def test_a_text_that_is_no_question_is_refused_with_what_to_do(scene: Scene, text: str, says: str) -> None:
    refused = scene.ask(text)
    assert refused.status_code == 422
    assert says in str(refused.json()["detail"])


def test_markup_comes_back_as_it_was_typed(scene: Scene) -> None:
    asked = scene.ask("<img src=x onerror=alert(1)> liver?")
    assert asked.json()["question"] == "<img src=x onerror=alert(1)> liver?"
    assert asked.headers["content-type"].startswith("application/json")


def test_what_is_not_there_is_told(scene: Scene) -> None:
    client = scene.client()
    assert client.post("/studies/1.2.99/questions", json={"question": "Where?", "series_uid": "1"}).status_code == 404
    assert client.get(scene.path("f" * 64)).status_code == 404
    assert client.post(scene.path("f" * 64, "keep")).status_code == 404
    assert client.post(scene.path(), json={"question": "Where?", "job_key": "f" * 64}).status_code == 404
    assert client.post(scene.path(), json={"question": "Where is it?"}).status_code == 422
    assert scene.ask(part=-1).status_code == 422


def test_too_many_questions_of_one_person_wait(scene: Scene) -> None:
    for number in range(5):
        assert scene.ask(f"Where is it, number {number}?").status_code == 202
    refused = scene.ask("And this?")
    assert (refused.status_code, "not answered yet" in refused.json()["detail"]) == (409, True)


def test_no_weights_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise CheckpointError("there is no folder weights: name it in [model] checkpoint")

    monkeypatch.setattr(scene.node, "configured_weights", gone)
    refused = scene.ask()
    assert (refused.status_code, "[model] checkpoint" in refused.json()["detail"]) == (503, True)


def test_two_at_once_ask_the_same(scene: Scene) -> None:
    first, second = (
        scene.ask(),
        scene.client(account="berta").post(
            scene.path(), json={"question": " Where is  the liver? ", "job_key": scene.job_key}
        ),
    )
    assert first.json()["job_key"] == second.json()["job_key"]
    assert second.json()["asked_by"] == "anna"
