"""Attribute reading: one file's header as plain values, as far as it can be read; nothing in it can stop the rest.

What is broken is left out, what is long is cut, what is deep or has many items is kept as far as the bounds below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import BinaryIO

from pydicom.charset import decode_bytes, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.attribute_values import Attributes, first_text
from dicom_node.headers.elements import BROKEN
from dicom_node.headers.left_out import LEFT_OUT
from dicom_node.headers.raw import RawHeader, character_sets, file_meta_of, find_elements, read_raw_header
from dicom_node.headers.walk import UNDEFINED_LENGTH, RawElement, Walk

__all__ = ["LONGEST_TEXT", "age_between", "read_attributes"]

LONGEST_TEXT = 1024
"""Characters of a value that are kept. Descriptions have at most 64 (PS3.5 6.2, LO)."""
_MOST_VALUES, _MOST_ITEMS, _DEEPEST = 64, 32, 6
"""Of an attribute; of a sequence; sequences inside each other."""
_MOST_ATTRIBUTES, _MOST_CHARACTERS = 1000, 1 << 18
"""Of a sequence with all in it, items counted too; of a file."""
_MOST_BYTES = 1 << 20
"""Of a sequence that are looked at: its first items, of per-frame groups of any size the first."""

_TEXTS = frozenset(b"LO SH UC".split())
_WHOLE_TEXTS = frozenset(b"LT ST UT".split())
_PLAIN_TEXTS = frozenset(b"AE AS CS DA DS DT IS TM UI".split())
_NUMBERS = {b"FD": "d", b"FL": "f", b"SL": "l", b"SS": "h", b"SV": "q", b"UL": "L", b"US": "H", b"UV": "Q"}
_NO_VR = frozenset((b"", b"UN", b"OB"))  # what nobody said, or what did not fit (PS3.5 6.2.2)


def read_attributes(path: Path) -> Attributes:
    """The attributes of one file. Raises UnparseableInstance and OSError.

    Names of persons (VR PN) and what else tells who somebody is are left out: the patient's ID, birth date, address,
    telephone and insurance, admission numbers, physicians, operators and observers, and sequences that hold copies of
    them. Patient's Age is worked out before the birth date goes, where the header does not state it. Accession Number
    stays: people find a study by it. Descriptions and reasons stay too, because rules ask them; a text is cut after
    1,024 characters, a list after 64 values.
    """
    with path.open("rb") as stream:
        try:
            return attributes_in(stream)
        except UnparseableInstance as error:
            raise UnparseableInstance(f"{path}: {error}") from error


def attributes_in(stream: BinaryIO) -> Attributes:
    """The same of what stands in a stream, such as an uploaded file's first part. Raises UnparseableInstance."""
    raw = read_raw_header(stream)
    if not any(dictionary_has_tag(element.tag) for element in raw.elements):
        raise UnparseableInstance("the bytes are no DICOM data set: no attribute of the standard stands in it")
    found = _Reading().attributes(raw, (default_encoding,))
    if "SOPClassUID" not in found and (sop_class := str(file_meta_of(raw).get("MediaStorageSOPClassUID", "")).strip()):
        found["SOPClassUID"] = (sop_class,)
    born = found.pop("PatientBirthDate", ())
    age = age_between(str(born[0]), first_text(found, "StudyDate")) if born else ""
    if age and _AGE.fullmatch(first_text(found, "PatientAge")) is None:
        found["PatientAge"] = (age,)
    return found


class _Reading:
    """Reads one file; how much may be kept yet of it, and of the sequence at its top that is being read."""

    def __init__(self) -> None:
        self._characters, self._attributes = _MOST_CHARACTERS, 0

    def attributes(
        self, raw: RawHeader, above: Sequence[str], depth: int = 0
    ) -> dict[str, tuple[str | Attributes, ...]]:
        """What a data set, or the item of a sequence, says. `above`: the character sets outside of it."""
        encodings = character_sets(raw) or above
        found: dict[str, tuple[str | Attributes, ...]] = {}
        sequences = []
        for element in raw.elements:
            known = _known(element.tag)
            if known is None or (depth and element.tag == _BIRTH_DATE):
                continue
            keyword, vr = known
            if vr == b"SQ":
                sequences.append((keyword, element))
            elif (values := _values(raw, element, vr, encodings)) and self._may_keep(values, depth):
                found.setdefault(keyword, values)
        for keyword, element in sequences:  # the last, so that no list of references takes the place of a description
            if not depth:
                self._attributes = _MOST_ATTRIBUTES
            if items := self._items(raw, element, encodings, depth):
                found.setdefault(keyword, items)
        return found

    def _may_keep(self, values: tuple[str, ...], depth: int) -> bool:
        self._characters -= sum(map(len, values))
        self._attributes -= depth > 0
        return self._characters >= 0 and (not depth or self._attributes >= 0)

    def _items(
        self, raw: RawHeader, element: RawElement, encodings: Sequence[str], depth: int
    ) -> tuple[str | Attributes, ...]:
        if depth >= _DEEPEST or element.vr not in _MAY_BE_SEQUENCE:
            return ()
        most = 1 if element.tag == _PER_FRAME else _MOST_ITEMS
        found = []
        try:
            for item in _raw_items(raw, element, most):
                self._attributes -= 1
                if self._attributes < 0:
                    break
                if attributes := self.attributes(item, encodings, depth + 1):
                    found.append(attributes)
        except (*BROKEN, UnparseableInstance):
            pass  # the items before it stay
        return tuple(found)


_AGE = re.compile("[0-9]+[DWMYdwmy]")
_BIRTH_DATE, _PER_FRAME = 0x00100030, 0x52009230
_MAY_BE_SEQUENCE = frozenset((b"SQ", *_NO_VR))
_OF_NUMBERS = frozenset(_NUMBERS)


@lru_cache(maxsize=8192)
def _known(tag: int) -> tuple[str, bytes] | None:
    """Keyword and VR of an attribute that is kept; None: it is not."""
    group = tag >> 16
    if group & 1 or group < 8 or group >= 0x7FE0 or 0x5000 <= group < 0x5100 or 0x6000 <= group < 0x6100:
        return None
    if not dictionary_has_tag(tag):
        return None
    keyword, vr = dictionary_keyword(tag), dictionary_VR(tag)[:2].encode()
    kept = vr == b"SQ" or vr in _TEXTS | _WHOLE_TEXTS | _PLAIN_TEXTS | _OF_NUMBERS
    if not keyword or not kept or (keyword in LEFT_OUT and tag != _BIRTH_DATE):
        return None
    return keyword, vr


def _raw_items(raw: RawHeader, element: RawElement, most: int) -> Iterator[RawHeader]:
    """The first items of a sequence, each as a data set (PS3.5 7.5)."""
    end = element.end - 8 if element.length == UNDEFINED_LENGTH else element.end
    unknown = element.vr == b"UN"  # PS3.5 6.2.2: in implicit VR little endian
    implicit, little = raw.implicit or unknown, raw.little_endian or unknown
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    value = raw.contents[element.start : min(end, element.start + _MOST_BYTES)]
    walk, at = Walk(value, implicit=implicit, little=little), 0
    for _ in range(most):
        item = walk.item(at)
        if item is None:
            return
        yield find_elements(value[item.start : item.start + item.length], syntax)
        at = item.end


def _values(raw: RawHeader, element: RawElement, vr: bytes, encodings: Sequence[str]) -> tuple[str, ...]:
    """The values of an element that is no sequence; none where they cannot be read or say nothing."""
    written = vr if element.vr in _NO_VR else element.vr
    if element.length == UNDEFINED_LENGTH:
        return ()
    value = raw.contents[element.start : element.start + min(element.length, 8 * LONGEST_TEXT)]
    try:
        if written in _NUMBERS:
            values = _numbers(value, written, raw.little_endian)
        elif written in _PLAIN_TEXTS:
            values = value.decode("ascii" if value.isascii() else "latin-1").split("\\")
        elif written in _TEXTS:
            values = _decoded(value, encodings).split("\\")
        elif written in _WHOLE_TEXTS:
            values = [_decoded(value, encodings)]
        else:  # a name of a person, bulk, or a sequence where none belongs
            return ()
    except BROKEN:
        return ()
    kept = tuple(one.strip(_PADDING)[:LONGEST_TEXT].rstrip() for one in values[:_MOST_VALUES])
    return kept if any(kept) else ()


_PADDING = " \0\t\r\n\f\v"


def _decoded(value: bytes, encodings: Sequence[str]) -> str:
    """A text in its character set; UTF-8 that nobody declared is UTF-8, and what is none is not read as such."""
    if value.isascii() and b"\x1b" not in value and encodings[0] not in _NOT_ASCII:
        return value.decode("ascii")
    if encodings[0] in (default_encoding, "latin_1") and b"\x1b" not in value:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    if encodings[0] == "UTF8":
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            # Cut in a letter by our own bound, or latin-1 after all.
            return value[: error.start].decode("utf-8") if error.start > len(value) - 4 else value.decode("latin-1")
    return str(decode_bytes(value, list(encodings), _DELIMITERS))


_DELIMITERS = set(b"\\\n\r\f\t")
"""Behind them the first character set holds again (PS3.5 6.1.2.5.3)."""
_NOT_ASCII = frozenset(("shift_jis",))  # where bytes below 128 stand for other letters


def _numbers(value: bytes, vr: bytes, little: bool) -> list[str]:
    kind = Struct(("<" if little else ">") + _NUMBERS[vr])
    count = min(len(value) // kind.size, _MOST_VALUES)
    numbers = [kind.unpack_from(value, number * kind.size)[0] for number in range(count)]
    return [_single(number) if vr == b"FL" else f"{number!r}" for number in numbers]


def _single(number: float) -> str:
    """The shortest text of a number of 32 bits."""
    exact = Struct("<f")
    for digits in (6, 7, 8):
        told = f"{number:.{digits}g}"
        try:
            if exact.unpack(exact.pack(float(told)))[0] == number:
                return told
        except (OverflowError, StructError):
            break
    return f"{number:.9g}"


def age_between(born: str, studied: str) -> str:
    """Completed days, months or years from birth to the study, as Patient's Age has them (VR AS, PS3.5 6.2), or ""."""
    first, last = _date(born), _date(studied)
    if first is None or last is None or last < first:
        return ""
    months = (last.year - first.year) * 12 + last.month - first.month - (last.day < first.day)
    if months < 2:
        return f"{(last - first).days:03d}D"
    return f"{months:03d}M" if months < 24 else f"{months // 12:03d}Y" if months < 12_000 else ""


def _date(value: str) -> date | None:
    try:
        return datetime.strptime(value.replace(".", ""), "%Y%m%d").date()
    except ValueError:
        return None
