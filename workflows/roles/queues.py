"""The Celery application: three quorum queues on RabbitMQ, or folders for the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.signals import setup_logging
from kombu import Exchange, Queue

__all__ = ["QUEUES_OF_ROLE", "configure"]

QUEUES_OF_ROLE = {"inference": ("inference",), "io": ("planning", "delivery")}


def configure(app: Celery, broker_url: str) -> Celery:
    """Point the application at a broker: `amqp://...`, or `filesystem:///FOLDER` for one machine."""
    setup_logging.connect(_keep_logging, weak=False)
    embedded = broker_url.startswith("filesystem:")
    arguments: dict[str, Any] = {} if embedded else {"x-queue-type": "quorum"}
    # What Celery sets up beside quorum queues complains of direct exchanges; with one binding each they are the same.
    exchange = "direct" if embedded else "topic"
    names = [name for names in QUEUES_OF_ROLE.values() for name in names]
    app.conf.update(
        broker_url="filesystem://localhost" if embedded else broker_url,
        broker_transport_options=_folders(broker_url) if embedded else {"confirm_publish": True},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker as long as it takes
        task_queues=[
            Queue(name, Exchange(name, type=exchange), routing_key=name, queue_arguments=arguments) for name in names
        ],
        task_create_missing_queues=False,
        task_routes={
            "plan": {"queue": "planning"},
            "predict": {"queue": "inference"},
            "publish": {"queue": "delivery"},
            "confirm": {"queue": "delivery"},
            "retract": {"queue": "delivery"},
        },
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the lease brings the job back; a redelivered poison would loop
        task_default_delivery_mode="persistent",
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=not embedded,
        worker_detect_quorum_queues=not embedded,
    )
    return app


def _keep_logging(**_: Any) -> None:
    """Celery leaves logging alone as soon as somebody answers this signal: it was set up at the start."""


def _folders(broker_url: str) -> dict[str, str]:
    root = Path(urlsplit(broker_url).path)
    messages, control = root / "messages", root / "control"
    for folder in (messages, control):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(control),
        "store_processed": "",
    }
