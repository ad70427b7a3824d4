"""Receive: an instance is written, synced and renamed, its row committed; only then is it acknowledged."""

from __future__ import annotations

from pathlib import Path

import structlog

from dicom_node.errors import InstanceRefused
from dicom_node.results.codes import MANUFACTURER
from dicom_node.storage.instance import ReceivedInstance, StoredInstance
from dicom_node.storage.instance_store import InstanceStore
from workflows.state.records import NewInstance
from workflows.state.repository import Repository

__all__ = ["receive_instance", "reconcile"]

log = structlog.get_logger()


def receive_instance(received: ReceivedInstance, store: InstanceStore, repository: Repository) -> None:
    """Keep one instance. Raises what `InstanceStore.write` raises; returning means that it is safe.

    Our own results are acknowledged and not kept: taken as input they would be read again for ever.
    """
    with store.exclusive(received.sop_instance_uid):
        stored = store.write(received)
        if _discarded_own_result(stored, store):
            return
        _index(stored, store, repository)
    log.info(
        "instance_received",
        study_uid=stored.study_uid,
        sop_instance_uid=stored.sop_instance_uid,
        outcome=stored.outcome.value,
        calling_ae_title=stored.calling_ae_title,
    )


def reconcile(store: InstanceStore, repository: Repository) -> tuple[int, int]:
    """Make files and rows agree after a crash; return how many files were indexed and how many were found lost.

    A file without a row was written by a receiver that died before it acknowledged; keeping it is always safe. One that
    cannot be read is left where it is and named in the log. A row without a file says that its instance was lost; when
    the file is back, put there by a restore or sent again, the instance is.
    """
    indexed = {Path(row.path): row.sop_instance_uid for row in repository.held_instances()}
    # Rows are read before files: an instance that arrives in between then looks new, never gone.
    on_disk = set(store.sweep())
    gone = sorted(str(path) for path in set(indexed) - on_disk)
    if gone:
        repository.lose_instances(gone)
        log.error("instance_files_missing", count=len(gone))
    current = {sop_instance_uid for path, sop_instance_uid in indexed.items() if path in on_disk}
    found = 0
    for path in sorted(on_disk - set(indexed)):
        try:
            stored = store.read(path)
        except InstanceRefused as error:
            log.error("stored_file_unreadable", path=str(path), reason=str(error))
            continue
        with store.exclusive(stored.sop_instance_uid):
            if _discarded_own_result(stored, store):
                continue
            if stored.sop_instance_uid in current:
                # Another version has the row. This one was replaced, or was never acknowledged and comes again.
                store.discard(path)
                continue
            _index(stored, store, repository)
            found += 1
    return found, len(gone)


def _discarded_own_result(stored: StoredInstance, store: InstanceStore) -> bool:
    if stored.header.device.manufacturer != MANUFACTURER:
        return False
    store.discard(stored.path)
    log.info("own_result_ignored", study_uid=stored.study_uid, sop_instance_uid=stored.sop_instance_uid)
    return True


def _index(stored: StoredInstance, store: InstanceStore, repository: Repository) -> None:
    replaced = repository.record_instance(
        NewInstance(
            study_uid=stored.study_uid,
            series_uid=stored.series_uid,
            sop_instance_uid=stored.sop_instance_uid,
            sop_class_uid=stored.sop_class_uid,
            transfer_syntax_uid=stored.transfer_syntax_uid,
            path=str(stored.path),
            bytes=stored.size,
            digest=stored.digest,
            calling_ae_title=stored.calling_ae_title,
            modality=stored.header.modality,
            series_description=stored.header.series_description,
            accession_number=stored.header.accession_number,
        )
    )
    if replaced is not None:
        store.discard(Path(replaced))
