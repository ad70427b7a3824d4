"""Lanes: each goes on by itself, whatever happens in it or beside it."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from tests.services import await_true
from workflows.errors import DatabaseUnavailable
from workflows.roles import lanes as module
from workflows.roles.lanes import Lane, run_lanes
from workflows.roles.liveness import Liveness


class Running:
    def __init__(self, tmp_path: Path, *lanes: Lane[Any]) -> None:
        self.stop = threading.Event()
        arguments = (lanes, self.stop, Liveness("io", tmp_path))
        self.thread = threading.Thread(target=run_lanes, args=arguments, kwargs={"drain_s": 5.0}, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)


def taking(due: deque[Any]) -> Any:
    def take() -> Any:
        if not due:
            return None
        if isinstance(due[0], Exception):
            raise due.popleft()
        return due.popleft()

    return take


def test_a_lane_that_hangs_keeps_no_other_and_is_left_behind_at_the_end(tmp_path: Path) -> None:
    done: list[str] = []
    never = threading.Event()

    def hang(_due: str) -> bool:
        never.wait(60)
        return True

    def work(due: str) -> bool:
        done.append(due)
        return True

    running = Running(tmp_path, Lane("a", "q", taking(deque("x")), hang), Lane("b", "q", taking(deque("12345")), work))
    await_true(lambda: done == list("12345"), "the other lane's work")
    running.end()
    never.set()


def test_no_error_ends_a_lane(tmp_path: Path) -> None:
    done: list[Any] = []

    def work(due: Any) -> bool:
        done.append(due)
        if due == "bad":
            raise RuntimeError("a value of Doe^Jane")
        return True

    due = deque([DatabaseUnavailable("away"), "bad", ValueError("x"), "good"])
    running = Running(tmp_path, Lane("a", "q", taking(due), work))
    await_true(lambda: done == ["bad", "good"], "the work after the errors")
    running.end()


def test_what_nobody_can_do_anything_with_is_not_tried_without_a_pause(tmp_path: Path) -> None:
    tried: list[int] = []
    idle: list[int] = []

    def work(due: str) -> bool:
        tried.append(len(idle))
        return True

    running = Running(tmp_path, Lane("a", "q", lambda: "same", work, idle=lambda: idle.append(1)))
    await_true(lambda: len(tried) > 3, "several tries")
    running.end()
    assert tried == sorted(set(tried)), "between two tries the lane was idle"


def test_an_archive_that_is_away_pauses_its_own_lane_alone(tmp_path: Path) -> None:
    pauses: list[float] = []
    done: list[str] = []

    def send(due: str) -> bool:
        done.append(due)
        return False

    lane = Lane("a", "q", taking(deque("abcdefgh")), send, longest_pause_s=30)
    for _ in range(8):
        pause_s = lane._look()
        assert pause_s is not None
        pauses.append(pause_s)
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30] and done == list("abcdefgh")


def test_a_ring_is_never_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 3600)
    due: deque[int] = deque()
    done: list[int] = []

    def work(number: int) -> bool:
        done.append(number)
        return True

    lane: Lane[int] = Lane("a", "q", taking(due), work)
    running = Running(tmp_path, lane)
    for number in range(200):
        due.append(number)
        lane.ring()
    await_true(lambda: done == list(range(200)), "all of it")
    running.end()
