"""The embedded queue: whatever lies in its folder, messages come through, and what is none is set aside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.roles.doorbell import WakeUpConsumer
from workflows.roles.queues import configure
from workflows.roles.waker import CeleryWaker

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("body", "headers", "properties", "content-type", "content-encoding", "delivery_tag", "delivery_info", "task")
LIKE_A_MESSAGE = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), max_size=6
)
WRITTEN = st.binary(max_size=200) | (JSON | LIKE_A_MESSAGE).map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("queue")


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[Celery]:
    yield configure(Celery("test"), f"filesystem://{folder}")


def taken(app: Celery, queue: str) -> list[str]:
    """The task of each message that lies there, until there is none."""
    found: list[Any] = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        while (raw := channel.basic_get(queue, no_ack=True)) is not None:
            found.append(raw.headers.get("task") if isinstance(raw.headers, dict) else None)
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(written=st.lists(WRITTEN, max_size=3))
def test_a_message_comes_through_whatever_lies_beside_it(app: Celery, folder: Path, written: list[bytes]) -> None:
    for number, content in enumerate(written):
        (folder / "messages" / f"{number}.planning.msg").write_bytes(content)
    waker = CeleryWaker(app)
    waker.plan("1.2.3")
    assert waker.flush(30)
    assert taken(app, "planning").count("plan") >= 1
    assert list((folder / "messages").iterdir()) == []


def test_what_is_no_message_is_set_aside(app: Celery, folder: Path) -> None:
    shutil.rmtree(folder / "broken", ignore_errors=True)
    (folder / "messages" / "0.planning.msg").write_bytes(b"")
    (folder / "messages" / "1.planning.msg").mkdir()
    assert taken(app, "planning") == []
    assert len(list((folder / "broken").iterdir())) == 2
    assert list((folder / "messages").iterdir()) == []


class Delivered:
    """A message as a broker hands it over."""

    def __init__(self, headers: Any, delivery_info: Any, body: Any) -> None:
        self.headers, self.delivery_info, self.body = headers, delivery_info, body
        self.ended: list[str] = []

    def ack(self) -> None:
        self.ended.append("ack")

    def reject(self) -> None:
        self.ended.append("reject")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    headers=JSON | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
    info=st.none() | st.dictionaries(st.sampled_from(("routing_key", "exchange")), JSON, max_size=2),
    body=st.none() | st.binary(max_size=20) | st.text(max_size=20),
)
def test_whatever_a_broker_delivers_is_taken_off_the_queue_and_rings(headers: Any, info: Any, body: Any) -> None:
    rung: list[str] = []
    consumer = WakeUpConsumer.__new__(WakeUpConsumer)  # all that a message needs of it is the application
    consumer.app = Celery("test")
    consumer.app.conf["medseg_ring"] = rung.append
    message = Delivered(headers, info, body)
    consumer.create_task_handler()(message)
    ours = isinstance(headers, dict) and headers.get("task") == "plan"
    assert message.ended == ["ack" if ours else "reject"] and len(rung) == 1


def test_our_own_messages_are_acknowledged() -> None:
    consumer = WakeUpConsumer.__new__(WakeUpConsumer)
    consumer.app = Celery("test")
    rung: list[str] = []
    consumer.app.conf["medseg_ring"] = rung.append
    message = Delivered({"task": "predict"}, {"routing_key": "inference"}, b"[]")
    consumer.create_task_handler()(message)
    assert (message.ended, rung) == (["ack"], ["inference"])
