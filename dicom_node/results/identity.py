"""What all results of a job say of patient and study, and the character set that they are written in.

Patient and study are the source's bytes with the source's Specific Character Set, right or wrong as it is. Our own
texts follow: they are written in that set, or in UTF-8 where that changes nothing of the source's, or transliterated.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass

from anyascii import anyascii
from pydicom.charset import (
    STAND_ALONE_ENCODINGS,
    convert_encodings,
    decode_bytes,
    default_encoding,
    encode_string,
    python_encoding,
)
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, TEXT_VR_DELIMS

from dicom_node.headers.identity import PATIENT_AND_STUDY, EncodedElement, SourceIdentity, element_tag

__all__ = ["ResultIdentity", "own_texts", "result_identity"]

_TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
           "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
_CHARACTER_SET = "SpecificCharacterSet"
_UTF_8 = "ISO_IR 192"
_JAPANESE_WITH_YEN = frozenset({"ISO_IR 13", "ISO 2022 IR 13"})
"""Their ISO-IR 14 has a yen sign and an overline where ASCII has backslash and tilde (PS3.3 C.12.1.1.2)."""

_LONG_TEXTS = frozenset({"LT", "ST", "UT"})
_AT_MOST = {"LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024}  # characters, PS3.5 6.2
_PATIENT_AND_STUDY_TAGS = frozenset(element_tag(keyword) for keyword in PATIENT_AND_STUDY)
_FITTED = frozenset({"SQ", None, *map(str, CUSTOMIZABLE_CHARSET_VR)})
"""None: as read from Implicit VR, where only the dictionary knows."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROLS_IN_LONG_TEXTS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_IN_DEFAULT_REPERTOIRE = re.compile(rb"^[^\x1b]+|\x1b\(B[^\x1b]*")


@dataclass(frozen=True)
class ResultIdentity:
    """Patient and study of every object of a job.

    `source`: of the part that says most about the patient. `character_set`: the value of Specific Character Set in the
    objects, None where they have none.
    """

    source: SourceIdentity
    character_set: bytes | None

    @property
    def encodings(self) -> list[str]:
        """Python's encodings for our own texts, the first for what stands before any escape sequence."""
        return _repertoire(SourceIdentity(self.character_set, ()).declared) or [default_encoding]

    def elements(self) -> dict[int, EncodedElement | None]:
        """By tag, what an object has of Specific Character Set, patient and study; None for what it must not have."""
        found: dict[int, EncodedElement | None] = {element.tag: element for element in self.source.elements}
        for keyword in PATIENT_AND_STUDY:
            tag = element_tag(keyword)
            empty = EncodedElement(tag, dictionary_VR(tag), b"") if keyword in _TYPE_2 else None
            found.setdefault(tag, empty)
        tag = element_tag(_CHARACTER_SET)
        found[tag] = None if self.character_set is None else EncodedElement(tag, "CS", self.character_set)
        return found

    def fitted(self, text: str, vr: str) -> str:
        """A text of our own as the objects can hold it: as it is, else with letters transliterated to ASCII.

        What no text may hold is left out, above all ESC; a transliteration is cut to what its VR allows.
        """
        text = _without_controls(text, vr)
        encodings = self.encodings
        for candidate in (text, unicodedata.normalize("NFC", text)):
            if _holds(candidate, encodings):
                return candidate
        letters = unicodedata.normalize("NFC", text)
        written = "".join(letter if _holds(letter, encodings) else _transliterated(letter, vr) for letter in letters)
        if not _holds(written, encodings):
            written = "".join(letter if letter.isascii() else _transliterated(letter, vr) for letter in letters)
        return written[: _AT_MOST.get(vr)] or "?"

    def fit(self, dataset: Dataset) -> None:
        """Fit every text of `dataset` at any depth, but for patient and study, which are not taken from there."""
        for tag in sorted(dataset.keys()):
            if tag in _PATIENT_AND_STUDY_TAGS or dataset.get_item(tag).VR not in _FITTED:
                continue
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value or []:
                    self.fit(item)
            elif element.VR in CUSTOMIZABLE_CHARSET_VR and element.value:
                several = isinstance(element.value, (MultiValue, list, tuple))
                texts = [str(value) for value in (element.value if several else (element.value,))]
                fitted = [self.fitted(text, element.VR) for text in texts]
                if fitted != texts:
                    element.value = fitted if several else fitted[0]


def result_identity(source: SourceIdentity, texts: Iterable[str]) -> ResultIdentity:
    """The identity of a job's objects, and their character set: decided once, from all texts of our own.

    The source's set stays, but for one case: it cannot hold our texts, and everything that it must hold is ASCII and
    reads the same in UTF-8. A set that nobody knows stays too, as what it does to ASCII is not known either.
    """
    declared = source.declared
    repertoire = _repertoire(declared)
    if repertoire is None or all(_holds(_without_controls(text, "UT"), repertoire) for text in texts):
        return ResultIdentity(source, source.character_set)
    if source.is_plain_ascii and _JAPANESE_WITH_YEN.isdisjoint(declared):
        return ResultIdentity(source, _UTF_8.encode())
    return ResultIdentity(source, source.character_set)


def own_texts(*values: object) -> Iterator[str]:
    """Every string in frozen records of ours, at any depth: what a job's objects may say in our own words."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from own_texts(*value)
        elif is_dataclass(value):
            yield from own_texts(*(getattr(value, field.name) for field in fields(value)))


def _repertoire(declared: tuple[str, ...]) -> list[str] | None:
    """Python's encodings of a declared character set, or None where a value is no defined term (PS3.3 C.12.1.1.2)."""
    if len(declared) > 1 and any(value in STAND_ALONE_ENCODINGS for value in declared):
        return None
    if any(value not in python_encoding or (place > 0 and not value) for place, value in enumerate(declared)):
        return None
    return convert_encodings(list(declared))


def _holds(text: str, encodings: list[str]) -> bool:
    """Whether a text comes back the same after it was encoded, and uses the default repertoire for ASCII alone."""
    if text.isascii():
        return True
    if not all(any(_knows(encoding, letter) for encoding in encodings) for letter in set(text)):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encoded = encode_string(text, encodings)
            if encodings[0] == default_encoding:  # Latin-1 for pydicom, ASCII for the standard
                plain = b"".join(_IN_DEFAULT_REPERTOIRE.findall(encoded))
                if not plain.isascii():
                    return False
            return decode_bytes(encoded, encodings, TEXT_VR_DELIMS) == text
        except (ValueError, LookupError, UserWarning):
            return False


def _knows(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeError:
        return False
    return True


def _transliterated(letter: str, vr: str) -> str:
    """The letter in ASCII; a wide backslash or caret must not become a delimiter."""
    return anyascii(letter) if vr in _LONG_TEXTS else re.sub(r"[\\^=]", " ", anyascii(letter))


def _without_controls(text: str, vr: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no letter
    return (_CONTROLS_IN_LONG_TEXTS if vr in _LONG_TEXTS else _CONTROLS).sub(" ", text)
