"""Writes result objects so that what was written is on the disk, and the same data set gives the same bytes."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.headers.identity import EncodedElement
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.prepared import PreparedElement

__all__ = ["save"]


def save(dataset: Dataset, path: Path, identity: ResultIdentity) -> None:
    """Write `dataset` as a DICOM file (Explicit VR Little Endian): temporary file, sync, rename, sync the folder.

    Patient, study and character set are those of `identity`, whatever `dataset` has. Texts of `dataset` that the
    character set cannot hold are transliterated, in `dataset` too.
    """
    prepared = [element for element in dataset.elements() if isinstance(element, PreparedElement)]
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file, _without(dataset, prepared):
        identity.fit(dataset)
        _write(dataset, prepared, identity, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _without(dataset: Dataset, elements: Sequence[PreparedElement]) -> Iterator[None]:
    """A data set for a while without elements that are fitted and encoded already, and would be decoded."""
    for element in elements:
        del dataset[element.tag]
    try:
        yield
    finally:
        for element in elements:
            dataset[element.tag] = element


def _write(dataset: Dataset, prepared: Sequence[PreparedElement], identity: ResultIdentity, file: BinaryIO) -> None:
    """PS3.10 7.1, element by element: the identity's bytes go straight into the file, as any data set that held them
    would decode and encode them again. So do prepared elements.
    """
    meta = copy.deepcopy(dataset.file_meta)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    file.write(bytes(128) + b"DICM")
    stream = DicomIO(file)
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_file_meta_info(stream, meta)
    correct_ambiguous_vr(dataset, True)
    given = {int(one.tag): EncodedElement(one.tag, "SQ", one.value or b"") for one in prepared} | identity.elements()
    encodings = identity.encodings
    for tag in sorted({*dataset.keys(), *given}):
        if tag not in given:
            write_data_element(stream, dataset[tag], encodings)
        elif (element := given[tag]) is not None:
            stream.write(element.encoded())
