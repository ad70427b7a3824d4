"""Whether two encodings of one instance hold the same: pixels, places, patient, and all that a result may depend on.

Other bytes under the same SOP Instance UID are mostly the same image in another lossless transfer syntax, or with
attributes that an archive has coerced. Everything counts, but for what is listed here as mattering to no result: what
nobody has thought of makes a difference, which costs an answer more, never a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import BROKEN
from dicom_node.headers.identity import source_identity
from dicom_node.headers.raw import read_header
from dicom_node.volumes.pixels import is_color, stored_frames

__all__ = ["IRRELEVANT", "PRIVATE_GROUPS", "difference"]

IRRELEVANT = frozenset({
    "InstitutionName", "InstitutionAddress", "InstitutionCodeSequence", "InstitutionalDepartmentName", "StationName",
    "OperatorsName", "OperatorIdentificationSequence", "PerformingPhysicianName", "InstanceCreationDate",
    "InstanceCreationTime", "InstanceCreatorUID", "InstanceCoercionDateTime", "OriginalAttributesSequence",
    "SourceApplicationEntityTitle", "RetrieveAETitle", "StorageMediaFileSetID", "StorageMediaFileSetUID",
    "SOPInstanceStatus", "SOPAuthorizationDateTime", "SOPAuthorizationComment",
    "DigitalSignaturesSequence", "MACParametersSequence", "EncryptedAttributesSequence", "DataSetTrailingPadding",
    "IconImageSequence", "RequestingPhysician", "CurrentPatientLocation", "PatientState", "StudyStatusID",
    "StudyPriorityID", "RequestedProcedureComments", "CommentsOnThePerformedProcedureStep",
    "ImagingServiceRequestComments", "PerformedLocation", "PerformedStationName", "PerformedStationAETitle",
    "SmallestImagePixelValue", "LargestImagePixelValue", "InstanceOriginStatus", "BarcodeValue",
    "DataSetType", "DataSetSubtype", "NetworkID",
})  # fmt: skip
"""Attributes that archives set or change and on which no result depends; a test looks that it stays so."""
PRIVATE_GROUPS = frozenset({0x0009, 0x7053})
"""Private groups that are read (`volumes/uptake.py`); what other private elements hold does not matter."""

_OF_ENCODING = frozenset({"SpecificCharacterSet", "PlanarConfiguration"})
"""Compared otherwise: texts as they are decoded, pixels as they are."""


def difference(before: Path, after: Path) -> str:
    """The name of the first thing in which two files of one instance differ, or "" where they hold the same.

    Raises nothing but OSError: what cannot be read or decoded counts as different.
    """
    try:
        first, second = read_header(before), read_header(after)
        if not _same_identity(first, second):
            return "patient or study"
        return _different_attribute(first, second) or _different_pixels(before, after)
    except DicomNodeError as error:
        return f"something that cannot be read ({type(error).__name__})"
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return f"something that cannot be read ({type(error).__name__})"


def _same_identity(first: Dataset, second: Dataset) -> bool:
    """Whether results would say the same of patient and study, byte for byte. Asked before anything is decoded."""
    one, other = source_identity(first), source_identity(second)
    same_set = one.character_set == other.character_set or (one.is_plain_ascii and other.is_plain_ascii)
    return same_set and one.elements == other.elements


def _different_attribute(first: Dataset, second: Dataset) -> str:
    colors = is_color(first) and is_color(second)  # then both decode to RGB
    for tag in sorted({*_compared(first), *_compared(second)}):
        one, other = first.get(tag), second.get(tag)
        keyword = (one if one is not None else other).keyword
        if keyword in IRRELEVANT or keyword in _OF_ENCODING or (colors and keyword == "PhotometricInterpretation"):
            continue
        if not _same(one, other):
            return keyword or str(tag)
    return ""


def _compared(data_set: Dataset) -> Iterator[BaseTag]:
    for tag in data_set.keys():  # noqa: SIM118 (a Dataset iterates over elements)
        if tag.element != 0 and (not tag.is_private or tag.group in PRIVATE_GROUPS):
            yield tag


def _same(one: DataElement | None, other: DataElement | None) -> bool:
    if one is None or other is None:
        there = one if one is not None else other
        return there is None or bool(there.is_empty)
    return _same_value(one.value, other.value)


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, bytes) and isinstance(other, bytes):
        return one.rstrip(b"\0 ") == other.rstrip(b"\0 ")
    if isinstance(one, Dataset) and isinstance(other, Dataset):
        tags = {*_compared(one), *_compared(other)}
        return all(_same(one.get(tag), other.get(tag)) for tag in tags)
    if isinstance(one, list) and isinstance(other, list) and any(isinstance(item, Dataset) for item in [*one, *other]):
        return len(one) == len(other) and all(map(_same_value, one, other))
    return bool(one == other) or (_is_nothing(one) and _is_nothing(other))


def _is_nothing(value: Any) -> bool:
    return value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0)


def _different_pixels(before: Path, after: Path) -> str:
    for one, other in zip_longest(stored_frames(before), stored_frames(after)):
        if one is None or other is None or one.dtype.kind != other.dtype.kind or not np.array_equal(one, other):
            return "Pixel Data"
    return ""
