"""BoundedCache: what was made before, up to a bound, for several threads; what is asked for twice is made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["BoundedCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Values by key, the least lately used dropped first. `most`: of the costs of all, such as bytes.

    Who asks for what another thread is making waits for it. An error is nobody's value: the next one makes it anew.
    """

    def __init__(self, most: int, cost: Callable[[V], int]) -> None:
        self._most, self._cost = most, cost
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self._making: dict[K, threading.Lock] = {}

    @property
    def held(self) -> int:
        """The costs of all that is kept."""
        return self._held

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made if it is not there. What alone costs more than the bound is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            gate = self._making.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            try:
                value = make()
                self._keep(key, value)
                return value
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def has(self, key: K) -> bool:
        """Whether the value of a key is there."""
        with self._lock:
            return key in self._kept

    def forget(self, key: K) -> None:
        """Drop a key's value, if there is one."""
        with self._lock:
            if key in self._kept:
                self._held -= self._cost(self._kept.pop(key))

    def _keep(self, key: K, value: V) -> None:
        cost = self._cost(value)
        if cost > self._most:
            return
        with self._lock:
            if key in self._kept:
                self._held -= self._cost(self._kept.pop(key))
            self._kept[key] = value
            self._held += cost
            while self._held > self._most:
                _, dropped = self._kept.popitem(last=False)
                self._held -= self._cost(dropped)
