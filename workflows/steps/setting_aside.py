"""Setting aside: what cannot be indexed goes into quarantine with a reason, which has no word of its header."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import structlog

from dicom_node.headers.elements import read_file_header, text
from dicom_node.storage.instance import StoredInstance
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.part10 import data_set_offset, part10_prefix
from dicom_node.storage.placing import Source
from dicom_node.storage.sink import AcknowledgedInstance, InstanceSink, StoreRequest
from workflows.quarantine import Quarantine, QuarantinedInstance, copy_of, digest_of
from workflows.state.columns import text_column

__all__ = ["give_back", "keep_entry", "keep_file", "keep_unreadable"]

log = structlog.get_logger()

_LONGEST_REASON = 2000
_BLOCK = 1024 * 1024


def keep_entry(entry: Source, reason: str, quarantine: Quarantine) -> None:
    """Set an instance aside of which the store made no file. Raises OSError; the journal still has it then."""
    instance = entry.instance
    received_at = instance.received_at if isinstance(instance, AcknowledgedInstance) else datetime.now(UTC)
    aside = QuarantinedInstance(
        digest=instance.digest,
        sop_instance_uid=instance.identifiers.sop_instance_uid,
        study_uid=instance.identifiers.study_uid,
        series_uid=instance.identifiers.series_uid,
        sop_class_uid=instance.identifiers.sop_class_uid,
        calling_ae_title=instance.request.calling_ae_title,
        received_at=received_at.isoformat(),
        reason=reason,
        bytes=entry.size,
    )

    def write(file: BinaryIO) -> None:
        file.write(part10_prefix(instance.request))
        for block in _what_can_be_read(entry):
            file.write(block)

    _keep(aside, write, quarantine)


def _what_can_be_read(entry: Source) -> Iterator[bytes]:
    """The data set up to where the disk gives it no more: one bad block must not stand in the way of all else."""
    try:
        yield from entry.blocks()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        log.error("journal_unreadable", sop_instance_uid=entry.instance.identifiers.sop_instance_uid)


def keep_file(
    stored: StoredInstance, reason: str, store: InstanceStore, quarantine: Quarantine, *, has_row: bool
) -> None:
    """Set an instance aside that lies in the store, which loses the file unless a row points to it. Raises OSError."""
    path = store.absolute(stored.path)
    aside = QuarantinedInstance(
        digest=stored.digest,
        sop_instance_uid=stored.sop_instance_uid,
        study_uid=stored.study_uid,
        series_uid=stored.series_uid,
        sop_class_uid=stored.sop_class_uid,
        calling_ae_title=stored.calling_ae_title,
        received_at=_modified(path),
        reason=reason,
        bytes=stored.size,
    )
    _keep(aside, copy_of(path), quarantine)
    if not has_row:
        store.discard(stored.path)


def keep_unreadable(path: Path, reason: str, store: InstanceStore, quarantine: Quarantine) -> None:
    """Set a file of the store aside (relative path) that is no instance any more. Raises OSError."""
    absolute = store.absolute(path)
    study_uid = path.parts[0]
    aside = QuarantinedInstance(
        digest_of(absolute), "", study_uid, "", "", "", _modified(absolute), reason, absolute.stat().st_size
    )
    _keep(aside, copy_of(absolute), quarantine)
    store.discard(path)


def give_back(aside: QuarantinedInstance, quarantine: Quarantine, sink: InstanceSink) -> None:
    """Hand an instance of the quarantine to the journal, as if it had just been received. It may come back.

    Raises UnparseableInstance, IdentifierMismatch, InstanceTooLarge, StorageFull, OSError: it stays then.
    """
    with quarantine.leaving(aside) as path:
        meta, _header = read_file_header(path, ())
        request = StoreRequest(
            sop_class_uid=text(meta, "MediaStorageSOPClassUID"),
            sop_instance_uid=text(meta, "MediaStorageSOPInstanceUID"),
            transfer_syntax_uid=text(meta, "TransferSyntaxUID"),
            calling_ae_title=text(meta, "SendingApplicationEntityTitle"),
            called_ae_title=text(meta, "ReceivingApplicationEntityTitle"),
            peer_address=text(meta, "SourcePresentationAddress").removeprefix("dicom://"),
        )
        writer = sink.open(request)
        try:
            with path.open("rb") as file:
                file.seek(data_set_offset(file))
                while block := file.read(_BLOCK):
                    writer.write(block)
            writer.commit()
        except BaseException:
            writer.abandon()
            raise


def _keep(aside: QuarantinedInstance, write: Callable[[BinaryIO], object], quarantine: Quarantine) -> None:
    aside = replace(aside, reason=text_column(aside.reason, _LONGEST_REASON))
    quarantine.keep(aside, write)
    log.error(
        "instance_set_aside",
        id=aside.identifier,
        study_uid=aside.study_uid,
        sop_instance_uid=aside.sop_instance_uid,
        reason=aside.reason,
        remedy="medseg-node quarantine list",
    )


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
