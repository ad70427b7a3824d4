"""Walk: steps from element to element of encoded bytes. No value is looked at, and nothing recurses."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from dicom_node.errors import UnparseableInstance

__all__ = ["FIRST_PIXELS", "KNOWN_VRS", "LAST_PIXELS", "SHORT_VRS", "UNDEFINED_LENGTH", "RawElement", "Walk"]

UNDEFINED_LENGTH = 0xFFFFFFFF
FIRST_PIXELS, LAST_PIXELS = 0x7FE00008, 0x7FE00010
# PS3.5 7.1.2: value representations with a length of 16 bits, and those with one of 32.
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
KNOWN_VRS = SHORT_VRS | _LONG

_ITEM, _ITEM_DELIMITER, _SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 64
"""Sequences inside each other. The content tree of a report is seldom deeper than ten."""
_MOST_STEPS = 8_000_000
"""Elements of sequences of undefined length in one data set: 100,000 frames with 80 each."""


class RawElement(NamedTuple):
    """Where an element's value lies. `vr` is b"" where none is written, or one that no edition of the standard has."""

    tag: int
    vr: bytes
    start: int
    length: int
    end: int
    """Where the next element begins: behind the delimiter of a sequence of undefined length."""


class Walk:
    """Steps over `contents`. struct.error tells that the bytes end, UnparseableInstance that they nest too deep.

    `size`: of the whole, where `contents` are only its first bytes.
    """

    def __init__(self, contents: bytes, *, implicit: bool, little: bool, size: int | None = None) -> None:
        order = "<" if little else ">"
        self._contents = contents
        self._size = len(contents) if size is None else size
        self._implicit = implicit
        self._tag = Struct(order + "HH").unpack_from
        self._whole_head = Struct(order + "HH2sH").unpack_from
        self._short = Struct(order + "H").unpack_from
        self._long = Struct(order + "L").unpack_from
        self._steps = 0

    def element(self, at: int) -> RawElement:
        """The element at `at`. Pixels of undefined length end where they begin: nobody steps over them."""
        if not self._implicit:  # most elements of most files
            group, element, vr, length = self._whole_head(self._contents, at)
            if vr in SHORT_VRS:
                return RawElement(group << 16 | element, vr, at + 8, length, at + 8 + length)
        tag, vr, start, length = self._head(at)
        if length != UNDEFINED_LENGTH:
            return RawElement(tag, vr, start, length, start + length)
        if FIRST_PIXELS <= tag <= LAST_PIXELS:
            return RawElement(tag, vr, start, length, start)
        return RawElement(tag, vr, start, length, self._inner(vr)._behind(start, in_item=False))

    def _inner(self, vr: bytes) -> Walk:
        """PS3.5 6.2.2: an unknown value of undefined length is a sequence in implicit VR little endian."""
        return Walk(self._contents, implicit=True, little=True, size=self._size) if vr == b"UN" else self

    def _head(self, at: int) -> tuple[int, bytes, int, int]:
        group, element = self._tag(self._contents, at)
        tag = group << 16 | element
        if self._implicit or group == 0xFFFE:
            return tag, b"", at + 8, self._long(self._contents, at + 4)[0]
        vr = self._contents[at + 4 : at + 6]
        if vr in SHORT_VRS:
            return tag, vr, at + 8, self._short(self._contents, at + 6)[0]
        if vr in _LONG:
            return tag, vr, at + 12, self._long(self._contents, at + 8)[0]
        return self._head_with_unknown_vr(tag, at)

    def _head_with_unknown_vr(self, tag: int, at: int) -> tuple[int, bytes, int, int]:
        """A VR that no edition has: of the three forms of a length, the first that leads to a next tag."""
        forms = (
            (at + 8, self._short(self._contents, at + 6)[0]),
            (at + 12, self._long(self._contents, at + 8)[0]),
            (at + 8, self._long(self._contents, at + 4)[0]),
        )
        for start, length in forms:
            if start + length + 4 <= self._size:
                group, element = self._tag(self._contents, start + length)
                if tag < group << 16 | element <= LAST_PIXELS or group == 0xFFFE:
                    return tag, b"", start, length
        return tag, b"", *forms[0]

    def item(self, at: int) -> RawElement | None:
        """The item of a sequence at `at`; None at the end of the sequence."""
        if at == self._size:
            return None
        tag, vr, start, length = self._head(at)
        if tag == _SEQUENCE_DELIMITER:
            return None
        if tag != _ITEM:
            raise StructError
        if length != UNDEFINED_LENGTH:
            return RawElement(tag, vr, start, length, start + length)
        end = self._behind(start, in_item=True)
        return RawElement(tag, vr, start, end - start - 8, end)  # without the delimiter

    def _behind(self, at: int, *, in_item: bool) -> int:
        """Where the sequence, or the item, of undefined length ends whose contents begin at `at`."""
        opened, within = [self], in_item  # the sequences that are open; whether the innermost has an open item
        while True:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise UnparseableInstance(f"its sequences hold more than {_MOST_STEPS:,} elements; leave them out")
            walk = opened[-1]
            tag, vr, start, length = walk._head(at)
            if within and tag == _ITEM_DELIMITER:
                if in_item and len(opened) == 1:
                    return start
                at, within = start, False
            elif within and length == UNDEFINED_LENGTH and not FIRST_PIXELS <= tag <= LAST_PIXELS:
                if len(opened) == _DEEPEST:
                    raise UnparseableInstance(f"nests sequences more than {_DEEPEST} deep; leave them out")
                opened.append(walk._inner(vr))
                at, within = start, False
            elif within:
                at = start if length == UNDEFINED_LENGTH else start + length
            elif tag == _SEQUENCE_DELIMITER:
                opened.pop()
                if not opened:
                    return start
                at, within = start, True
            elif tag != _ITEM:  # no sequence: where it ends cannot be told
                raise StructError
            else:
                within = length == UNDEFINED_LENGTH
                at = start if within else start + length
