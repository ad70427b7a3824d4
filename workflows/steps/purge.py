"""Purge: all that the node has of a study goes, rows first, then files. What archives have of it stays there."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node.storage.instance_store import InstanceStore
from workflows.data_folder import DataFolder
from workflows.quarantine import Quarantine
from workflows.state.keeping import Purged
from workflows.state.repository import Repository

__all__ = ["finish_purges", "purge_study"]

log = structlog.get_logger()

_FILE = re.compile(r"(?P<uid>[0-9.]+?)(\.[0-9a-f]{64})?\.dcm(\.damaged(-\d+)?)?")
"""A file of the store: its SOP Instance UID, the digest of one that came later, what was set aside."""


def purge_study(
    study_uid: str, who: str, repository: Repository, store: InstanceStore, folder: DataFolder
) -> Purged | None:
    """Remove a study from the node, and record who wanted it. None: nothing is known of it.

    What it returns says whether it was refused. A kill leaves files without rows; `finish_purges` removes them.
    """
    purged = repository.purge(study_uid, who)
    if purged is not None and not purged.refused:
        log.warning("study_purged", study_uid=study_uid, who=who, instances=purged.instances, results=purged.results)
        finish_purges(repository, store, folder)
    return purged


def finish_purges(repository: Repository, store: InstanceStore, folder: DataFolder) -> None:
    """Remove the files of every study that was purged and has some left, in quarantine too. May run twice."""
    for study_uid, purged_at in repository.unfinished_purges().items():
        _remove_instances(study_uid, repository, store)
        for of_study in (folder.results / study_uid, folder.reviews / study_uid, folder.headers / study_uid):
            _remove_older(of_study, purged_at, again=repository.study(study_uid) is not None)
        _empty_quarantine(study_uid, purged_at, Quarantine(folder.quarantine))
        repository.finish_purge(study_uid)


def _remove_instances(study_uid: str, repository: Repository, store: InstanceStore) -> None:
    """Remove the files of a study that no row points at: the study may have been sent again since."""
    root = store.root / study_uid
    for file in sorted(root.glob("*/*")):
        if (named := _FILE.fullmatch(file.name)) is None:
            continue
        with store.exclusive(named["uid"]):
            row = repository.instance(study_uid, file.parent.name, named["uid"])
            if row is None or row.path.name != file.name:
                file.unlink(missing_ok=True)
    for empty in (*root.glob("*"), root):
        with suppress(OSError):  # it has files, or is being made anew
            empty.rmdir()


def _empty_quarantine(study_uid: str, purged_at: datetime, quarantine: Quarantine) -> None:
    """Discard what was set aside of a study before it was purged."""
    for instance in quarantine.instances():
        if instance.study_uid == study_uid and datetime.fromisoformat(instance.received_at) <= purged_at:
            quarantine.discard(instance)


def _remove_older(of_study: Path, purged_at: datetime, *, again: bool) -> None:
    """Remove a study's folder; of one that was sent `again`, what is older than the purge."""
    if not again:
        shutil.rmtree(of_study, ignore_errors=True)
        return
    for entry in of_study.glob("*"):
        if entry.stat().st_mtime < purged_at.timestamp():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
