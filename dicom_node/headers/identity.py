"""Who a source is about: its patient and study attributes as the bytes that stand in the file, never decoded.

pydicom decodes an element in place when somebody reads it, and a decoded text that was wrongly declared cannot be
encoded back to the same bytes. So the bytes are taken right after reading, and kept apart from any data set.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import AMBIGUOUS_VR, CUSTOMIZABLE_CHARSET_VR, EXPLICIT_VR_LENGTH_32, STANDARD_VR
from pydicom.values import convert_SQ

from dicom_node.headers.elements import BROKEN
from dicom_node.headers.patient import PATIENT_KEYWORDS

__all__ = ["PATIENT_AND_STUDY", "EncodedElement", "EncodedItem", "SourceIdentity", "element_tag", "source_identity"]

PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
    "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthDate", "PatientBirthTime",
    "PatientSex", "EthnicGroup", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "QualityControlSubject",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "ProcedureCodeSequence",
    "RequestingService", "ReasonForPerformedProcedureCodeSequence",
    "PatientAge", "PatientSize", "PatientWeight", "PatientBodyMassIndex", "PregnancyStatus", "SmokingStatus",
    "Allergies", "MedicalAlerts", "AdmissionID", "IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence", "AdditionalPatientHistory", "Occupation", "PatientSexNeutered",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
)  # fmt: skip
"""Keywords of the Patient, General Study, Patient Study and Clinical Trial modules (PS3.3 C.7.1, C.7.2)."""

_CHARACTER_SET = 0x00080005
# Bytes of one number, by VR; only these change between big and little endian (PS3.5 7.3).
_WORDS = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip
_MOST_BYTES = 1 << 20
"""Of a sequence. A patient with a hundred other IDs has a hundredth."""
_PADDED_WITH_NUL = frozenset({"OB", "UI", "UN", *_WORDS})
_TEXT_VRS = frozenset(map(str, CUSTOMIZABLE_CHARSET_VR))

EncodedItem = tuple["EncodedElement", ...]
"""The elements of a sequence's item, in the order of their tags."""


@dataclass(frozen=True)
class EncodedElement:
    """An element as Explicit VR Little Endian writes it.

    `value`: the bytes of the value, padded to an even length (PS3.5 6.2); of a sequence (VR SQ), its items.
    """

    tag: int
    vr: str
    value: bytes | tuple[EncodedItem, ...]

    def encoded(self) -> bytes:
        """Tag, VR, length and value (PS3.5 7.1.2); items have explicit lengths (PS3.5 7.5)."""
        if isinstance(self.value, bytes):
            value = self.value
        else:
            items = [b"".join(element.encoded() for element in item) for item in self.value]
            value = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
        start = struct.pack("<HH", self.tag >> 16, self.tag & 0xFFFF)
        if self.vr in EXPLICIT_VR_LENGTH_32:
            return start + struct.pack("<2sHL", self.vr.encode(), 0, len(value)) + value
        if len(value) > 0xFFFF:  # PS3.5 6.2.2, note 6: longer than the VR can say
            return start + struct.pack("<2sHL", b"UN", 0, len(value)) + value
        return start + struct.pack("<2sH", self.vr.encode(), len(value)) + value

    def values(self) -> Iterator[EncodedElement]:
        """This element, or those at any depth inside its items: whatever has a value of bytes."""
        if isinstance(self.value, bytes):
            yield self
            return
        for item in self.value:
            for element in item:
                yield from element.values()


@dataclass(frozen=True)
class SourceIdentity:
    """Patient and study of a source, byte for byte.

    `character_set`: the value of Specific Character Set, padded with a space where it needs one, as pydicom decodes
    this one element while it reads a file; None where the source has none. `elements`: what the source has of
    PATIENT_AND_STUDY, in the order of their tags.
    """

    character_set: bytes | None
    elements: EncodedItem

    @property
    def declared(self) -> tuple[str, ...]:
        """The values of Specific Character Set as pydicom reads them; () where there is none."""
        return _declared(self.character_set)

    @property
    def is_plain_ascii(self) -> bool:
        """Whether every text is ASCII without ESC: the same in every character set but for those of ISO-IR 14."""
        texts = (leaf.value for element in self.elements for leaf in element.values() if leaf.vr not in _WORDS)
        return all(text.isascii() and b"\x1b" not in text for text in texts if isinstance(text, bytes))

    @property
    def names(self) -> int:
        """How many of PATIENT_KEYWORDS say something: which of several that agree says most about whom it is of."""
        found = (self.element(keyword) for keyword in PATIENT_KEYWORDS)
        return sum(
            one is not None and isinstance(one.value, bytes) and bool(one.value.strip(b" \0^=")) for one in found
        )

    def element(self, keyword: str) -> EncodedElement | None:
        """What the source has of an attribute."""
        tag = element_tag(keyword)
        return next((element for element in self.elements if element.tag == tag), None)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """An attribute's text as the declared character set decodes it, without padding, at any depth; else ().

        Bytes that the set does not know become U+FFFD; a set that nobody knows is read as the default repertoire.
        """
        element = self.element(keyword)
        return () if element is None else tuple(_texts(element, self.declared))


def element_tag(keyword: str) -> BaseTag:
    """The tag of an attribute of the standard. Raises KeyError for what is none."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return BaseTag(tag)


def source_identity(dataset: Dataset) -> SourceIdentity:
    """The identity of a data set that was just read, whatever its transfer syntax.

    Nothing of `dataset` is decoded by this. To be called before anything else reads elements: an element that was
    decoded already is encoded again, which gives the same bytes only where its text was declared rightly. A sequence
    whose items cannot be read, or that is larger than a megabyte, is left out.
    """
    declared = _encoded(dataset.get_item(_CHARACTER_SET), ()) if _CHARACTER_SET in dataset else None
    character_set = declared.value if declared is not None and isinstance(declared.value, bytes) else None
    tags = sorted(element_tag(keyword) for keyword in PATIENT_AND_STUDY)
    encoded = (_encoded(dataset.get_item(tag), _declared(character_set)) for tag in tags if tag in dataset)
    return SourceIdentity(character_set, tuple(element for element in encoded if element is not None))


def _encoded(element: DataElement | RawDataElement, character_set: Sequence[str]) -> EncodedElement | None:
    vr = _value_representation(element)
    try:
        if vr == "SQ":
            return EncodedElement(int(element.tag), vr, tuple(_items(element, character_set)))
        value = _raw_value(element, vr) if isinstance(element, RawDataElement) else _written(element, character_set)
    except BROKEN:
        return None
    return EncodedElement(int(element.tag), vr, _padded(value, vr))


def _value_representation(element: DataElement | RawDataElement) -> str:
    """The VR that the source gives, if it is one; else the dictionary's; UN where neither says (PS3.5 6.2.2)."""
    vr = str(element.VR)
    if vr in STANDARD_VR and vr != "UN":
        return vr
    known = dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else "UN"
    return "UN" if known in AMBIGUOUS_VR else str(known)


def _items(element: DataElement | RawDataElement, character_set: Sequence[str]) -> Iterator[EncodedItem]:
    if isinstance(element, RawDataElement):
        if len(element.value or b"") > _MOST_BYTES:
            raise ValueError("a sequence larger than any that says who somebody is")
        unknown = element.VR == "UN"  # then Implicit VR Little Endian, whatever the data set is (PS3.5 6.2.2)
        implicit, little = element.is_implicit_VR or unknown, element.is_little_endian or unknown
        items: Sequence[Dataset] = convert_SQ(element.value or b"", implicit, little)
    else:
        items = element.value or []
    for item in items:
        nested = _encoded(item.get_item(_CHARACTER_SET), ()) if _CHARACTER_SET in item else None
        declared = _declared(nested.value) if nested is not None and isinstance(nested.value, bytes) else character_set
        encoded = (_encoded(item.get_item(tag), declared) for tag in sorted(item.keys()) if tag.element != 0)
        yield tuple(element for element in encoded if element is not None)


def _raw_value(element: RawDataElement, vr: str) -> bytes:
    value, size = element.value or b"", _WORDS.get(vr, 1)
    if element.is_little_endian or size == 1 or len(value) % size:
        return value
    return b"".join(value[place : place + size][::-1] for place in range(0, len(value), size))


def _written(element: DataElement, character_set: Sequence[str]) -> bytes:
    """The value of an element that somebody decoded, encoded again."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_data_element(buffer, element, _encodings(character_set))
    return bytes(buffer.getvalue()[8:])  # after tag and length


def _padded(value: bytes, vr: str) -> bytes:
    return value if len(value) % 2 == 0 else value + (b"\0" if vr in _PADDED_WITH_NUL else b" ")


def _declared(character_set: bytes | None) -> tuple[str, ...]:
    text = (character_set or b"").decode("latin-1").rstrip(" \0")
    return tuple(text.split("\\")) if text else ()


def _encodings(character_set: Sequence[str]) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return convert_encodings(list(character_set))
        except BROKEN:
            return [default_encoding]


def _texts(element: EncodedElement, character_set: Sequence[str]) -> Iterator[str]:
    if isinstance(element.value, bytes):
        if element.vr in _TEXT_VRS:
            yield from _decoded(element.tag, element.vr, element.value, _encodings(character_set))
        return
    for item in element.value:
        nested = next((one.value for one in item if one.tag == _CHARACTER_SET), None)
        for inner in item:
            yield from _texts(inner, _declared(nested) if isinstance(nested, bytes) else character_set)


def _decoded(tag: int, vr: str, value: bytes, encodings: list[str]) -> Iterator[str]:
    raw = RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = convert_raw_data_element(raw, encoding=encodings).value
        except BROKEN:
            text = value.decode(default_encoding)
        yield from (str(part) for part in (text if isinstance(text, MultiValue) else (text,)))
