"""Inputs: the instances that a job was planned for, and whether they are still there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from dicom_node.storage.instance_store import InstanceStore
from workflows.state.repository import Repository
from workflows.state.tables import InstanceRow

__all__ = ["inputs_of", "report_lost"]

log = structlog.get_logger()


def inputs_of(rows: Sequence[InstanceRow]) -> list[str]:
    """SOP Instance UID and digest of each instance, in an order of their own: what the job key is made from."""
    return sorted(f"{row.sop_instance_uid}:{row.digest}" for row in rows)


def report_lost(rows: Sequence[InstanceRow], store: InstanceStore, repository: Repository) -> bool:
    """Mark the instances whose files are gone, so that nothing is read without them. True: some are."""
    gone = [row.path for row in rows if not store.absolute(Path(row.path)).is_file()]
    if gone:
        log.error("instance_files_missing", study_uid=rows[0].study_uid, count=len(gone))
        repository.lose_instances(gone)
    return bool(gone)
