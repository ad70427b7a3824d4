"""Associations that one process accepts and another serves, over a socket between the two.

The listening process keeps the port and counts the places; an acceptor process gets each connection with what was
negotiated (SCM_RIGHTS), and says how far it has come. A process that dies takes its associations with it, which frees
their places, and leaves the others alone; an acceptor ends when the process that listens does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from itertools import count
from time import monotonic
from typing import Any

import structlog

from dicom_node.network.upper_layer.association import Association, AssociationLimits
from dicom_node.network.upper_layer.messages import Services
from dicom_node.network.upper_layer.negotiation import Negotiated

__all__ = ["ANSWERED_S", "AcceptorLink", "control_sockets", "end_all", "serve_handed_over"]

_log = structlog.get_logger()

ANSWERED_S = 10.0
"""So long an aborted association has for the answer that it owes."""
_REPORT_S = 1.0
_LATE_S = 3.0
"""Who has not reported for so long gets no association while another can have it."""
_LONGEST = 256 * 1024


def control_sockets() -> tuple[socket.socket, socket.socket]:
    """The two ends: for the process that listens, and for the acceptor."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


# --- In the process that listens --------------------------------------------------------------------------------------


class _Remote:
    """An association that an acceptor process serves, as it last reported."""

    def __init__(self, number: int, negotiated: Negotiated, link: AcceptorLink) -> None:
        self.negotiated = negotiated
        self.received = 0
        self.working = False
        self.ended = False
        self._number = number
        self._link = link

    def abort(self, why: str) -> None:
        with contextlib.suppress(OSError):  # it has died, and the association with it
            self._link.tell({"abort": self._number, "why": why})


class AcceptorLink:
    """The way to one acceptor process; `ready` once it can serve, `closed` once it has ended.

    `heard_at`: when it last reported (monotonic, in seconds), which it does about once a second.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._numbers = count(1)
        self._associations: dict[int, _Remote] = {}
        self._lock = threading.Lock()
        self.ready = False
        self.closed = False
        self.heard_at = monotonic()
        self._listener = threading.Thread(target=self._listen, name="acceptor-link", daemon=True)
        self._listener.start()

    def __len__(self) -> int:
        return len(self._associations)

    @property
    def late(self) -> bool:
        """Whether it should have reported again by now: it may stand still."""
        return monotonic() - self.heard_at > _LATE_S

    def serve(self, connection: socket.socket, negotiated: Negotiated) -> _Remote:
        """Hand over a connection. Raises OSError where the process has died or takes nothing in."""
        number = next(self._numbers)
        association = _Remote(number, negotiated, self)
        with self._lock:
            if self.closed:
                raise ConnectionError("the acceptor process has ended")
            self._associations[number] = association
        try:
            self.tell({"open": number, "negotiated": negotiated.as_json()}, connection.fileno())
        except OSError:
            self._associations.pop(number, None)
            raise
        connection.close()  # ours; the acceptor has its own descriptor
        return association

    def stop(self, grace_s: float) -> None:
        """Tell the process to let its associations end for so long, and to end."""
        with contextlib.suppress(OSError):
            self.tell({"stop": grace_s})

    def tell(self, message: dict[str, Any], *descriptors: int) -> None:
        """Raises OSError."""
        socket.send_fds(self._control, [json.dumps(message).encode()], descriptors, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Give the process up."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._listener.join()

    def _listen(self) -> None:
        with self._control, contextlib.suppress(OSError):
            while told := self._control.recv(_LONGEST):
                self._hear(json.loads(told))
        with self._lock:
            self.closed, self.ready = True, False
        for association in self._associations.values():
            association.ended = True
        self._associations.clear()

    def _hear(self, told: dict[str, Any]) -> None:
        self.ready, self.heard_at = True, monotonic()
        for number, (received, working) in told.get("progress", {}).items():
            if (association := self._associations.get(int(number))) is not None:
                association.received, association.working = received, working
        if (ended := self._associations.pop(told.get("ended", 0), None)) is not None:
            ended.ended = True


# --- In an acceptor process -------------------------------------------------------------------------------------------


def serve_handed_over(control: socket.socket, services: Services, limits: AssociationLimits) -> None:
    """Serve what comes over `control` until it is told to stop, or the process that listens has ended."""
    associations: dict[int, Association] = {}
    threading.Thread(target=_report, args=(control, associations), name="report", daemon=True).start()
    grace_s = 0.0
    while True:
        try:
            told, descriptors, _, _ = socket.recv_fds(control, _LONGEST, 1)
        except OSError:
            break
        if not told:
            break
        message = json.loads(told)
        if "stop" in message:
            grace_s = message["stop"]
            break
        if "open" in message:
            _open(control, message, descriptors, associations, services, limits)
        elif (association := associations.get(message["abort"])) is not None:
            association.abort(message["why"])
    end_all(list(associations.values()), grace_s)


def end_all(associations: list[Association], grace_s: float) -> None:
    """Let associations end for `grace_s` seconds, then abort them; what is being committed is answered in any case."""
    until = monotonic() + grace_s
    for association in associations:
        association.wait(max(0.0, until - monotonic()))
    remaining = [association for association in associations if not association.ended]
    for association in remaining:
        association.abort("the node stops")
    until = monotonic() + ANSWERED_S
    for association in remaining:
        association.wait(max(0.0, until - monotonic()))


def _open(
    control: socket.socket,
    message: dict[str, Any],
    descriptors: list[int],
    associations: dict[int, Association],
    services: Services,
    limits: AssociationLimits,
) -> None:
    number = message["open"]
    if not descriptors:  # this process has as many as it may
        _log.error("association_not_served", reason="no descriptor is left")
        with contextlib.suppress(OSError):
            control.send(json.dumps({"ended": number}).encode())
        return

    def finished() -> None:
        associations.pop(number, None)
        with contextlib.suppress(OSError):
            control.send(json.dumps({"ended": number}).encode())

    connection = socket.socket(fileno=descriptors[0])
    negotiated = Negotiated.from_json(message["negotiated"])
    association = associations[number] = Association(connection, negotiated, services, limits, finished=finished)
    try:
        association.start()
    except RuntimeError:  # no thread left
        _log.error("association_not_served", reason="no thread is left", peer_address=negotiated.peer_address)
        connection.close()
        finished()


def _report(control: socket.socket, associations: dict[int, Association]) -> None:
    """Say that we are here, and then once a second how far each association has come."""
    pause = threading.Event()
    with contextlib.suppress(OSError):
        control.send(b'{"ready": true}')
        while not pause.wait(_REPORT_S):
            progress = {number: [one.received, one.working] for number, one in list(associations.items())}
            control.send(json.dumps({"progress": progress}).encode())
