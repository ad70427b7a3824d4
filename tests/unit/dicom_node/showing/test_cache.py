"""A cache keeps no more than its bound, and makes nothing twice at a time."""

from __future__ import annotations

import threading

import pytest

from dicom_node.showing.cache import BoundedCache


def test_the_least_lately_used_goes_first() -> None:
    cache: BoundedCache[int, bytes] = BoundedCache(30, len)
    for key in (1, 2, 3):
        cache.get(key, lambda: bytes(10))
    cache.get(1, lambda: bytes(10))
    cache.get(4, lambda: bytes(10))
    assert [key for key in (1, 2, 3, 4) if cache.has(key)] == [1, 3, 4]
    assert cache.held == 30


def test_what_is_larger_than_the_bound_is_made_and_not_kept() -> None:
    cache: BoundedCache[int, bytes] = BoundedCache(30, len)
    assert len(cache.get(1, lambda: bytes(31))) == 31
    assert not cache.has(1)


def test_an_error_is_nobodys_value() -> None:
    cache: BoundedCache[int, bytes] = BoundedCache(30, len)
    with pytest.raises(OSError, match="away"):
        cache.get(1, _fail)
    assert cache.get(1, lambda: b"there") == b"there"


def _fail() -> bytes:
    raise OSError("away")


def test_several_threads_make_one_value() -> None:
    cache: BoundedCache[int, bytes] = BoundedCache(30, len)
    made, begun = [], threading.Barrier(4)

    def make() -> bytes:
        made.append(1)
        return b"once"

    def ask() -> None:
        begun.wait()
        assert cache.get(1, make) == b"once"

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
