"""What the ends of an association do when its connection opens and closes."""

from __future__ import annotations

import socket

from pynetdicom import evt

__all__ = ["send_at_once", "stop_waiting"]


def send_at_once(event: evt.Event) -> None:
    """Set TCP_NODELAY: a response is one small segment that must not wait for the peer's acknowledgement."""
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stop_waiting(event: evt.Event) -> None:
    """Wake a request that waits for its response when the connection closes; for EVT_CONN_CLOSE.

    pynetdicom does so itself for an A-ABORT and for a connection that is lost (pydicom/pynetdicom#430, where its author
    names this very way), but not where the peer broke the upper layer protocol before it closed the connection (PS3.8
    9.2.3, action AR-5): version 3.0.4 then waits for the DIMSE timeout, and no later issue says so.
    tests/unit/dicom_node/network/test_pynetdicom.py fails once this can go.
    """
    event.assoc.dimse.msg_queue.put((None, None))
