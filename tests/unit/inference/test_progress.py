"""What a command tells of its progress where nobody looks at a terminal."""

from __future__ import annotations

import pytest

from inference import progress
from inference.progress import Counter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Monotonic time, to be set by the test."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Counter("images", first=10) as counter:
        for done in range(11, 101):
            clock[0] += 1.0
            counter(done, 100, "loss 0.5")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "images: loss 0.5, 40 of 100, 1 min left",
        "images: loss 0.5, 70 of 100, 30 s left",
        "images: loss 0.5, 100 of 100",
    ]


def test_a_long_work_is_told_in_hours(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Counter("joint") as counter:
        clock[0] = 60.0
        counter(1, 301)
    assert capsys.readouterr().err == "joint, 1 of 301, 5.0 h left\n"


def test_the_silent_say_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Counter("images", silent=True) as counter:
        clock[0] = 60.0
        counter(100, 100)
    assert capsys.readouterr() == ("", "")
