"""Answering: a job in the hands of a child that dies, hangs, takes too much, or has nothing to answer any more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.results.profiles import Profile
from inference.interface import PredictorDescription
from workflows.bootstrap import Node
from workflows.roles import answering as module
from workflows.roles.answering import Answering
from workflows.roles.child import ChildEnded
from workflows.roles.predicting import Claimed, Done, Ready, Wake
from workflows.settings import Settings, load_settings
from workflows.state.records import Destination, JobPlan, NewInstance, TroubleKind
from workflows.state.waker import RecordingWaker

MODEL = PredictorDescription("m", "1", "d" * 64, None)


class FakeChild:
    """Says what it is told to, one thing a look: a message, an exception, or something that happens meanwhile."""

    scripts: deque[list[Any]]
    started: list[FakeChild]

    def __init__(self, _settings: Settings, _owner: str, environment: Mapping[str, str]) -> None:
        self.script = deque(self.scripts.popleft() if self.scripts else [Ready()])
        self.environment = dict(environment)
        self.pid, self.memory_bytes, self.stands_still = 1, 0, False
        self.killed = False
        self.jobs: list[str] = []
        self.started.append(self)

    @property
    def ended(self) -> bool:
        return self.killed

    def predict(self, job_key: str) -> None:
        self.jobs.append(job_key)

    def receive(self, _timeout_s: float) -> Any:
        if not self.script:
            return None
        said = self.script.popleft()
        if isinstance(said, Exception):
            self.killed = True
            raise said
        if callable(said):
            return said(self)
        return said

    def kill(self) -> str:
        self.killed = True
        return "SIGKILL"


class Bench:
    def __init__(self, folder: Path, **settings: str) -> None:
        given = {"NODE__DATA_DIR": str(folder / "data"), "MODEL__CHECKPOINT": "commissioning", **settings}
        self.node = Node(load_settings(None, {f"MEDSEG_NODE__{name}": value for name, value in given.items()}))
        self.repository = self.node.repository
        new = NewInstance("1.2", "1.2.1", "1.2.1.1", "c", "t", Path("instances/p"), 1, "d", "CT1")
        self.repository.record_instances([new], lambda _title: 0.0)
        self.repository.complete_quiet_studies()
        plan = JobPlan("key", "key", "key", "1.2.1", "x", "1", (), (), MODEL, "1", (Destination("", Profile.AIR),))
        assert self.repository.save_plan("1.2", 1, [plan], [], "planned") == ["key"]
        self.waker = RecordingWaker()
        self.answering = Answering(self.node, self.waker, child=FakeChild, drain_s=0.0)

    def script(self, *scripts: list[Any]) -> None:
        FakeChild.scripts = deque(scripts)

    def claims(self, _child: FakeChild) -> Claimed:
        assert self.repository.claim_job("key", self.node.owner, 60, 3)
        return Claimed("key")

    @property
    def troubles(self) -> list[tuple[TroubleKind, str]]:
        return [(trouble.kind, trouble.reason) for trouble in self.repository.job("key").troubles]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeChild.scripts, FakeChild.started = deque(), []
    for name in ("_POLL_S", "_STANDS_STILL_S", "_MOMENT_S"):
        monkeypatch.setattr(module, name, 0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_job_that_is_answered_wakes_who_sends_it(bench: Bench) -> None:
    bench.script([Ready(), bench.claims, Wake("key", "pacs"), Done("key")])
    assert bench.answering.answer("key")
    assert bench.waker.deliveries == [("key", "pacs")]
    assert len(FakeChild.started) == 1 and FakeChild.started[0].jobs == ["key"]


def test_a_child_that_dies_with_a_job_is_replaced_at_once_and_the_job_says_so(bench: Bench) -> None:
    bench.script([Ready(), bench.claims, ChildEnded("SIGSEGV")])
    assert bench.answering.answer("key")
    assert bench.troubles == [(TroubleKind.WORKER_DIED, "the predicting process died: SIGSEGV")]
    assert [child.killed for child in FakeChild.started] == [True, False]


def test_a_child_that_dies_at_its_start_is_started_again_after_a_pause_and_the_job_says_why(bench: Bench) -> None:
    bench.script([ChildEnded("exit code 1")])
    assert not bench.answering.answer("key")
    assert "died 1 times at its start" in bench.repository.job("key").reason
    assert bench.repository.next_job() is None and len(FakeChild.started) == 1
    bench.answering.keep_a_child()
    assert len(FakeChild.started) == 1, "not at once"


def test_a_job_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, LIMITS__JOB_S="0.2")
    bench.script([Ready(), bench.claims])
    assert bench.answering.answer("key")
    assert bench.troubles == [(TroubleKind.DEADLINE, "not answered within 0.2 s ([limits] job_s)")]
    assert [child.killed for child in FakeChild.started] == [True, False]


def test_a_job_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    def grows(child: FakeChild) -> None:
        child.memory_bytes = 3_000_000_000

    bench = Bench(tmp_path, LIMITS__JOB_MEMORY_GB="2")
    bench.script([Ready(), bench.claims, grows])
    assert bench.answering.answer("key")
    told = "took 3.0 GB of memory, 2 are allowed ([limits] job_memory_gb)"
    assert bench.troubles == [(TroubleKind.MEMORY, told)]


def test_a_child_that_stands_still_is_replaced_idle_and_at_work(bench: Bench) -> None:
    def stops(child: FakeChild) -> None:
        child.stands_still = True

    bench.script([Ready(), bench.claims, stops])
    assert bench.answering.answer("key")
    ((kind, told),) = bench.troubles
    assert kind is TroubleKind.WORKER_DIED and "stood still" in told
    bench.answering.keep_a_child()
    FakeChild.started[-1].stands_still = True
    pause = threading.Event()
    for _ in range(3):
        bench.answering.keep_a_child()
        pause.wait(0.02)
    assert [child.killed for child in FakeChild.started] == [True, True, False]


def test_a_job_that_is_replaced_is_stopped_and_no_trouble(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    inference = bench.node.inference()
    monkeypatch.setattr(bench.node, "inference", lambda: replace(inference, heartbeat_s=0.01))

    def replaced(_child: FakeChild) -> None:
        late = NewInstance("1.2", "1.2.1", "1.2.1.2", "c", "t", Path("instances/q"), 1, "e", "CT1")
        bench.repository.record_instances([late], lambda _title: 0.0)
        bench.repository.complete_quiet_studies()
        assert bench.repository.save_plan("1.2", 2, [], [], "nothing asks any more") == []

    bench.script([Ready(), bench.claims, replaced])
    assert bench.answering.answer("key")
    assert bench.troubles == [] and bench.repository.job("key").state.value == "SUPERSEDED"
    assert [child.killed for child in FakeChild.started] == [True, False]


def test_what_is_not_finished_when_the_worker_is_stopped_is_given_back(bench: Bench) -> None:
    def drained(_child: FakeChild) -> None:
        bench.answering.drain()

    bench.script([Ready(), bench.claims, drained])
    assert bench.answering.answer("key")
    job = bench.repository.job("key")
    assert bench.troubles == [] and job.reason == "the worker that answered it was stopped"
    assert bench.repository.next_job() == "key", "another may take it up at once"
    assert len(FakeChild.started) == 1
