"""Files written so that they survive a crash: what the store and the journal do alike."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["NO_ROOM", "copy_range", "sync_directory", "sync_file_system", "write_all"]

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a file system answers that has no more room."""
_NO_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_BLOCK = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


def write_all(descriptor: int, parts: Sequence[bytes | bytearray | memoryview], start: int) -> None:
    """Write the parts one behind the other from `start` on. Raises OSError."""
    written, size = os.pwritev(descriptor, parts, start), sum(map(len, parts))
    if written < size:  # a signal, or a disk that is nearly full: the next attempt tells
        rest = memoryview(b"".join(parts))
        while written < size:
            written += os.pwrite(descriptor, rest[written:], start + written)


def copy_range(source: int, start: int, size: int, target: int, target_start: int) -> None:
    """Copy a part of a file into another inside the kernel. Raises OSError, EOFError where the source ends early."""
    end, offset = start + size, target_start - start
    while start < end:
        try:
            copied = os.copy_file_range(source, target, end - start, start, start + offset)
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise
            block = os.pread(source, min(_BLOCK, end - start), start)
            write_all(target, [block], start + offset)
            copied = len(block)
        if not copied:
            raise EOFError("the file ends inside an instance")
        start += copied


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(directory: Path) -> None:
    """Write everything to the disk that the file system of a folder holds back (syncfs(2)). Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
