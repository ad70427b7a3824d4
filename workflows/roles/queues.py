"""The Celery application: three quorum queues on RabbitMQ, or a folder for the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.signals import setup_logging
from kombu import Exchange, Queue

from workflows.roles.folder_queue import SCHEME, register

__all__ = ["ANSWER_S", "QUEUES_OF_ROLE", "configure"]

QUEUES_OF_ROLE = {"inference": ("inference",), "io": ("planning", "delivery")}
ANSWER_S = 3.0
"""How long a broker may take to answer; no wake-up is worth waiting longer for."""


def configure(app: Celery, broker_url: str, *, kept_s: float = 30.0) -> Celery:
    """Point the application at a broker: `amqp://...`, or `filesystem:///FOLDER` for one machine.

    `kept_s`: how long RabbitMQ keeps a wake-up that nobody takes; what is due is woken again after that anyway.
    """
    setup_logging.connect(_keep_logging, weak=False)
    register()
    embedded = broker_url.startswith("filesystem:")
    arguments: dict[str, Any] = {} if embedded else {"x-queue-type": "quorum"}
    # What Celery sets up beside quorum queues complains of direct exchanges; with one binding each they are the same.
    exchange = "direct" if embedded else "topic"
    names = [name for names in QUEUES_OF_ROLE.values() for name in names]
    app.conf.update(
        broker_url=f"{SCHEME}://localhost" if embedded else broker_url,
        broker_transport_options=_folders(broker_url) if embedded else {"confirm_publish": True},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker as long as it takes
        broker_connection_timeout=ANSWER_S,
        broker_heartbeat=10,
        broker_channel_error_retry=True,
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
        task_default_delivery_mode="persistent",
        task_publish_retry=True,
        # Once: a connection that the broker closed while nothing was sent is found out by sending.
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
        medseg_publish_options={} if embedded else {"confirm_timeout": ANSWER_S, "expiration": kept_s},
        worker_consumer="workflows.roles.doorbell:WakeUpConsumer",
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=not embedded,
        worker_detect_quorum_queues=not embedded,
    )
    return app


def _keep_logging(**_: Any) -> None:
    """Celery leaves logging alone as soon as somebody answers this signal: it was set up at the start."""


def _folders(broker_url: str) -> dict[str, str]:
    messages = Path(urlsplit(broker_url).path) / "messages"
    messages.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {"data_folder_in": str(messages), "data_folder_out": str(messages), "store_processed": ""}
