"""An instance as it arrived, once it was looked at, and as it lies in the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from dicom_node.headers.instance import InstanceHeader, InstanceIdentifiers
from dicom_node.identifiers import SeriesUID, SOPInstanceUID, StudyUID

__all__ = ["InspectedInstance", "ReceivedInstance", "StoredInstance", "WriteOutcome"]


@dataclass(frozen=True)
class ReceivedInstance:
    """One C-STORE request: the data set as the peer encoded it, and what its command and association said.

    `data_set`: bytes without file meta, in `transfer_syntax_uid`. The UIDs are the command's (PS3.7 9.1.1), which the
    data set may contradict until `InstanceStore.inspect` has checked them.
    """

    data_set: bytes = field(repr=False)
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    peer_address: str = ""


@dataclass(frozen=True)
class InspectedInstance:
    """A received instance whose data set was parsed and agrees with its command; nothing is written yet.

    `digest`: sha256 (hex) of the data set's bytes without file meta, so that it does not depend on who sent it.
    """

    received: ReceivedInstance
    identifiers: InstanceIdentifiers
    header: InstanceHeader
    digest: str


class WriteOutcome(Enum):
    """What the store's files knew of an instance before it was written; rows may know otherwise.

    NEW: no file of this SOP Instance UID lay in the series. IDENTICAL: this very data set lay there already.
    CHANGED: only other data sets of this UID lay there, and still do.
    """

    NEW = "new"
    IDENTICAL = "identical"
    CHANGED = "changed"


@dataclass(frozen=True)
class StoredInstance:
    """A file of the store that is synced and in its place, and what a row needs to know of it.

    `path`: relative to the store's root. `size`: bytes of the file. `digest`: as InspectedInstance has it.
    """

    study_uid: StudyUID
    series_uid: SeriesUID
    sop_instance_uid: SOPInstanceUID
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    size: int
    digest: str
    outcome: WriteOutcome
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    header: InstanceHeader
