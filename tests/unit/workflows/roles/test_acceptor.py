"""An acceptor that starts while the disk is full waits for room, and ends with the process that has the port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dicom_node.network.upper_layer.handover import control_sockets
from workflows.roles import acceptor
from workflows.steps.intake import IntakeSettings

pytestmark = pytest.mark.timeout(20)


class FullDisk:
    """An intake whose journal finds no room so many times, or another error."""

    def __init__(self, times: int, number: int = errno.ENOSPC) -> None:
        self.left, self.number = times, number

    def open_journal(self) -> str:
        if self.left:
            self.left -= 1
            raise OSError(self.number, "no")
        return "journal"


def opened(disk: FullDisk, control: socket.socket) -> Any:
    return acceptor._opened_journal(cast(IntakeSettings, disk), control)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    monkeypatch.setattr(acceptor, "_LOOK_S", 0.01)
    ours, theirs = control_sockets()
    with ours, theirs:
        yield ours, theirs


def test_it_waits_until_there_is_room(ends: tuple[socket.socket, socket.socket]) -> None:
    assert opened(FullDisk(3), ends[1]) == "journal"


def test_it_ends_when_nobody_is_there_any_more(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    with pytest.raises(SystemExit):
        opened(FullDisk(10**9), ends[1])


def test_another_error_is_no_reason_to_wait(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(PermissionError):
        opened(FullDisk(1, errno.EACCES), ends[1])
