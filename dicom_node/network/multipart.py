"""Takes a multipart answer apart while it comes (RFC 2046 5.1), without holding a part in memory."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BrokenMultipart", "parts"]

_LONGEST_HEADERS = 2**16


class BrokenMultipart(ValueError):
    """The bytes end in the middle, or are no multipart message."""


def parts(pieces: Iterator[bytes], boundary: str) -> Iterator[Iterator[bytes]]:
    """The contents of each part, in pieces; a part must be read to its end before the next is asked for.

    Raises BrokenMultipart. A message that was cut off has no closing boundary, and so does not pass for a whole one.
    """
    reader = _Reader(pieces, b"\r\n--" + boundary.encode())
    for _ in reader.until_boundary():  # the preamble
        pass
    while not reader.at_end():
        reader.skip_headers()
        yield reader.until_boundary()


class _Reader:
    def __init__(self, pieces: Iterator[bytes], boundary: bytes) -> None:
        self._pieces = pieces
        self._boundary = boundary
        self._buffer = bytearray(b"\r\n")  # the first boundary may stand at the very beginning

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise BrokenMultipart("the answer ends in the middle")
        self._buffer += piece

    def until_boundary(self) -> Iterator[bytes]:
        while (end := self._buffer.find(self._boundary)) < 0:
            # A boundary may begin in what is kept back.
            safe = len(self._buffer) - len(self._boundary) + 1
            if safe > 0:
                yield bytes(self._buffer[:safe])
                del self._buffer[:safe]
            self._more()
        if end:
            yield bytes(self._buffer[:end])
        del self._buffer[: end + len(self._boundary)]

    def at_end(self) -> bool:
        while len(self._buffer) < 2:
            self._more()
        return self._buffer[:2] == b"--"

    def skip_headers(self) -> None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _LONGEST_HEADERS:
                raise BrokenMultipart("a part's headers do not end")
            self._more()
        del self._buffer[: end + 4]
