"""WholeInstances: a sink for small receivers, which get each instance in one piece, in memory."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.sink import StoreRequest

__all__ = ["WholeInstances"]


class WholeInstances:
    """Calls `receive` with each instance once it is whole; what it raises is what `commit` raises.

    For a demonstration and for tests. A node's intake keeps no instance in memory.
    """

    def __init__(self, receive: Callable[[ReceivedInstance], object]) -> None:
        self._receive = receive

    def open(self, request: StoreRequest) -> _Whole:
        return _Whole(request, self._receive)


class _Whole:
    def __init__(self, request: StoreRequest, receive: Callable[[ReceivedInstance], object]) -> None:
        self._request = request
        self._receive = receive
        self._data_set = bytearray()

    def write(self, fragment: bytes | memoryview) -> None:
        self._data_set += fragment

    def commit(self) -> None:
        self._receive(ReceivedInstance(data_set=bytes(self._data_set), **vars(self._request)))

    def abandon(self) -> None:
        self._data_set = bytearray()
