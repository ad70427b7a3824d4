"""Instances for tests of the journal, and how they go in and come out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from dicom_node.storage.journal import Journal, JournalWriter
from dicom_node.storage.journal_entry import JournalEntry
from dicom_node.storage.sink import StoreRequest
from tests.unit.dicom_node.headers.encoded import Encoding, even

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
MIB = 1024 * 1024


def data_set(number: int, pixel_bytes: int = 1000, **values: bytes) -> bytes:
    """A CT image in Explicit VR Little Endian, with pixels that are no other's."""
    item = {
        "SOPClassUID": even(CT.encode(), b"\0"),
        "SOPInstanceUID": even(f"1.2.3.{number}".encode(), b"\0"),
        "StudyInstanceUID": b"1.2.1\0",
        "SeriesInstanceUID": b"1.2.2\0",
        "Modality": b"CT",
        "InstanceNumber": even(str(number).encode()),
        "PixelData": even(random.Random(number).randbytes(pixel_bytes)),
    }
    return Encoding(False).elements(item | values)


def request(number: int) -> StoreRequest:
    return StoreRequest(CT, f"1.2.3.{number}", EXPLICIT, "SCANNER", "MEDSEG", "127.0.0.1")


def written(journal: Journal, number: int, contents: bytes, fragment_bytes: int = 30_001) -> JournalWriter:
    """All of an instance is written, and nothing committed."""
    writer = journal.open(request(number))
    try:
        for start in range(0, len(contents), fragment_bytes):
            writer.write(memoryview(contents)[start : start + fragment_bytes])
    except BaseException:
        writer.abandon()
        raise
    return writer


def put(journal: Journal, number: int, contents: bytes | None = None) -> bytes:
    contents = data_set(number) if contents is None else contents
    writer = written(journal, number, contents)
    try:
        writer.commit()
    finally:
        writer.abandon()
    return contents


def numbers(entries: Iterable[JournalEntry]) -> list[int]:
    return [int(entry.instance.identifiers.sop_instance_uid.rpartition(".")[2]) for entry in entries]


def contents(entries: Iterable[JournalEntry]) -> dict[int, bytes]:
    """The data sets by their number, as the journal holds them."""
    listed = list(entries)
    return {number: b"".join(entry.blocks()) for number, entry in zip(numbers(listed), listed, strict=True)}


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))
