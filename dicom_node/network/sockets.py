"""What both ends of an association do on its connection's events."""

from __future__ import annotations

import socket

from pynetdicom import evt
from pynetdicom.pdu import A_ABORT_RQ

__all__ = ["send_at_once", "stop_waiting"]


def send_at_once(event: evt.Event) -> None:
    """Set TCP_NODELAY: a response is one small segment that must not wait for the peer's acknowledgement."""
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stop_waiting(event: evt.Event) -> None:
    """Wake a request that waits for its response when the association is aborted or its connection closes.

    pynetdicom would wait for the DIMSE timeout, since nothing can come any more. For EVT_CONN_CLOSE and EVT_PDU_RECV.
    """
    pdu = getattr(event, "pdu", None) if event.event is evt.EVT_PDU_RECV else None
    if event.event is evt.EVT_CONN_CLOSE or isinstance(pdu, A_ABORT_RQ):
        event.assoc.dimse.msg_queue.put((None, None))
