"""What an archive has, where it is, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dicom_node.network.association import Peer

__all__ = ["Archive", "ArchiveAddress", "FoundInstance", "FoundSeries", "FoundStudy"]


@dataclass(frozen=True)
class ArchiveAddress:
    """Where an archive is. `dicomweb_url`: its DICOMweb root, without a slash at the end; "" if it has none.

    `orthanc_url`: Orthanc's REST interface, or "". `password` is never shown.
    """

    peer: Peer
    dicomweb_url: str = ""
    orthanc_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class FoundStudy:
    """A study that an archive has; what it does not tell is ""."""

    study_uid: str
    patient_id: str
    patient_id_issuer: str
    patient_name: str
    patient_birth_date: str
    study_date: str
    accession_number: str
    study_description: str


@dataclass(frozen=True)
class FoundSeries:
    """A series that an archive has; what it does not tell is "". `made`: its date and time, YYYYMMDDHHMMSS."""

    study_uid: str
    series_uid: str
    modality: str
    series_description: str
    manufacturer: str = ""
    made: str = ""


@dataclass(frozen=True)
class FoundInstance:
    """An instance that an archive has. `sop_class_uid`: "" where it does not tell."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str


class Archive(Protocol):
    """What can be asked of an archive. Everything raises PeerUnreachable, and PeerRejected where it is refused."""

    def studies(self, *, patient_id: str = "", accession_number: str = "", study_uid: str = "",
                study_date: str = "") -> list[FoundStudy]: ...  # fmt: skip

    def series(self, study_uid: str, *, modality: str = "") -> list[FoundSeries]: ...

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]: ...

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        """Copy a study, a series of it, or some instances of the series to `folder`, as Part 10 files."""
        ...
