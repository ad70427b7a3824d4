"""Connections that end at a time, however slowly the other side speaks: within headers and handshakes too."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

__all__ = ["transport_until"]


def transport_until(ends: float, tls: ssl.SSLContext | None) -> httpx2.HTTPTransport:
    """A transport that does all of its work before `ends` of the monotonic clock, or raises httpx2's time-outs."""
    # No proxies of the environment: images go to the address that was configured, or nowhere.
    transport = httpx2.HTTPTransport(verify=tls or True, trust_env=False)
    transport._pool = httpcore2.ConnectionPool(ssl_context=tls, network_backend=_Backend(ends))
    return transport


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, ends: float) -> None:
        self._ends, self._plain = ends, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        within_s = _left(self._ends, timeout, httpcore2.ConnectTimeout)
        stream = self._plain.connect_tcp(host, port, within_s, local_address, socket_options)
        return _Stream(stream, self._ends)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, ends: float) -> None:
        self._stream, self._ends = stream, ends

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._ends, timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._ends, timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        within_s = _left(self._ends, timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, within_s), self._ends)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(ends: float, timeout: float | None, too_late: type[Exception]) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise too_late("too slow")
    return left if timeout is None else min(left, timeout)
