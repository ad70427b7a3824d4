"""Search: finds the elements of a data set while its bytes come, inflated where they are deflated.

What a length claims is never allocated; a value of many megabytes before the pixels is stepped over.
"""

from __future__ import annotations

import zlib
from io import SEEK_END, BufferedIOBase
from struct import error as StructError
from typing import Protocol

from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.walk import FIRST_PIXELS, KNOWN_VRS, LAST_PIXELS, SHORT_VRS, UNDEFINED_LENGTH, RawElement, Walk

__all__ = ["WHO_AND_WHAT", "Inflating", "Search", "Stream", "dictionary_vr", "is_too_long", "too_long"]

_PIECE = 1 << 15
_BULK = 1 << 22
"""A value of so many bytes before the pixels is stepped over and not kept, unless it is a sequence."""
_MOST_ELEMENTS = 1 << 16
_LONGEST_TEXT = 1 << 16
"""Bytes of a value whose VR has a length of 16 bits; in implicit VR one may claim more."""
WHO_AND_WHAT = frozenset({0x0008, 0x0010, 0x0020})
"""The groups whose texts say who and what an instance is: none of them is ever left out."""


class Stream(Protocol):
    """Bytes that come one after the other."""

    def read(self, count: int, /) -> bytes: ...


class Inflating:
    """A deflated data set (PS3.5 A.5), inflated as it is read, and no further than to `at_most` bytes."""

    def __init__(self, begun: bytes, stream: Stream, at_most: int) -> None:
        self._deflated, self._stream = begun, stream
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._limit, self._came = at_most, 0

    def read(self, count: int, /) -> bytes:
        pieces, missing = [], min(count, self._limit - self._came)
        if not missing and count:
            raise UnparseableInstance(
                f"it inflates to more than {self._limit >> 20} MiB before any pixels; send it without compression"
            )
        while missing:
            self._deflated = self._deflated or self._stream.read(_PIECE)
            last = not self._deflated
            try:
                piece = self._inflate.decompress(self._deflated, missing)
            except zlib.error as error:
                raise UnparseableInstance("the data set is deflated and cannot be inflated; send it again") from error
            self._deflated = self._inflate.unconsumed_tail
            pieces.append(piece)
            missing -= len(piece)
            if self._inflate.eof or (last and not piece):
                break
        self._came += sum(map(len, pieces))
        return b"".join(pieces)


class Search:
    """Looks for the elements of a data set while its bytes come, up to its pixels.

    `contents`: what has come and is kept. `elements`: their places in it. `pixels`: see RawHeader. `over`: nothing more
    is looked for.
    """

    def __init__(self, contents: bytes, syntax: str, start: int) -> None:
        self.contents = contents
        self.over = False
        self.implicit, self.little = _encoding(contents, start, syntax)
        self.elements: list[RawElement] = []
        self.pixels: RawElement | None = None
        self._at, self._skipped, self._cut_off = start, 0, False
        self._longer: RawElement | None = None
        self.go_on(b"")

    def go_on(self, more: bytes) -> None:
        """Take what came, and find the elements in it."""
        self.contents += more
        walk = Walk(self.contents, implicit=self.implicit, little=self.little)
        end, self._longer = len(self.contents), None
        try:
            while self._at < end and not self.over:
                element = walk.element(self._at)
                if FIRST_PIXELS <= element.tag <= LAST_PIXELS:
                    start, past = element.start + self._skipped, element.end + self._skipped
                    self.pixels, self.over = element._replace(start=start, end=past), True
                elif element.tag > LAST_PIXELS:
                    self.over = True
                elif element.end > end:
                    self._longer = element
                    return
                else:
                    self._keep(element)
        except StructError:  # `contents` ends inside an element
            return

    def _keep(self, element: RawElement) -> None:
        if len(self.elements) == _MOST_ELEMENTS:
            raise UnparseableInstance(f"holds more than {_MOST_ELEMENTS:,} elements in one data set; leave them out")
        self.elements.append(element)
        self._at = element.end

    def skip(self, stream: Stream) -> bool:
        """Step over the value of many megabytes that stands next, if one does: nothing in it is ever looked at."""
        element = self._longer
        if element is None or element.length < _BULK or _is_sequence(element):
            return False
        if is_too_long(element) and element.tag >> 16 in WHO_AND_WHAT:
            raise too_long(element)
        self._skipped += element.end - self._at
        self._cut_off = not _step_over(stream, element.end - len(self.contents))
        self.contents = self.contents[: self._at]
        if self._cut_off:
            self.over = True
        else:
            self.go_on(stream.read(_PIECE))
        return True

    @property
    def whole(self) -> bool:
        """Whether no element is cut off before any pixels."""
        return not self._cut_off and (self.over or self._at >= len(self.contents))


def _step_over(stream: Stream, count: int) -> bool:
    """Leave out the next bytes; False if there are not so many."""
    if isinstance(stream, BufferedIOBase):
        beyond, end = stream.tell() + count, stream.seek(0, SEEK_END)
        stream.seek(min(beyond, end))
        return beyond <= end
    while count and (piece := stream.read(min(count, _BULK))):
        count -= len(piece)
    return not count


def _is_sequence(element: RawElement) -> bool:
    """A private one is as good as none: nothing here knows what it holds."""
    if element.tag >> 16 & 1:
        return False
    vr = element.vr if element.vr not in (b"", b"UN") else dictionary_vr(element.tag)
    return vr == b"SQ"


def is_too_long(element: RawElement) -> bool:
    """Whether a value could not stand in explicit VR, and so would become a million values, or megabytes of name."""
    if element.length <= _LONGEST_TEXT or element.length == UNDEFINED_LENGTH:
        return False
    try:
        known = dictionary_VR(element.tag)  # "US or OW" may be long
    except KeyError:
        return False
    return known.encode() in SHORT_VRS


def too_long(element: RawElement) -> UnparseableInstance:
    """The refusal of an instance for such a value."""
    return UnparseableInstance(
        f"its {dictionary_description(element.tag)} has {element.length:,} bytes, and no such value may have more than "
        f"{_LONGEST_TEXT - 2:,} (PS3.5 7.1.2); send it corrected"
    )


def dictionary_vr(tag: int) -> bytes:
    """The VR of the dictionary, the first of several; UN for a tag that it does not have."""
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"


def _encoding(contents: bytes, start: int, syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian): as the transfer syntax says, unless the first element shows that it is wrong."""
    if syntax:
        little = syntax != ExplicitVRBigEndian
    else:  # groups are small numbers
        little = contents[start : start + 1] != b"\0" or contents[start + 1 : start + 2] == b"\0"
    vr = contents[start + 4 : start + 6]
    declared = syntax in ("", ImplicitVRLittleEndian)
    return vr not in KNOWN_VRS and (declared or not (vr.isalpha() or vr == b"??")), little
