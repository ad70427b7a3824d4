"""Sends instances to a peer over C-STORE, with an outcome for each; C-ECHO beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import PeerRejected, PeerUnreachable, UnparseableInstance
from dicom_node.headers.elements import read_file_header, text
from dicom_node.network.contexts import (
    MOST_CONTEXTS,
    VERIFICATION,
    ContextKey,
    configure_pynetdicom,
    proposed_contexts,
    wanted_contexts,
)
from dicom_node.network.sockets import send_at_once, stop_waiting
from dicom_node.network.status import SUCCESS, Delivery, delivery_of

__all__ = ["Delivery", "Peer", "SendOutcome", "Timeouts", "echo", "send"]


@dataclass(frozen=True)
class Peer:
    """Another application entity and where it listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a peer: to connect, for association messages, for a response, without any traffic."""

    connection_s: float = 10
    acse_s: float = 30
    dimse_s: float = 120
    network_s: float = 120


@dataclass(frozen=True)
class SendOutcome:
    """What became of one instance. `status`: the peer's DIMSE status, or None if it gave none."""

    path: Path
    sop_instance_uid: str
    status: int | None
    delivery: Delivery
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the peer has the instance; warnings 0xB000, 0xB006 and 0xB007 say that it has."""
        return self.delivery is Delivery.DELIVERED


@dataclass(frozen=True)
class _Outgoing:
    path: Path
    sop_instance_uid: str
    key: ContextKey


def send(
    instances: Sequence[Path], peer: Peer, calling_ae_title: str, *, timeouts: Timeouts | None = None
) -> tuple[SendOutcome, ...]:
    """Send Part 10 files, byte for byte, and return an outcome for each in the same order.

    Where the peer takes an uncompressed instance in Implicit VR Little Endian only, it is re-encoded so. What an
    association that broke in between had not delivered is TRY_AGAIN. Raises PeerUnreachable if no association could be
    made at all (also if the peer rejects it), UnparseableInstance for a file that is not Part 10; then nothing was
    sent.
    """
    outgoing = [_outgoing(path) for path in instances]
    outcomes: list[SendOutcome] = []
    for batch in _batches(outgoing):
        contexts = proposed_contexts(key for one in batch for key in wanted_contexts(one.key))
        try:
            with _association(peer, calling_ae_title, contexts, timeouts or Timeouts()) as association:
                outcomes += [_send_one(association, one, number) for number, one in enumerate(batch, 1)]
        except PeerUnreachable as error:
            if not outcomes:
                raise
            outcomes += [_without_answer(one, str(error)) for one in batch]
    return tuple(outcomes)


def echo(peer: Peer, calling_ae_title: str, *, timeouts: Timeouts | None = None) -> None:
    """Verify the peer with C-ECHO. Raises PeerUnreachable, or PeerRejected if it answers with another status."""
    contexts = proposed_contexts([(VERIFICATION, str(ImplicitVRLittleEndian))])
    with _association(peer, calling_ae_title, contexts, timeouts or Timeouts()) as association:
        if not association.is_established:
            raise PeerRejected(f"{peer} accepts associations but no C-ECHO")
        status = association.send_c_echo().get("Status")
    if status is None:
        raise PeerUnreachable(f"{peer} did not answer C-ECHO in time")
    if status != SUCCESS:
        raise PeerRejected(f"{peer} answered C-ECHO with status 0x{status:04X}")


def _outgoing(path: Path) -> _Outgoing:
    meta, header = read_file_header(path, ("SOPClassUID", "SOPInstanceUID"))
    sop_class_uid = text(meta, "MediaStorageSOPClassUID")
    sop_instance_uid = text(meta, "MediaStorageSOPInstanceUID")
    transfer_syntax_uid = text(meta, "TransferSyntaxUID")
    if not (sop_class_uid and sop_instance_uid and transfer_syntax_uid):
        raise UnparseableInstance(f"{path}: lacks file meta (PS3.10 7.1), so it cannot be sent as it is")
    if sop_instance_uid != text(header, "SOPInstanceUID"):
        raise UnparseableInstance(f"{path}: file meta and data set disagree on the SOP Instance UID")
    return _Outgoing(path, sop_instance_uid, (sop_class_uid, transfer_syntax_uid))


def _batches(outgoing: Sequence[_Outgoing]) -> Iterator[list[_Outgoing]]:
    """Runs of instances that one association has presentation contexts for."""
    batch: list[_Outgoing] = []
    keys: set[ContextKey] = set()
    for one in outgoing:
        wanted = set(wanted_contexts(one.key))
        if len(keys | wanted) > MOST_CONTEXTS:
            yield batch
            batch, keys = [], set()
        batch.append(one)
        keys |= wanted
    if batch:
        yield batch


@contextmanager
def _association(
    peer: Peer, calling_ae_title: str, contexts: list[PresentationContext], timeouts: Timeouts
) -> Iterator[Association]:
    """An association, or one that the peer accepted without a single context; anything else is PeerUnreachable."""
    configure_pynetdicom()
    entity = AE(calling_ae_title)
    entity.connection_timeout = timeouts.connection_s
    entity.acse_timeout = timeouts.acse_s
    entity.dimse_timeout = timeouts.dimse_s
    entity.network_timeout = timeouts.network_s
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts,
            ae_title=peer.ae_title,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, send_at_once),
                (evt.EVT_CONN_CLOSE, stop_waiting),
                (evt.EVT_PDU_RECV, stop_waiting),
            ],
        )
    except OSError as error:
        raise PeerUnreachable(f"{peer}: {error}") from error
    try:
        if not association.is_established and not association.rejected_contexts:
            raise PeerUnreachable(f"{peer}: {_why_no_association(association)}")
        _leave_responses(association)
        yield association
    finally:
        if association.is_established:
            association.release()


def _leave_responses(association: Association) -> None:
    """Let nobody but the request that waits for a response take it.

    pynetdicom's reactor, which serves requests of the peer, is paused while a request waits; caught between two of its
    steps it goes on for a moment, and then drops a response. As an SCU we serve none, so it need not look at all.
    """
    take = association.dimse.get_msg

    def take_if_waiting(block: bool = False) -> Any:
        return take(block) if block else (None, None)

    association.dimse.get_msg = take_if_waiting  # type: ignore[method-assign]


def _why_no_association(association: Association) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"association rejected: {answer.reason_str}"
    if answer is None:
        return "no connection, or no answer to the association request"
    return "association aborted"


def _send_one(association: Association, one: _Outgoing, number: int) -> SendOutcome:
    contexts = association.accepted_contexts
    accepted = {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in contexts}
    if not accepted.intersection(wanted_contexts(one.key)):
        sop_class_uid, transfer_syntax_uid = one.key
        message = f"no presentation context accepted for SOP class {sop_class_uid} in {transfer_syntax_uid}"
        return SendOutcome(one.path, one.sop_instance_uid, None, Delivery.REFUSED, message)
    if not association.is_established:
        return _without_answer(one, "the association was lost before this instance")
    whole: Path | Dataset = one.path if one.key in accepted else pydicom.dcmread(one.path)
    try:
        response = association.send_c_store(whole, msg_id=(number - 1) % 65535 + 1)
    except RuntimeError:
        return _without_answer(one, "the association was lost before this instance")
    status = response.get("Status")
    if status is None:
        return _without_answer(one, "the peer gave no answer, or the association was lost")
    comment = text(response, "ErrorComment")
    message = "" if status == SUCCESS else f"status 0x{status:04X}" + (f": {comment}" if comment else "")
    return SendOutcome(one.path, one.sop_instance_uid, int(status), delivery_of(int(status)), message)


def _without_answer(one: _Outgoing, message: str) -> SendOutcome:
    return SendOutcome(one.path, one.sop_instance_uid, None, Delivery.TRY_AGAIN, message)
