"""Sockets to listen on, and what the ends of an association do when its connection opens and closes."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket

from pynetdicom import evt

from dicom_node.errors import ListenError, PortInUse

__all__ = ["allow_many_connections", "listening_socket", "send_at_once", "stop_waiting"]

_BACKLOG = 512
_DESCRIPTORS = 16384


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises PortInUse, or ListenError for an address that cannot be listened on.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use: stop the program that listens there "
                f"(`ss -ltnp 'sport = {port}'` names it) or set another [node] port"
            ) from error
        raise ListenError(f"cannot listen on {host} port {port}: {error}; check [node] host and port") from error


def allow_many_connections() -> None:
    """Let this process have more descriptors than the usual 1024, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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
