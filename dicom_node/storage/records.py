"""How a record of the journal lies in a segment: what is written of an instance, and how it is known again.

    segment   page 0         the segment's identity, a random number
              then records, each from the beginning of a page (4096 bytes):
    record    a page         magic, identity of the segment, epoch, number in the epoch, sizes, time, digest, seal
              the data set   as it came
              the details    request, identifiers and header as JSON, directly behind the data set

A segment is used again once all its records are released, and its epoch goes up by one. The seal is a sha256 over the
fields of the page and the details; with the data set's own digest it tells a whole record from a torn one. Old bytes of
a segment are of another epoch. A data set cannot hold a forged record: it does not know the segment's identity.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dicom_node.headers.instance import InstanceHeader, InstanceIdentifiers
from dicom_node.identifiers import SeriesUID, SOPInstanceUID, StudyUID
from dicom_node.storage.sink import AcknowledgedInstance, StoreRequest

__all__ = [
    "FIRST_RECORD", "PAGE", "RecordHead", "aligned", "blocks_of", "encode_details", "is_whole", "read_head",
    "read_instance", "read_segment_identity", "segment_page",
]  # fmt: skip

PAGE = 4096
FIRST_RECORD = PAGE
_SEGMENT = struct.Struct("<8s16s")
_RECORD = struct.Struct("<8s16sQQQQQ32s")
_SEGMENT_MAGIC, _RECORD_MAGIC = b"MSNSEGM1", b"MSNRECD1"
_SEAL_BYTES = 32
_DETAILS_AT_MOST = 256 * 1024 * 1024
_BLOCK = 1024 * 1024
_EPOCH_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class RecordHead:
    """The first page of a record. `start`: where in the segment it begins, in bytes. `size`: of the data set."""

    start: int
    segment: bytes
    epoch: int
    number: int
    size: int
    received_at: datetime
    details_size: int
    digest: bytes

    @property
    def data_start(self) -> int:
        return self.start + PAGE

    @property
    def details_start(self) -> int:
        return self.data_start + self.size

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return aligned(self.details_start + self.details_size)

    def page(self, details: bytes) -> bytes:
        fields = self._fields()
        return (fields + _seal(fields, details)).ljust(PAGE, b"\0")

    def is_sealed(self, seal: bytes, details: bytes) -> bool:
        return len(details) == self.details_size and _seal(self._fields(), details) == seal

    def _fields(self) -> bytes:
        return _RECORD.pack(
            _RECORD_MAGIC,
            self.segment,
            self.epoch,
            self.number,
            self.size,
            (self.received_at - _EPOCH_OF_TIME) // _MICROSECOND,
            self.details_size,
            self.digest,
        )


def aligned(offset: int) -> int:
    """The beginning of the next page, or `offset` where a page begins there."""
    return -(-offset // PAGE) * PAGE


def segment_page(identity: bytes) -> bytes:
    """The first page of a segment. `identity`: 16 random bytes."""
    return _SEGMENT.pack(_SEGMENT_MAGIC, identity).ljust(PAGE, b"\0")


def read_segment_identity(descriptor: int) -> bytes | None:
    """A segment's identity; None for a file that is none."""
    page = os.pread(descriptor, _SEGMENT.size, 0)
    if len(page) < _SEGMENT.size:
        return None
    magic, identity = _SEGMENT.unpack(page)
    return bytes(identity) if magic == _SEGMENT_MAGIC else None


def read_head(descriptor: int, start: int, segment: bytes, size: int) -> tuple[RecordHead, bytes] | None:
    """The head of the record at `start` with its seal; None where no record of this segment begins.

    `size`: of the file, in bytes. Whether the record is whole is not looked at.
    """
    page = os.pread(descriptor, _RECORD.size + _SEAL_BYTES, start)
    if len(page) < _RECORD.size + _SEAL_BYTES:
        return None
    magic, of_segment, epoch, number, data_size, at, details_size, digest = _RECORD.unpack_from(page)
    if magic != _RECORD_MAGIC or of_segment != segment or details_size > _DETAILS_AT_MOST:
        return None
    try:
        received_at = _EPOCH_OF_TIME + timedelta(microseconds=at)
    except OverflowError:
        return None
    head = RecordHead(start, segment, epoch, number, data_size, received_at, details_size, digest)
    return (head, page[_RECORD.size :]) if head.details_start + details_size <= size else None


def is_whole(descriptor: int, head: RecordHead) -> bool:
    """Whether the data set is the one that the record was sealed with; read in blocks, so that memory stays flat."""
    digest = hashlib.sha256()
    for block in blocks_of(descriptor, head.data_start, head.size):
        digest.update(block)
    return digest.digest() == head.digest


def blocks_of(descriptor: int, start: int, size: int, block_bytes: int = _BLOCK) -> Iterator[bytes]:
    """A part of a file, block by block; ends early where the file does."""
    end = start + size
    while start < end and (block := os.pread(descriptor, min(block_bytes, end - start), start)):
        start += len(block)
        yield block


def encode_details(request: StoreRequest, identifiers: InstanceIdentifiers, header: InstanceHeader) -> bytes:
    details = {
        "request": list(vars(request).values()),
        "identifiers": list(vars(identifiers).values()),
        "header": header.to_json(),
    }
    return json.dumps(details, separators=(",", ":")).encode("ascii")


def read_instance(descriptor: int, head: RecordHead, seal: bytes) -> AcknowledgedInstance | None:
    """What a record says of its instance; None where the seal does not fit: it is torn."""
    encoded = os.pread(descriptor, head.details_size, head.details_start)
    if not head.is_sealed(seal, encoded):
        return None
    details: dict[str, Any] = json.loads(encoded)  # sealed, and so as `encode_details` made it
    study_uid, series_uid, sop_instance_uid, sop_class_uid = details["identifiers"]
    return AcknowledgedInstance(
        request=StoreRequest(*details["request"]),
        identifiers=InstanceIdentifiers(
            StudyUID(study_uid), SeriesUID(series_uid), SOPInstanceUID(sop_instance_uid), sop_class_uid
        ),
        header=InstanceHeader.from_json(details["header"]),
        digest=head.digest.hex(),
        size=head.size,
        received_at=head.received_at,
    )


def _seal(fields: bytes, details: bytes) -> bytes:
    seal = hashlib.sha256(fields)
    seal.update(details)
    return seal.digest()
