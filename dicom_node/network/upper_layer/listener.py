"""Listener: connections that have no association yet, all in one thread (PS3.8 9.2, the acceptor up to Sta3).

A connection costs a socket and some bytes until a whole, valid A-ASSOCIATE-RQ is there and a place is free. Then it is
answered and handed on to who serves it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, sleep

import structlog

from dicom_node.errors import ProtocolViolation
from dicom_node.network.peer_text import peer_ae_title
from dicom_node.network.upper_layer.negotiation import Negotiated, negotiate, rejection_of
from dicom_node.network.upper_layer.pdu import (
    HEADER,
    HEADER_BYTES,
    KNOWN_TYPES,
    AbortSource,
    AssociateRequest,
    PDUType,
    Rejection,
    abort,
    read_associate_request,
    reject,
)
from dicom_node.network.upper_layer.services import ServiceOffer
from dicom_node.network.upper_layer.slots import STALLED_AFTER_S, Served, Slots
from dicom_node.network.upper_layer.strangers import Strangers

__all__ = ["Listener", "ListenerSettings"]

_log = structlog.get_logger()

_LONGEST_REQUEST = 256 * 1024
"""128 contexts with every transfer syntax that the standard has come to some 230 kB."""
_MOST_REQUEST_BYTES = 16 * 1024 * 1024
_MOST_ACCEPTED_AT_ONCE = 64
_HELD_S = STALLED_AFTER_S + 1.0
"""So long a request waits for a place: whoever holds one in silence has been noticed by then."""
_LINGER_S = 5.0
_TOLD_EVERY_S = 60.0
_LOOK_S, _LOOK_WHILE_HELD_S = 1.0, 0.1


@dataclass(frozen=True)
class ListenerSettings:
    """Who may have an association, and what a connection without one may take.

    `artim_s`: from the connection to the whole A-ASSOCIATE-RQ, and from our last PDU to its end (PS3.8 9.1.5).
    `waiting_connections`: connections without an association; for one more the oldest goes.
    """

    maximum_pdu_bytes: int = 128 * 1024
    allowed_calling_ae: tuple[str, ...] = ()
    maximum_associations: int = 32
    associations_per_peer: int = 16
    artim_s: float = 30
    waiting_connections: int = 2048


@dataclass(eq=False)
class _Connection:
    """One without an association. `until`: when it is closed, or its request rejected."""

    socket: socket.socket
    address: str
    until: float
    received: bytearray = field(default_factory=bytearray)
    wanted: int = HEADER_BYTES
    request: AssociateRequest | None = None


class Listener:
    """Listens on a socket from `start` to `stop`, in a thread of its own.

    `serve` takes over a connection whose A-ASSOCIATE-AC was sent; it must not block. Raises OSError or RuntimeError
    where it cannot. While `can_serve` says no, requests wait as they do for a place.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        offer: ServiceOffer,
        serve: Callable[[socket.socket, Negotiated], Served],
        can_serve: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._offer = offer
        self._serve = serve
        self._can_serve = can_serve
        self._slots = Slots(settings.maximum_associations, settings.associations_per_peer)
        self._strangers = Strangers()
        # Insertion order is age: those whose request is not there yet, those that wait for a place, those that leave.
        self._waiting: dict[_Connection, None] = {}
        self._held: dict[_Connection, None] = {}
        self._leaving: dict[_Connection, None] = {}
        self._request_bytes = 0
        self._short_told_at = float("-inf")
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="storage-scp", daemon=True)

    @property
    def associations(self) -> list[Served]:
        """Those that have not ended; to be asked once it is stopped."""
        return self._slots.associations

    def start(self, listening: socket.socket) -> None:
        """Listen; the socket is closed by `stop`."""
        self._listening = listening
        listening.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection that has no association."""
        self._stopping = True
        self._wake.send(b"\0")
        self._thread.join()
        for connection in (*self._waiting, *self._held, *self._leaving):
            self._close(connection)
        for closed in (self._selector, self._listening, self._wake, self._woken):
            closed.close()

    # --- The loop -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # a port that closes by a defect would be worse than the defect
                _log.exception("listener_failed")
                sleep(_LOOK_WHILE_HELD_S)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience_s()):
            if key.fileobj is self._listening:
                self._accept()
            elif isinstance(key.data, _Connection):
                self._guarded(self._hear, key.data)
        self._look()

    def _guarded(self, act: Callable[[_Connection], None], connection: _Connection) -> None:
        """One connection's trouble is its own."""
        try:
            act(connection)
        except OSError:
            self._close(connection)
        except Exception:
            _log.exception("connection_failed", peer_address=connection.address)
            self._close(connection)

    def _patience_s(self) -> float | None:
        if self._held:
            return _LOOK_WHILE_HELD_S
        ends = [next(iter(queue)).until for queue in (self._waiting, self._leaving) if queue]
        if ends:
            return min(max(min(ends) - monotonic(), 0.0), _LOOK_S)
        return _LOOK_S if self._slots.associations else None

    def _look(self) -> None:
        now = monotonic()
        self._slots.look(now)
        for queue in (self._waiting, self._leaving):
            while queue and (oldest := next(iter(queue))).until <= now:
                self._close(oldest)
        for held in list(self._held):
            self._guarded(self._admit, held)

    def _accept(self) -> None:
        for _ in range(_MOST_ACCEPTED_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:  # no descriptor left
                if monotonic() - self._short_told_at > _TOLD_EVERY_S:
                    self._short_told_at = monotonic()
                    _log.warning("connection_not_taken", reason=error.strerror, remedy="raise the limit of open files")
                if not self._evict():
                    sleep(_LOOK_WHILE_HELD_S)  # there is nothing to give up: those that are served will end
                return
            until = monotonic() + self._settings.artim_s
            self._guarded(self._wait_for_request, _Connection(accepted, str(address[0]), until))
            if len(self._waiting) + len(self._held) + len(self._leaving) > self._settings.waiting_connections:
                self._evict()

    def _wait_for_request(self, connection: _Connection) -> None:
        connection.socket.setblocking(False)
        # A response is one small segment that must not wait for the peer's acknowledgement.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._waiting[connection] = None

    # --- One connection -----------------------------------------------------------------------------------------------

    def _hear(self, connection: _Connection) -> None:
        if connection in self._leaving:
            if not connection.socket.recv(65536):
                self._close(connection)
            return
        if connection in self._held:  # it must wait for our answer: this is its A-ABORT, or its end
            self._close(connection)
            return
        received = connection.socket.recv(connection.wanted - len(connection.received))
        if not received:
            self._close(connection)
            return
        connection.received += received
        self._request_bytes += len(received)
        if connection.received[0] not in KNOWN_TYPES:
            self._strangers.name(connection.address)
            self._leave(connection, abort(AbortSource.SERVICE_USER))  # PS3.8 9.2.3: Sta2, Evt19, AA-1
        elif len(connection.received) == connection.wanted:
            self._hear_pdu(connection)
        elif self._request_bytes > _MOST_REQUEST_BYTES:
            self._close(max(self._waiting, key=lambda waiting: len(waiting.received)))

    def _hear_pdu(self, connection: _Connection) -> None:
        kind, length = HEADER.unpack_from(connection.received)
        if kind == PDUType.ABORT:  # AA-2; bytes left unread would make the end of the connection a reset
            connection.socket.recv(_LONGEST_REQUEST)
            self._close(connection)
        elif kind != PDUType.ASSOCIATE_RQ or length > _LONGEST_REQUEST:
            self._refuse(connection, "another PDU, or an A-ASSOCIATE-RQ that is too long")
        elif len(connection.received) < HEADER_BYTES + length:
            connection.wanted = HEADER_BYTES + length
        else:
            try:
                request = read_associate_request(bytes(connection.received[HEADER_BYTES:]))
            except ProtocolViolation as error:
                self._refuse(connection, str(error))
                return
            self._hear_request(connection, request)

    def _hear_request(self, connection: _Connection, request: AssociateRequest) -> None:
        rejection = rejection_of(request, self._settings.allowed_calling_ae)
        connection.request = request
        if rejection is not None:
            self._reject(connection, rejection)
            return
        self._forget(connection)
        self._held[connection] = None
        connection.until = monotonic() + min(_HELD_S, self._settings.artim_s)
        self._admit(connection)

    def _admit(self, connection: _Connection) -> None:
        """Answer a request if there is a place, or one can be had; else it goes on waiting, or is rejected."""
        request, now = connection.request, monotonic()
        assert request is not None
        title = peer_ae_title(request.calling_ae_title)
        if self._can_serve() and (self._slots.has_room(title) or self._slots.make_room(title, now)):
            self._establish(connection, request, now)
        elif now >= connection.until:
            self._reject(connection, Rejection.LOCAL_LIMIT_EXCEEDED)

    def _establish(self, connection: _Connection, request: AssociateRequest, now: float) -> None:
        negotiated, accepted = negotiate(request, self._offer, connection.address, self._settings.maximum_pdu_bytes)
        # A fresh connection has room for some kilobytes; one that has not is no good.
        if connection.socket.send(accepted) < len(accepted):
            self._close(connection)
            return
        self._selector.unregister(connection.socket)
        self._forget(connection)
        try:
            served = self._serve(connection.socket, negotiated)
        except (OSError, RuntimeError) as error:
            _log.error("association_not_served", reason=type(error).__name__, peer_address=connection.address)
            connection.socket.close()
            return
        self._slots.take(served, now)

    def _refuse(self, connection: _Connection, reason: str) -> None:
        _log.warning("association_request_malformed", reason=reason, peer_address=connection.address)
        self._leave(connection, abort(AbortSource.SERVICE_USER))

    def _reject(self, connection: _Connection, rejection: Rejection) -> None:
        _log.warning(
            "association_rejected",
            calling_ae_title=peer_ae_title(connection.request.calling_ae_title if connection.request else ""),
            peer_address=connection.address,
            reason=rejection.told,
        )
        self._leave(connection, reject(rejection))

    def _leave(self, connection: _Connection, last: bytes) -> None:
        """Send a last PDU and wait for the peer to close (PS3.8 9.2, Sta13)."""
        self._forget(connection)
        connection.until = monotonic() + min(self._settings.artim_s, _LINGER_S)
        self._leaving[connection] = None
        connection.socket.send(last)

    # --- Bookkeeping --------------------------------------------------------------------------------------------------

    def _forget(self, connection: _Connection) -> None:
        if connection in self._waiting:
            self._request_bytes -= len(connection.received)
            connection.received.clear()
        for queue in (self._waiting, self._held, self._leaving):
            queue.pop(connection, None)

    def _close(self, connection: _Connection) -> None:
        self._forget(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()

    def _evict(self) -> bool:
        """Close the oldest connection without an association; whether there was one."""
        oldest = next((next(iter(queue)) for queue in (self._leaving, self._waiting, self._held) if queue), None)
        if oldest is not None:
            self._close(oldest)
        return oldest is not None
