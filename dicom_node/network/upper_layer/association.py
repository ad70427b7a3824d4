"""One association that stands, in a thread of its own: PDUs in, responses out (PS3.8 9.2, from Sta6 on)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import structlog

from dicom_node.errors import ProtocolViolation
from dicom_node.network.upper_layer.messages import Messages, Services
from dicom_node.network.upper_layer.negotiation import Negotiated
from dicom_node.network.upper_layer.pdu import (
    HEADER,
    HEADER_BYTES,
    KNOWN_TYPES,
    AbortReason,
    AbortSource,
    PDUType,
    abort,
    fragments,
    p_data,
    release_response,
)

__all__ = ["Association", "AssociationLimits"]

_log = structlog.get_logger()

_HEADERS_COUNTED_IN = 12
"""Some peers take the announced length for that of the P-DATA alone, without the headers of PDU and PDV."""
_LOOK_S = 1.0
"""At least so often a wait is interrupted to look at the limits."""
_LINGER_S = 5.0
_lingering = threading.BoundedSemaphore(64)


@dataclass(frozen=True)
class AssociationLimits:
    """What one association may take.

    `maximum_pdu_bytes`: as it was announced. `pdu_s`: from a PDU's first byte to its last. `silence_s`: without any
    traffic; `message_silence_s`: within a message. `association_s`: as a whole. `send_s`: until a peer takes a
    response.
    """

    maximum_pdu_bytes: int = 128 * 1024
    pdu_s: float = 30
    silence_s: float = 120
    message_silence_s: float = 60
    association_s: float = 4 * 3600
    send_s: float = 30


class _Over(Exception):
    """The association ends; `answer` is the A-ABORT that the peer is told it with, b"" where it knows."""

    def __init__(self, why: str, answer: bytes = b"") -> None:
        super().__init__(why)
        self.answer = answer


class _BrokenProtocol(_Over):
    def __init__(self, why: str, reason: AbortReason) -> None:
        super().__init__(why, abort(AbortSource.SERVICE_PROVIDER, reason))


class Association:
    """An association whose A-ASSOCIATE-AC was sent; `run` serves it to its end and closes the connection.

    `received` counts its bytes; `working` is True while the peer waits for us, not we for it; `ended` once nothing more
    is served, though the connection may still be about to close; `finished` is called then. Another thread may read
    these and call `abort`.
    """

    def __init__(
        self,
        connection: socket.socket,
        negotiated: Negotiated,
        services: Services,
        limits: AssociationLimits,
        *,
        finished: Callable[[], object] = lambda: None,
    ) -> None:
        self.negotiated = negotiated
        self.received = 0
        self.working = False
        self._connection = connection
        self._limits = limits
        self._messages = Messages(negotiated, services)
        self._buffer = memoryview(bytearray(limits.maximum_pdu_bytes + _HEADERS_COUNTED_IN))
        self._header = memoryview(bytearray(HEADER_BYTES))
        self._ends_at = monotonic() + limits.association_s
        self._why_aborted = ""
        self._ended = threading.Event()
        self._finished = finished
        self._had_last_word = False

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def start(self) -> None:
        """Serve it in a thread of its own. Raises RuntimeError where the system has no thread left."""
        threading.Thread(target=self.run, name="association", daemon=True).start()

    def wait(self, wait_s: float) -> bool:
        """Until it has ended; whether it has."""
        return self._ended.wait(wait_s)

    def abort(self, why: str) -> None:
        """End it. What is being committed is answered before."""
        self._why_aborted = why
        with contextlib.suppress(OSError):  # it is closed already
            self._connection.shutdown(socket.SHUT_RD)  # wakes who waits for bytes

    def run(self) -> None:
        """Serve it to its end."""
        try:
            look_s = min(_LOOK_S, self._limits.silence_s, self._limits.message_silence_s, self._limits.pdu_s)
            self._connection.setblocking(True)
            # Not Python's timeouts: they cost a poll for each call, and know no MSG_WAITALL.
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(look_s))
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._limits.send_s))
            self._serve()
        except _Over as over:
            self._tell(str(over), over.answer)
        except OSError as error:
            self._tell(f"connection lost ({type(error).__name__})", b"")
        except Exception:
            _log.exception("association_failed", calling_ae_title=self.negotiated.calling_ae_title)
            self._tell("a defect of the node", abort(AbortSource.SERVICE_PROVIDER))
        finally:
            self._messages.abandon()
            self._ended.set()
            self._finished()
            self._linger()

    def _serve(self) -> None:
        while True:
            self.working = False
            begun = self._read_header()
            kind, length = HEADER.unpack(self._header)
            if kind == PDUType.P_DATA_TF:
                self._take_p_data(length, begun)
            elif kind in (PDUType.RELEASE_RQ, PDUType.ABORT):
                if length != 4:
                    raise _BrokenProtocol("a PDU of an odd length", AbortReason.INVALID_PARAMETER_VALUE)
                self._fill(self._buffer[:4], begun)
                if kind == PDUType.ABORT:
                    raise _Over("the peer aborted it")
                self._connection.sendall(release_response())
                self._had_last_word = True
                return
            elif kind in KNOWN_TYPES:
                raise _BrokenProtocol("a PDU out of place", AbortReason.UNEXPECTED_PDU)
            else:
                raise _BrokenProtocol("bytes that are no PDU", AbortReason.UNRECOGNIZED_PDU)

    def _take_p_data(self, length: int, begun: float) -> None:
        if length > len(self._buffer):
            raise _BrokenProtocol("a longer PDU than was agreed", AbortReason.INVALID_PARAMETER_VALUE)
        body = self._buffer[:length]
        self._fill(body, begun)
        self.working = True
        try:
            for context_id, control, fragment in fragments(body):
                response = self._messages.take(context_id, control, fragment)
                if response is not None:
                    self.working = False  # it is the peer's turn to take it
                    self._connection.sendall(p_data(context_id, response, self.negotiated.maximum_length))
        except ProtocolViolation as error:
            raise _BrokenProtocol(str(error), AbortReason.INVALID_PARAMETER_VALUE) from error

    def _read_header(self) -> float:
        """Read a PDU's header; return when its first bytes were there (monotonic, in seconds)."""
        limits, waited_from = self._limits, monotonic()
        silence_s = limits.message_silence_s if self._messages.under_way else limits.silence_s
        if self._why_aborted or waited_from > self._ends_at:
            self._end_early(waited_from)
        while not (got := self._receive(self._header)):
            now = monotonic()
            self._end_early(now)
            if now - waited_from >= silence_s:
                raise _Over(f"silent for {silence_s:g} s", abort(AbortSource.SERVICE_USER))
        begun = monotonic()
        if got < HEADER_BYTES:
            self._fill(self._header[got:], begun)
        return begun

    def _fill(self, view: memoryview, begun: float) -> None:
        """Read the rest of a PDU that began then."""
        while view:
            view = view[self._receive(view) :]
            if view:
                self._check_pace(begun)

    def _check_pace(self, begun: float) -> None:
        now = monotonic()
        self._end_early(now)
        if now - begun >= self._limits.pdu_s:
            raise _Over(f"a PDU was not complete after {self._limits.pdu_s:g} s", abort(AbortSource.SERVICE_USER))

    def _end_early(self, now: float) -> None:
        if self._why_aborted:
            raise _Over(self._why_aborted, abort(AbortSource.SERVICE_USER))
        if now > self._ends_at:
            why = f"it lasted longer than {self._limits.association_s:g} s"
            raise _Over(why, abort(AbortSource.SERVICE_USER))

    def _receive(self, view: memoryview) -> int:
        """Bytes that came, as many as `view` holds; fewer, or 0, if _LOOK_S are over before."""
        try:
            got = self._connection.recv_into(view, len(view), socket.MSG_WAITALL)
        except BlockingIOError:
            return 0
        if not got:
            if self._why_aborted:
                self._end_early(monotonic())
            raise _Over("the peer closed the connection")
        self.received += got
        return got

    def _tell(self, why: str, answer: bytes) -> None:
        _log.warning(
            "association_aborted",
            calling_ae_title=self.negotiated.calling_ae_title,
            peer_address=self.negotiated.peer_address,
            reason=why,
        )
        if answer:
            with contextlib.suppress(OSError):  # it is gone
                self._connection.sendall(answer)
                self._had_last_word = True

    def _linger(self) -> None:
        """After our last PDU the peer closes (PS3.8 9.2, Sta13): bytes left unread would destroy it. Else we close."""
        with self._connection:
            if not self._had_last_word or self._why_aborted or not _lingering.acquire(blocking=False):
                return
            try:
                until = monotonic() + _LINGER_S
                while monotonic() < until:
                    try:
                        if not self._connection.recv_into(self._buffer):
                            return
                    except BlockingIOError:
                        continue
            except OSError:
                pass
            finally:
                _lingering.release()


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, max(int((seconds - whole) * 1_000_000), 0 if whole else 1000))
