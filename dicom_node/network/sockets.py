"""Socket options for both ends of an association."""

from __future__ import annotations

import socket

from pynetdicom import evt

__all__ = ["send_at_once"]


def send_at_once(event: evt.Event) -> None:
    """Set TCP_NODELAY: a response is one small segment that must not wait for the peer's acknowledgement."""
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
