"""Instances that an archive sends when asked: only what was asked for is kept, under a name of its own UID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.errors import IdentifierMismatch, PeerRejected, UnparseableInstance
from dicom_node.headers.elements import read_file_header, text
from dicom_node.identifiers import checked_uid
from dicom_node.network.outgoing import outgoing_instance

__all__ = ["Retrieval"]

_log = structlog.get_logger()


@dataclass
class Retrieval:
    """What is asked for, and the Part 10 files in `folder` that have come so far, by SOP Instance UID.

    Raises IdentifierMismatch for UIDs that are none, and ValueError for instances without a series.
    """

    study_uid: str
    folder: Path
    series_uid: str = ""
    sop_instance_uids: Sequence[str] = ()
    came: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_uid(self.study_uid, "StudyInstanceUID")
        if self.sop_instance_uids and not self.series_uid:
            raise ValueError("instances are asked for with their series: give series_uid too")
        if self.series_uid:
            checked_uid(self.series_uid, "SeriesInstanceUID")
        for uid in self.sop_instance_uids:
            checked_uid(uid, "SOPInstanceUID")
        self.folder.mkdir(parents=True, exist_ok=True)

    def part(self, number: int) -> Path:
        """Where the bytes of the number-th instance go until `keep` has looked at them."""
        return self.folder / f".incoming-{number}"

    def keep(self, part: Path) -> bool:
        """Give a file that has come its name, or remove it where it was not asked for or is no instance; logged."""
        try:
            uid = self._checked(part)
        except (IdentifierMismatch, UnparseableInstance) as error:
            part.unlink(missing_ok=True)
            _log.warning("retrieved_instance_refused", study_uid=self.study_uid, reason=_reason(error, part))
            return False
        path = self.folder / f"{uid}.dcm"
        part.replace(path)
        self.came[uid] = path
        return True

    def _checked(self, part: Path) -> str:
        uid = checked_uid(outgoing_instance(part).sop_instance_uid, "SOPInstanceUID")
        _, header = read_file_header(part, ("StudyInstanceUID", "SeriesInstanceUID"))
        if text(header, "StudyInstanceUID") != self.study_uid:
            raise IdentifierMismatch("an instance of another study than was asked for")
        if self.series_uid and text(header, "SeriesInstanceUID") != self.series_uid:
            raise IdentifierMismatch("an instance of another series than was asked for")
        if self.sop_instance_uids and uid not in self.sop_instance_uids:
            raise IdentifierMismatch("another instance of the series than was asked for")
        return uid

    def paths(self, source: object) -> list[Path]:
        """The files in order of their names; PeerRejected where something that was asked for by its UID is missing."""
        missing = set(self.sop_instance_uids) - self.came.keys()
        if missing:
            raise PeerRejected(
                f"{source} sent {len(self.came)} of {len(self.sop_instance_uids)} instances that were asked for; "
                f"one that it did not send is {min(missing)}"
            )
        return [self.came[uid] for uid in sorted(self.came)]


def _reason(error: Exception, part: Path) -> str:
    return str(error).removeprefix(f"{part}: ")
