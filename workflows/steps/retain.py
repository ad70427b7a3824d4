"""Retain: images whose time is over are removed. Their headers, rows and results stay."""

from __future__ import annotations

from contextlib import suppress

import structlog

from dicom_node.storage.instance_store import InstanceStore
from workflows.data_folder import DataFolder
from workflows.state.keeping import KeepingRules
from workflows.state.records import Instance
from workflows.state.repository import Repository
from workflows.steps.inputs import images_of, unreadable
from workflows.steps.kept_headers import keep_headers

__all__ = ["retain"]

log = structlog.get_logger()


def retain(repository: Repository, store: InstanceStore, folder: DataFolder, rules: KeepingRules) -> int:
    """Remove the images that are due; returns of how many studies. May run twice, and go on where it was killed.

    A header of each series is kept first, then the row says that its images are removed, then the files go: a kill
    leaves a file too many, never one too few. A study whose headers cannot be kept keeps its images.
    """
    relieved = 0
    for study_uid in repository.studies_to_relieve(rules):
        due = repository.inputs_to_remove(study_uid, rules)
        if due and not _headers_kept(study_uid, repository, folder):
            continue
        removed = repository.remove_inputs(study_uid, rules)
        if not removed:
            continue
        for instance in removed:
            _remove_file(instance, repository, store, folder)
        repository.finish_removal(study_uid)
        relieved += 1
        log.info("inputs_removed", study_uid=study_uid, instances=len(removed), bytes=sum(one.bytes for one in removed))
    return relieved


def _headers_kept(study_uid: str, repository: Repository, folder: DataFolder) -> bool:
    try:
        keep_headers(images_of(repository.known_instances(study_uid)), folder)
    except OSError as error:
        log.error("headers_not_kept", study_uid=study_uid, reason=unreadable(error))
        repository.suspect(study_uid)  # a file that is gone is found to be so, and does not stand in the way again
        return False
    return True


def _remove_file(instance: Instance, repository: Repository, store: InstanceStore, folder: DataFolder) -> None:
    with store.exclusive(instance.sop_instance_uid):
        if repository.is_removed(instance):  # it may have come again since
            with suppress(FileNotFoundError):
                store.discard(folder.absolute(instance.path).relative_to(store.root))
