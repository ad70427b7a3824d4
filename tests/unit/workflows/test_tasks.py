"""Celery's side: a broker that is away stops nobody."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from celery import Celery

from tests.services import free_port
from workflows.celery_app import configure
from workflows.tasks import CeleryWaker


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
