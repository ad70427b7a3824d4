"""Retract: take results that were wrong or are replaced back from an archive, in the way that it understands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import assert_never

import structlog

from dicom_node.errors import PeerError, PeerUnreachable, ResultRefused
from dicom_node.headers.rejection import RejectionCode
from dicom_node.results.key_objects import write_rejection_note
from workflows.data_folder import DataFolder
from workflows.errors import DatabaseUnavailable, defect
from workflows.settings import Supersede
from workflows.state.records import ClaimedRetraction, SavedNote
from workflows.state.repository import Repository
from workflows.state.states import RetractionState
from workflows.state.waker import Waker
from workflows.steps.route import Route, Sender, no_route

__all__ = ["retract_results"]

log = structlog.get_logger()

_UNTIL_CONFIRMED_S = 10.0
_SEVERAL = 5
"""Attempts after which a person is told that something is not taken back."""


def retract_results(
    study_uid: str, archive: str, repository: Repository, folder: DataFolder, sender: Sender, waker: Waker
) -> bool:
    """Carry out what is to be taken back of a study from one archive; what cannot be now is tried again.

    False: the archive could not be reached.
    """
    archive = sender.named_for_study(study_uid, archive, repository)
    claimed = repository.claim_retractions(study_uid, archive, sender.lease_s)
    if not claimed:
        return True
    uids = [one.result.sop_instance_uid for one in claimed]
    bound = log.bind(study_uid=study_uid, archive=archive, objects=len(claimed))
    route = sender.route(archive)
    if route is None:
        repository.postpone_retractions(
            study_uid, archive, uids, no_route(archive), sender.spread_s(sender.longest_wait_s)
        )
        return True
    attempts = 1 + max(one.attempts for one in claimed)
    wait_s = sender.wait_s(attempts)
    try:
        _retract(claimed, study_uid, archive, route, repository, folder, waker)
    except (PeerError, ResultRefused, OSError) as error:
        bound.warning("not_retracted", reason=str(error), next_attempt_s=wait_s)
        attention = attempts >= _SEVERAL
        repository.postpone_retractions(study_uid, archive, uids, str(error), wait_s, attention=attention)
        return not isinstance(error, PeerUnreachable)
    except DatabaseUnavailable:  # they are due again by themselves
        raise
    except Exception as error:
        bound.exception("retract_failed")
        pause_s = sender.spread_s(sender.longest_wait_s)
        repository.postpone_retractions(study_uid, archive, uids, defect(error), pause_s, attention=True)
    return True


def _retract(
    claimed: Sequence[ClaimedRetraction],
    study_uid: str,
    archive: str,
    route: Route,
    repository: Repository,
    folder: DataFolder,
    waker: Waker,
) -> None:
    match route.supersede:
        case Supersede.NONE:
            uids = [one.result.sop_instance_uid for one in claimed]
            told = 'it stays in this archive (supersede = "none")'
            repository.record_retractions(study_uid, archive, uids, RetractionState.KEPT, told)
            log.info("old_results_stay", study_uid=study_uid, archive=archive, objects=len(uids))
        case Supersede.DELETE:
            _delete(claimed, study_uid, archive, route, repository)
        case Supersede.KOS:
            for _, same in groupby(sorted(claimed, key=_why), key=_why):
                _note(list(same), study_uid, archive, repository, folder, waker)
        case _:
            assert_never(route.supersede)


def _why(claimed: ClaimedRetraction) -> tuple[str, str]:
    return claimed.retraction.code.value, claimed.retraction.reason


def _delete(
    claimed: Sequence[ClaimedRetraction], study_uid: str, archive: str, route: Route, repository: Repository
) -> None:
    if repository.awaits_confirmation(study_uid, archive):  # never without any: what is replaced goes after that
        replaced = [one for one in claimed if one.retraction.code is RejectionCode.QUALITY]
        uids = [one.result.sop_instance_uid for one in replaced]
        told = "waits until the archive is known to keep the new results"
        repository.postpone_retractions(study_uid, archive, uids, told, _UNTIL_CONFIRMED_S)
        claimed = [one for one in claimed if one not in replaced]
    wanted = repository.still_wanted(study_uid, archive)  # a plan may have made some of it current since
    claimed = [one for one in claimed if one.result.sop_instance_uid in wanted]
    gone = route.delete([one.result for one in claimed]) if claimed else {}
    deleted = [uid for uid, done in gone.items() if done]
    repository.record_retractions(study_uid, archive, deleted, RetractionState.DONE, "deleted")
    log.info("results_deleted", study_uid=study_uid, archive=archive, objects=len(deleted))
    left = [one.result.sop_instance_uid for one in claimed if not gone.get(one.result.sop_instance_uid)]
    if left:
        repository.postpone_retractions(study_uid, archive, left, f"{route.title} has not deleted it", 300)


def _note(
    same: Sequence[ClaimedRetraction],
    study_uid: str,
    archive: str,
    repository: Repository,
    folder: DataFolder,
    waker: Waker,
) -> None:
    """One rejection note for what is taken back for the same reason; it goes out like any other object."""
    first = same[0].retraction
    created = max(one.retraction.wanted_at for one in same)
    uids = tuple(sorted(one.result.sop_instance_uid for one in same))
    known = "\n".join((archive, first.code.value, first.reason, created.isoformat(), *uids))
    key = hashlib.sha256(known.encode()).hexdigest()
    path = folder.results / study_uid / f"rejection-{key[:16]}.dcm"
    files = [folder.absolute(one.result.path) for one in same]
    saved = [(one.result.sop_instance_uid, one.result.digest) for one in same]
    sop_instance_uid, sop_class_uid = write_rejection_note(
        path, key, files, first.code, first.reason, created, expected=saved
    )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note = SavedNote(
        sop_instance_uid, sop_class_uid, archive, first.code, first.reason, folder.relative(path), digest, uids
    )
    job_key = repository.save_note(note)
    log.info("rejection_note_made", study_uid=study_uid, archive=archive, code=first.code.value, objects=len(uids))
    if job_key is not None:
        waker.publish(job_key, archive)
