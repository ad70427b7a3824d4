"""Part 10 files on their way to an archive, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.elements import read_file_header, text
from dicom_node.network.contexts import ContextKey
from dicom_node.network.status import Delivery

__all__ = ["Outgoing", "SendOutcome", "outgoing_instance", "without_answer"]


@dataclass(frozen=True)
class SendOutcome:
    """What became of one instance. `status`: the peer's DIMSE status, or None if it gave none.

    `message`: fit for a log. `comment`: the peer's own words, cleaned; perhaps with a name, so not for a log.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    delivery: Delivery
    message: str = ""
    comment: str = ""

    @property
    def told(self) -> str:
        """The message with the peer's comment, for `explain`."""
        return ": ".join(filter(None, (self.message, self.comment)))

    @property
    def ok(self) -> bool:
        """Whether the peer has the instance; 0x0111 and every warning say that it has."""
        return self.delivery is Delivery.DELIVERED


@dataclass(frozen=True)
class Outgoing:
    """A Part 10 file that is to be sent. `key`: its SOP class and transfer syntax."""

    path: Path
    sop_instance_uid: str
    key: ContextKey


def outgoing_instance(path: Path) -> Outgoing:
    """What the file is, from its file meta; raises UnparseableInstance where that is missing or contradicts it."""
    meta, header = read_file_header(path, ("SOPClassUID", "SOPInstanceUID"))
    sop_class_uid = text(meta, "MediaStorageSOPClassUID")
    sop_instance_uid = text(meta, "MediaStorageSOPInstanceUID")
    transfer_syntax_uid = text(meta, "TransferSyntaxUID")
    if not (sop_class_uid and sop_instance_uid and transfer_syntax_uid):
        raise UnparseableInstance(f"{path}: lacks file meta (PS3.10 7.1), so it cannot be sent as it is")
    if sop_instance_uid != text(header, "SOPInstanceUID"):
        raise UnparseableInstance(f"{path}: file meta and data set disagree on the SOP Instance UID")
    return Outgoing(path, sop_instance_uid, (sop_class_uid, transfer_syntax_uid))


def without_answer(instance: Outgoing, message: str) -> SendOutcome:
    """The outcome of an instance of which nobody said what became of it."""
    return SendOutcome(instance.path, instance.sop_instance_uid, None, Delivery.TRY_AGAIN, message)
