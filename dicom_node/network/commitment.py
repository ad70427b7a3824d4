"""Storage commitment (PS3.4 annex J): an archive is asked to take responsibility for instances, and answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context

from dicom_node.errors import IdentifierMismatch, InstanceRefused, PeerRejected, PeerUnreachable, UnparseableInstance
from dicom_node.headers.elements import BROKEN, integer, items, read_data_set_header, text
from dicom_node.identifiers import checked_uid
from dicom_node.network.association import Peer, Timeouts, association_with
from dicom_node.network.contexts import STORAGE_COMMITMENT
from dicom_node.network.peer_text import peer_ae_title
from dicom_node.network.status import SUCCESS

__all__ = ["CommitmentAnswer", "failure_told", "is_missing", "read_event_report", "read_report", "request_commitment"]

_log = structlog.get_logger()

_WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"  # PS3.4 J.3.5
_REQUEST_ACTION = 1  # PS3.4 J.3.2
_REPORT_KEYWORDS = ("TransactionUID", "ReferencedSOPSequence", "FailedSOPSequence")
_ALL_COMMITTED, _FAILURES_EXIST = 1, 2  # PS3.4 J.3.3
_PROCESSING_FAILURE, _NO_SUCH_EVENT, _INVALID_ARGUMENT = 0x0110, 0x0113, 0x0115  # PS3.7 10.1.1.1.8

_FAILURES = {  # PS3.3 C.14.1.1
    0x0110: "the archive failed while it looked for the instance; it may have it later",
    0x0112: "the archive does not have the instance",
    0x0119: "the archive has the instance under another SOP class",
    0x0122: "the archive does not commit itself to instances of this SOP class",
    0x0131: "the archive has used this transaction before",
    0x0213: "the archive has no room or time for it now; it may have it later",
}
_MISSING = 0x0112
_LARGEST_US = 0xFFFF


@dataclass(frozen=True)
class CommitmentAnswer:
    """What an archive commits itself to, and what not, by SOP Instance UID; `failed`: with the failure reason.

    An instance that is named both ways stands in `failed` alone; one of which the answer is silent stands in neither.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def failure_told(reason: int) -> str:
    """A Failure Reason (0008,1197) in plain words."""
    return _FAILURES.get(reason, f"the archive gives a reason of its own, 0x{reason:04X}: look into its log")


def is_missing(reason: int) -> bool:
    """Whether the archive does not have the instance, so that it is to be sent again; other reasons may pass."""
    return reason == _MISSING


def read_report(encoded: bytes, transfer_syntax_uid: str) -> Dataset | None:
    """The Event Information of an N-EVENT-REPORT (PS3.4 J.3.3.1.2), or None where the bytes are no data set."""
    try:
        return read_data_set_header(BytesIO(encoded), transfer_syntax_uid, _REPORT_KEYWORDS)
    except (UnparseableInstance, *BROKEN):
        return None


def read_event_report(
    event_type_id: int | None, report: Dataset | None, peer: str
) -> tuple[int, CommitmentAnswer | None]:
    """The status for an N-EVENT-REPORT of a peer (its AE title), and the answer that it brings.

    `report` is its Event Information, None where that cannot be read. The answer is None where the report is malformed,
    which is logged.
    """
    if event_type_id not in (_ALL_COMMITTED, _FAILURES_EXIST):
        return _malformed(peer, _NO_SUCH_EVENT, "an event of another type")
    if report is None:
        return _malformed(peer, _INVALID_ARGUMENT, "its data set cannot be read")
    try:
        transaction_uid = checked_uid(text(report, "TransactionUID"), "TransactionUID")
        committed, failed = _committed(report), _failed(report)
    except (InstanceRefused, *BROKEN) as error:
        return _malformed(peer, _INVALID_ARGUMENT, f"no transaction can be read ({type(error).__name__})")
    if not committed and not failed:
        return _malformed(peer, _INVALID_ARGUMENT, "it names no instance")
    return SUCCESS, CommitmentAnswer(transaction_uid, committed - failed.keys(), failed)


def _malformed(peer: str, status: int, reason: str) -> tuple[int, None]:
    _log.warning(
        "commitment_answer_malformed", reason=reason, status=f"0x{status:04X}", peer_ae_title=peer_ae_title(peer)
    )
    return status, None


def _committed(report: Dataset) -> frozenset[str]:
    return frozenset(uid for item in items(report, "ReferencedSOPSequence") if (uid := _uid_of(item)))


def _failed(report: Dataset) -> dict[str, int]:
    failed = {}
    for item in items(report, "FailedSOPSequence"):
        if uid := _uid_of(item):
            reason = integer(item, "FailureReason")
            failed[uid] = reason if reason is not None and 0 < reason <= _LARGEST_US else _PROCESSING_FAILURE
    return failed


def _uid_of(item: Dataset) -> str:
    try:
        return checked_uid(text(item, "ReferencedSOPInstanceUID"), "ReferencedSOPInstanceUID")
    except IdentifierMismatch:
        return ""


def request_commitment(
    peer: Peer,
    calling_ae_title: str,
    transaction_uid: str,
    instances: Sequence[tuple[str, str]],
    *,
    wait_s: float = 2.0,
    timeouts: Timeouts | None = None,
) -> CommitmentAnswer | None:
    """Ask an archive to commit itself to `instances`, (SOP Class UID, SOP Instance UID) each.

    The answer may come over the same association, which stays open for it for up to `wait_s`. None: the archive has
    taken the request, and its answer comes later, over an association to the storage SCP.

    Raises PeerUnreachable, or PeerRejected if the archive does not offer the service or refuses the request.
    """
    answers = _Answers(transaction_uid)
    contexts = [build_context(STORAGE_COMMITMENT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    with association_with(
        peer, calling_ae_title, contexts, timeouts or Timeouts(), handlers=answers.handlers
    ) as association:
        if not association.accepted_contexts:
            raise PeerRejected(f"{peer} offers no storage commitment: turn it off for this archive, or on there")
        held = _hold_reports(association)
        status = _send_request(association, transaction_uid, instances)
        if status is None:
            raise PeerUnreachable(f"{peer} gave no answer to the request for storage commitment, or the line was lost")
        if status != SUCCESS:
            raise PeerRejected(f"{peer} refused the request for storage commitment with status 0x{status:04X}")
        _serve_reports(association, held)
        answers.wait(wait_s)
    return answers.answer


def _send_request(association: Association, transaction_uid: str, instances: Sequence[tuple[str, str]]) -> int | None:
    """The status of the N-ACTION response, or None where there was none."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
    try:
        response, _ = association.send_n_action(request, _REQUEST_ACTION, STORAGE_COMMITMENT, _WELL_KNOWN_INSTANCE)
    except RuntimeError:  # the association has ended meanwhile
        return None
    status = response.get("Status")
    return None if status is None else int(status)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _hold_reports(association: Association) -> list[tuple[Any, Any]]:
    """Put reports aside that overtake the response to the request: pynetdicom would take one for the response."""
    take, held = association.dimse.get_msg, list[tuple[Any, Any]]()

    def take_response(block: bool = False) -> Any:
        while isinstance((taken := take(block))[1], N_EVENT_REPORT):
            held.append(taken)
        return taken

    association.dimse.get_msg = take_response  # type: ignore[method-assign]
    return held


def _serve_reports(association: Association, held: Sequence[tuple[Any, Any]]) -> None:
    """From here on no request of ours waits (association.leave_responses): the reactor may serve the archive's."""
    for message in held:
        association.dimse.msg_queue.put(message)
    del association.dimse.get_msg


def _information(event: evt.Event) -> Dataset | None:
    try:
        return event.event_information
    except BROKEN:
        return None


@dataclass
class _Answers:
    """Waits for the report over the association of the request."""

    transaction_uid: str
    answer: CommitmentAnswer | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def handlers(self) -> list[evt.EventHandlerType]:
        return [
            (evt.EVT_N_EVENT_REPORT, self._take),
            (evt.EVT_PDU_SENT, self._end_when_answered),
            (evt.EVT_CONN_CLOSE, self._end),
        ]

    def wait(self, wait_s: float) -> None:
        """Until the report is there and answered, the association ends, or `wait_s` are over."""
        self._over.wait(wait_s)

    def _take(self, event: evt.Event) -> tuple[int, None]:
        request, peer = cast(Any, event.request), event.assoc.remote["ae_title"]
        status, answer = read_event_report(request.EventTypeID, _information(event), peer)
        if answer is None:
            return status, None
        if answer.transaction_uid != self.transaction_uid:
            return _malformed(peer, _INVALID_ARGUMENT, "a transaction that was not asked for here")
        if self.answer is None:
            self.answer = answer
        return SUCCESS, None

    def _end_when_answered(self, event: evt.Event) -> None:
        # The association must not be released before the archive has our response.
        if self.answer is not None and isinstance(event.pdu, P_DATA_TF):
            self._over.set()

    def _end(self, event: evt.Event) -> None:
        self._over.set()
