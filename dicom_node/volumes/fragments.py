"""Fragments of encapsulated pixels (PS3.5 A.4), and which of them make a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct

__all__ = ["Fragments", "TruncatedFragments", "fragments_in"]

_ITEM, _SEQUENCE_DELIMITER = 0xE000FFFE, 0xE0DDFFFE  # as two little endian words read as one
_HEAD = Struct("<LL").unpack_from
_FRAGMENTS_OF_ANY, _FRAGMENTS_OF_A_FRAME = 1 << 16, 16
"""So many fragments an instance may have in any case, and so many for each frame."""


class TruncatedFragments(ValueError):
    """The bytes end inside a fragment, or without the Sequence Delimitation Item."""


@dataclass(frozen=True)
class Fragments:
    """Compressed pixels in the pieces in which they were written.

    `contents`: the value of Pixel Data. `places`: (offset, start, length) of each fragment that is not empty; offset as
    offset tables count it, start within `contents`. `offsets`: Basic or Extended Offset Table, ()
    where it has not one entry for each frame.
    """

    contents: bytes
    places: tuple[tuple[int, int, int], ...]
    offsets: tuple[int, ...]

    def frames(self, count: int, begins: Callable[[bytes], bool]) -> list[bytes]:
        """The codestreams of the first `count` frames; `begins` says whether a codestream begins with these bytes.

        Offset tables are wrong now and then (PS3.5 A.4 allows an empty one too), so each way of dividing is believed
        only if a codestream begins each frame: by the table, a fragment a frame, a frame from each beginning to the
        next, all fragments one frame. Raises ValueError where no way gives `count` frames.
        """
        for starts in self._divisions(count, begins):
            if len(starts) >= count and all(begins(self._fragment(start)) for start in starts[:count]):
                ends = [*starts[1:], len(self.places)]
                return [self._joined(start, end) for start, end in zip(starts[:count], ends[:count], strict=True)]
        raise ValueError(
            f"says it has {count} frames, and its {len(self.places)} fragments of compressed pixels cannot be divided "
            "into so many; send it again or convert it first"
        )

    def _divisions(self, count: int, begins: Callable[[bytes], bool]) -> Iterator[list[int]]:
        """Indices of the fragments with which frames start."""
        index = {offset: position for position, (offset, _, _) in enumerate(self.places)}
        if len(self.offsets) == count and all(offset in index for offset in self.offsets):
            by_table = [index[offset] for offset in self.offsets]
            if by_table == sorted(set(by_table)):
                yield by_table
        if len(self.places) == count:
            yield list(range(count))
        yield [position for position in range(len(self.places)) if begins(self._fragment(position))]
        if count == 1 and self.places:
            yield [0]

    def _fragment(self, position: int) -> bytes:
        _, start, length = self.places[position]
        return self.contents[start : start + min(length, 16)]

    def _joined(self, first: int, end: int) -> bytes:
        return b"".join(self.contents[start : start + length] for _, start, length in self.places[first:end])


def fragments_in(contents: bytes, *, frames: int, extended: bytes = b"", delimited: bool = True) -> Fragments:
    """The fragments in the value of an encapsulated Pixel Data element.

    `frames`: Number of Frames; an offset table of another number of entries says nothing, and is not looked at.
    `extended`: the Extended Offset Table, where there is one. `delimited`: a Sequence Delimitation Item ends the value,
    because its length is undefined. Raises TruncatedFragments, or ValueError if the bytes are no fragments.
    """
    items: list[tuple[int, int]] = []
    at, size, ended = 0, len(contents), False
    most = _FRAGMENTS_OF_ANY + _FRAGMENTS_OF_A_FRAME * frames
    while at + 8 <= size and not ended:
        tag, length = _HEAD(contents, at)
        if tag == _ITEM:
            items.append((at + 8, length))
            if len(items) > most:
                raise ValueError(
                    f"has more than {most:,} fragments of compressed pixels, and {frames:,} frames; send it again"
                )
            at += 8 + length
        elif tag == _SEQUENCE_DELIMITER:
            ended = True
        else:
            raise ValueError(
                "declares compressed pixels and holds none that can be read: no item where one should be; convert it "
                "or correct its transfer syntax"
            )
    if at > size or (delimited and not ended) or not items:
        raise TruncatedFragments("ends inside its compressed Pixel Data")
    (table, table_length), *fragments = items
    basic = _offsets(contents[table : table + min(table_length, 4 * frames + 1)], 4, frames)
    first = fragments[0][0] if fragments else 0
    places = tuple((start - first, start, length) for start, length in fragments if length)
    return Fragments(contents, places, _offsets(extended, 8, frames) or basic)


def _offsets(table: bytes, size: int, frames: int) -> tuple[int, ...]:
    """The entries of an offset table that has one for each frame, else ()."""
    if len(table) != size * frames:
        return ()
    return tuple(int.from_bytes(table[at : at + size], "little") for at in range(0, len(table), size))
