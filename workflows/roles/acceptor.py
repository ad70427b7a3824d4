"""An acceptor process: serves associations that the process with the port hands to it.

It imports only what receives. The database, the steps and the reader of settings come when an archive answers about
storage commitment or tells what can be had, which most acceptors never see: several of them then start in a fraction of
the time, and take a fraction of the memory.
"""

from __future__ import annotations

import pickle
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from dicom_node.network.availability import InstanceAvailability
from dicom_node.network.commitment import CommitmentAnswer
from dicom_node.network.sockets import allow_many_connections
from dicom_node.network.upper_layer.handover import serve_handed_over
from dicom_node.storage.files import NO_ROOM
from dicom_node.storage.journal import Journal
from workflows.logs import configure_logging
from workflows.roles.acceptors import AcceptorSettings
from workflows.steps.intake import IntakeSettings

if TYPE_CHECKING:
    from workflows.bootstrap import Node

__all__ = ["main"]

log = structlog.get_logger()

_LOOK_S = 0.5


class _Seldom:
    """What an acceptor hands to the database, which is opened when something comes."""

    def __init__(self, all_settings: bytes) -> None:
        self._all_settings = all_settings
        self._node: Node | None = None
        self._lock = threading.Lock()

    def record_commitment(self, answer: CommitmentAnswer) -> None:
        self._opened().record_commitment(answer)

    def note_availability(self, notification: InstanceAvailability) -> None:
        self._opened().note_availability(notification)

    def _opened(self) -> Node:
        with self._lock:
            if self._node is None:
                from workflows.bootstrap import Node  # it imports everything

                self._node = Node(pickle.loads(self._all_settings))
            return self._node


def _opened_journal(intake: IntakeSettings, control: socket.socket) -> Journal:
    """The journal, waited for while the disk has no room for it. Ends the process once the one with the port has ended.

    Raises OSError.
    """
    told = False
    while True:
        try:
            return intake.open_journal()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            if not told:
                log.error("acceptor_waits", reason=f"no room for its journal: {error.strerror}")
            told = True
        if select.select([control], [], [], _LOOK_S)[0]:  # it is told to stop, or nobody is there to tell it
            sys.exit(0)


def main() -> None:
    """Settings on standard input, the number of the control socket as the argument."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the process with the port tells when to end, and how fast
    control = socket.socket(fileno=int(sys.argv[1]))
    settings: AcceptorSettings = pickle.load(sys.stdin.buffer)
    configure_logging(settings.log_format)
    allow_many_connections()
    intake, seldom = settings.intake, _Seldom(settings.all_settings)
    sink = intake.sink(_opened_journal(intake, control))
    services = intake.scp.services(sink, seldom.record_commitment, seldom.note_availability)
    serve_handed_over(control, services, intake.scp.association_limits)


if __name__ == "__main__":
    main()
