"""What must be true after whatever happened: nothing that was acknowledged is lost, nothing is sent twice."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from dicom_node.storage.part10 import data_set_offset
from tests.crash.senders import Sent
from tests.services import Orthanc

__all__ = ["Counts", "Ledger", "kept_promises"]


@dataclass(frozen=True)
class Counts:
    """How many there were of each; all of `stored` and `acknowledged` are equal, as are `recorded` and `in_archive`."""

    acknowledged: int
    stored: int
    studies: int
    delivered: int
    recorded: int
    in_archive: int

    @property
    def equal(self) -> bool:
        """Whether nothing is missing and nothing too many."""
        return (
            self.acknowledged == self.stored and self.studies == self.delivered and self.recorded == self.in_archive > 0
        )

    @property
    def told(self) -> str:
        """One line of the report."""
        return (
            f"{self.acknowledged:,} acknowledged = {self.stored:,} stored, {self.studies} studies = "
            f"{self.delivered} delivered, {self.recorded} objects recorded = {self.in_archive} in the archive"
        )


class Ledger:
    """The node's database, looked at from outside."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, hide_parameters=True)

    def rows(self, statement: str) -> list[Any]:
        """What a SELECT gives; nothing while the database is away or has no tables."""
        with contextlib.suppress(DBAPIError), self._engine.connect() as connection:
            return list(connection.execute(text(statement)))
        return []

    def states(self) -> dict[str, str]:
        """State by Study Instance UID."""
        return {str(row[0]): str(row[1]) for row in self.rows("SELECT study_uid, state FROM studies")}

    def why(self) -> str:
        """Each study's state and reason, for a failed check."""
        rows = self.rows("SELECT study_uid, generation, state, reason FROM studies")
        jobs = self.rows("SELECT study_uid, state, reason, attempts FROM jobs")
        return "\n".join(str(tuple(row)) for row in [*rows, *jobs])

    def all_delivered(self, count: int, sent: Iterable[str]) -> bool:
        """Whether each instance that was sent has its row, there are so many studies, and every one is delivered.

        An instance that comes late opens its study again in the transaction that gives it its row.
        """
        indexed = {row[0] for row in self.rows("SELECT sop_instance_uid FROM instances WHERE lost_at IS NULL")}
        if not indexed.issuperset(sent):
            return False
        states = list(self.states().values())
        return len(states) == count and set(states) == {"DELIVERED"}


def kept_promises(sent: dict[str, Sent], ledger: Ledger, data_dir: Path, archive: Orthanc) -> Counts:
    """Count what is there; raise AssertionError for an acknowledged instance that is not there bit for bit."""
    rows = {uid: (path, digest) for uid, path, digest in ledger.rows(
        "SELECT sop_instance_uid, path, digest FROM instances WHERE lost_at IS NULL")}  # fmt: skip
    for uid, one in sent.items():
        assert uid in rows, f"{uid} was acknowledged and has no row"
        path, digest = rows[uid]
        assert digest == one.digest == _digest(data_dir / path), f"{uid} is not what was sent"
    recorded = [uid for (uid,) in ledger.rows("SELECT sop_instance_uid FROM deliveries WHERE state = 'DELIVERED'")]
    found = sorted(_in_archive(archive, {one.patient_id for one in sent.values()}))
    assert found == sorted(recorded), f"{len(recorded)} objects are recorded as delivered, the archive has {len(found)}"
    return Counts(
        acknowledged=len(sent),
        stored=sum(uid in sent for uid in rows),
        studies=len({one.study_uid for one in sent.values()}),
        delivered=sum(state == "DELIVERED" for state in ledger.states().values()),
        recorded=len(recorded),
        in_archive=len(found),
    )


def _in_archive(archive: Orthanc, patient_ids: set[str]) -> Iterator[str]:
    """SOP Instance UIDs of all that the archive has of these patients; only results ever go there."""
    for patient_id in patient_ids:
        query = {"Level": "Instance", "Query": {"PatientID": patient_id}, "Expand": True}
        for one in archive.post("/tools/find", query):
            yield one["MainDicomTags"]["SOPInstanceUID"]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(data_set_offset(file))
        return hashlib.file_digest(file, "sha256").hexdigest()
