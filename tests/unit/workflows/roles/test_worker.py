"""Celery's side: a broker that is away stops nobody."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from celery import Celery

from tests.services import free_port
from workflows.bootstrap import Node
from workflows.roles.queues import configure
from workflows.roles.worker import CeleryWaker, make_app
from workflows.settings import load_settings
from workflows.state.records import JobPlan, NewInstance


def test_a_broker_that_is_away_is_logged_and_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    app = configure(Celery("test"), f"amqp://guest:guest@127.0.0.1:{free_port()}//")
    CeleryWaker(app).predict("a-job")
    said = "".join(capfd.readouterr())
    assert "broker_away" in said and "a-job" in said and "guest:guest" not in said


def test_the_embedded_queue_takes_wake_ups_without_a_broker(tmp_path: Path) -> None:
    app = configure(Celery("test"), f"filesystem://{tmp_path}")
    CeleryWaker(app).plan("a-study")
    (file,) = (tmp_path / "messages").iterdir()
    message = json.loads(file.read_bytes())
    assert message["headers"]["task"] == "plan"
    assert json.loads(base64.b64decode(message["body"]))[0] == ["a-study"]


def test_production_queues_are_quorum_queues_with_confirmed_publishing() -> None:
    app = configure(Celery("test"), "amqp://queue//")
    assert {queue.name: queue.queue_arguments["x-queue-type"] for queue in app.conf.task_queues} == dict.fromkeys(
        ("planning", "inference", "delivery"), "quorum"
    )
    assert app.conf.broker_transport_options == {"confirm_publish": True}
    assert (app.conf.worker_prefetch_multiplier, app.conf.task_acks_late) == (1, True)


def complete_study(node: Node) -> None:
    repository = node.repository()
    repository.record_instance(NewInstance("1.2", "1.2.1", "1.2.1.1", "c", "t", "p", 1, "d", "CT1"))
    assert repository.complete_quiet_studies(lambda _title: 0.0) == ["1.2"]


def reason(node: Node) -> tuple[str, str]:
    study = node.repository().study("1.2")
    assert study is not None
    return study.state.value, study.reason


def test_protocols_that_cannot_be_read_are_the_reason_of_a_study_that_waits(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: x\nversion: [")
    settings = {"NODE__DATA_DIR": str(tmp_path / "data"), "PROTOCOLS__DIRECTORY": str(tmp_path)}
    node = Node(load_settings(None, {f"MEDSEG_NODE__{name}": value for name, value in settings.items()}))
    complete_study(node)
    make_app(node).tasks["plan"]("1.2")
    state, why = reason(node)
    assert state == "COMPLETE" and why.startswith("waits to be planned: ") and "broken.yaml:2: not YAML" in why


def test_a_model_that_cannot_be_loaded_is_the_reason_of_a_job_that_waits(tmp_path: Path) -> None:
    settings = {"NODE__DATA_DIR": str(tmp_path / "data"), "MODEL__CHECKPOINT": str(tmp_path / "nowhere")}
    node = Node(load_settings(None, {f"MEDSEG_NODE__{name}": value for name, value in settings.items()}))
    complete_study(node)
    plan = JobPlan("key", "1.2.1", "x", "1", [{"text": "Where?"}], [], {"terms": None}, "air")
    assert node.repository().save_plan("1.2", 1, [plan], [], "planned")
    make_app(node).tasks["predict"]("key")
    state, why = reason(node)
    assert state == "PLANNED" and "a worker that can load the model" in why and "nowhere is no checkpoint" in why
