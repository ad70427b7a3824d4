"""Integrity: what is gone or damaged in the store is found, set aside, and asked for again where it came from.

A worker that cannot read a file, or reads other bytes than were received, only says so (`Repository.suspect`). Whether
that is true is found out here, by another process: a mount that is missing on one host is no loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path

import structlog

from dicom_node.errors import DicomNodeError
from dicom_node.network.archive import FoundInstance
from dicom_node.storage.instance_store import InstanceStore
from workflows.data_folder import DataFolder
from workflows.state.records import Instance
from workflows.state.repository import Repository
from workflows.steps.evidence import Source
from workflows.steps.inputs import is_intact

__all__ = ["Recovery", "is_gone", "look_after", "recover_due", "set_aside"]

log = structlog.get_logger()

_LEASE_S = 900.0
_WAITS_S = (30.0, 300.0, 1800.0, 7200.0)
"""How long after each attempt a source is asked again; after the last nobody is asked any more."""
_INDEXED_S, _LOOK_S = 3.0, 0.05
_DAMAGED = "its file was damaged, and is set aside"


@dataclass(frozen=True)
class Recovery:
    """What looking after a study needs. `sources`: who may have what came from an AE title, the likeliest first."""

    repository: Repository
    store: InstanceStore
    folder: DataFolder
    sources: Callable[[str], Sequence[Source]]


def recover_due(recovery: Recovery) -> None:
    """Look after every study that is due for it."""
    for study_uid in recovery.repository.due_recoveries():
        look_after(study_uid, recovery)


def look_after(study_uid: str, recovery: Recovery) -> None:
    """Find out what of a study is gone or damaged, and ask for it again; a few times, ever more rarely."""
    repository = recovery.repository
    attempt = repository.claim_recovery(study_uid, _LEASE_S)
    if attempt is None:
        return
    if not is_own_folder(recovery.folder, repository):
        log.error("data_folder_is_not_there", study_uid=study_uid, data_dir=str(recovery.folder.root))
        repository.record_recovery(study_uid, "", _WAITS_S[0])
        return
    _find_what_is_gone(study_uid, recovery)
    missing = repository.needs_lost_instances(study_uid)
    told, asked = _ask_for(study_uid, missing, recovery) if missing else ("", False)
    again = _WAITS_S[attempt] if asked and attempt < len(_WAITS_S) else None
    repository.record_recovery(study_uid, told, again)


def is_own_folder(folder: DataFolder, repository: Repository) -> bool:
    """Whether the data folder is there now and this node's; without its marker a mount may be missing."""
    return folder.node_uid() == repository.node_uid()


def is_gone(error: Exception, folder: DataFolder, repository: Repository) -> bool:
    """Whether an error says that a file is gone, and not that the folder is."""
    return isinstance(error, FileNotFoundError) and is_own_folder(folder, repository)


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file beside itself, over nothing; its new name, or None where there is no file."""
    if not path.is_file():
        return None
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(aside)
    return aside


def _find_what_is_gone(study_uid: str, recovery: Recovery) -> None:
    """Mark as lost what has no file, and what has other bytes than were received, whose file is set aside first.

    In that order a kill leaves a row without a file, which the next look takes for lost; never a file that is damaged
    and is indexed as if it had come so.
    """
    for instance in recovery.repository.instances_there(study_uid):
        with recovery.store.exclusive(instance.sop_instance_uid):  # it may just come again
            match _state_of(instance, recovery):
                case _File.DAMAGED:
                    aside = set_aside(recovery.folder.absolute(instance.path))
                    recovery.repository.lose_instances(study_uid, [str(instance.path)], _DAMAGED)
                    log.error("instance_damaged", study_uid=study_uid, path=str(instance.path), set_aside=str(aside))
                case _File.GONE:
                    recovery.repository.lose_instances(study_uid, [str(instance.path)])
                    log.error("instance_gone", study_uid=study_uid, path=str(instance.path))
                case _File.THERE:
                    pass


class _File(Enum):
    THERE = "there"  # or nobody can tell
    DAMAGED = "damaged"
    GONE = "gone"


def _state_of(instance: Instance, recovery: Recovery) -> _File:
    try:
        return _File.THERE if is_intact(instance, recovery.folder) else _File.DAMAGED
    except FileNotFoundError:
        known = recovery.repository.instance(instance.study_uid, instance.series_uid, instance.sop_instance_uid)
        replaced = known is None or known.path != instance.path or known.removed_at is not None
        return _File.THERE if replaced else _File.GONE
    except OSError as error:
        log.error("instance_unreadable", path=str(instance.path), reason=error.strerror)
        return _File.THERE


# --- Asking for it again ----------------------------------------------------------------------------------------------


def _ask_for(study_uid: str, missing: Sequence[Instance], recovery: Recovery) -> tuple[str, bool]:
    """Ask every source in turn for what is missing; what is to be told, and whether anybody could be asked."""
    told: list[str] = []
    asked = False
    left: dict[str, Instance] = {one.sop_instance_uid: one for one in missing}
    for calling, of_source in groupby(sorted(missing, key=_from), key=_from):
        wanted = list(of_source)
        for source in recovery.sources(calling):
            asked = True
            wanted = [one for one in wanted if one.sop_instance_uid in left]
            if not wanted:
                break
            said = _ask_source(source, wanted)
            for uid in _came(study_uid, recovery, left):
                del left[uid]
            told.append(f"{source.name}: {said}" if said else f"{source.name} sent what it has")
    if not asked:
        return "", False
    log.info("asked_again", study_uid=study_uid, missing=len(missing), still_missing=len(left))
    return (f"asked for again, in vain so far ({'; '.join(dict.fromkeys(told))})" if left else ""), True


def _from(instance: Instance) -> str:
    return instance.calling_ae_title


def _came(study_uid: str, recovery: Recovery, left: dict[str, Instance]) -> set[str]:
    """What is not missing any more; what was taken in is indexed by another process, which takes a moment."""
    end = time.monotonic() + _INDEXED_S
    while True:
        still = {one.sop_instance_uid for one in recovery.repository.needs_lost_instances(study_uid)}
        if not still & left.keys() or time.monotonic() > end:
            return left.keys() - still
        time.sleep(_LOOK_S)


def _ask_source(source: Source, wanted: Sequence[Instance]) -> str:
    """Have instances come from a source as if it had sent them; why not all can, or ""."""
    try:
        source.fetch(
            [FoundInstance(one.study_uid, one.series_uid, one.sop_instance_uid, one.sop_class_uid) for one in wanted]
        )
    except (DicomNodeError, OSError) as error:
        return str(error)
    return ""
