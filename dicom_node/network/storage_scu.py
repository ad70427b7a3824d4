"""Sends instances to a peer over C-STORE, with an outcome for each; C-ECHO beside it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
        """Whether the peer has the instance; 0x0111 and the warnings 0xB000, 0xB006 and 0xB007 say that it has."""
        return self.delivery is Delivery.DELIVERED


@dataclass(frozen=True)
class _Outgoing:
    path: Path
    sop_instance_uid: str
    key: ContextKey


def send(
    instances: Sequence[Path], peer: Peer, calling_ae_title: str, *, timeouts: Timeouts | None = None
) -> Generator[SendOutcome, None, None]:
    """Send Part 10 files, byte for byte, and yield the outcome of each as it comes, in the order given.

    An instance goes out when its outcome is asked for. The association stays open meanwhile; it is released at the end,
    and also when the generator is closed early. Where the peer takes an uncompressed instance in Implicit VR Little
    Endian only, it is re-encoded so. What an association that broke in between had not delivered is TRY_AGAIN.

    The first `next` raises PeerUnreachable if no association could be made at all (also if the peer rejects it), and
    UnparseableInstance for a file that is not Part 10; then nothing was sent.
    """
    outgoing = [_outgoing(path) for path in instances]
    for number, batch in enumerate(_batches(outgoing)):
        contexts = proposed_contexts(key for instance in batch for key in wanted_contexts(instance.key))
        with ExitStack() as until_released:
            try:
                association = until_released.enter_context(
                    _association(peer, calling_ae_title, contexts, timeouts or Timeouts())
                )
            except PeerUnreachable as error:
                if number == 0:
                    raise
                yield from (_without_answer(instance, str(error)) for instance in batch)
                continue
            yield from _send_batch(association, batch)


def _send_batch(association: Association, batch: Sequence[_Outgoing]) -> Iterator[SendOutcome]:
    """Send over one association. An instance that gets no answer ends it: nothing is sent over it any more."""
    contexts = association.accepted_contexts
    accepted = {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in contexts}
    answers = True
    for number, instance in enumerate(batch, 1):
        if accepted.isdisjoint(wanted_contexts(instance.key)):
            yield _without_context(instance)
        elif not answers or not association.is_established:
            yield _without_answer(instance, _LOST)
        else:
            outcome = _send_one(association, instance, number, as_it_is=instance.key in accepted)
            # pynetdicom says for a moment longer that an association is established which the peer has aborted.
            answers = outcome.status is not None
            yield outcome


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
    """What the file is, from its file meta; raises UnparseableInstance where that is missing or contradicts it."""
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
    for instance in outgoing:
        wanted = set(wanted_contexts(instance.key))
        if len(keys | wanted) > MOST_CONTEXTS:
            yield batch
            batch, keys = [], set()
        batch.append(instance)
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
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), (evt.EVT_CONN_CLOSE, stop_waiting)],
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

    pynetdicom's reactor, which serves requests of the peer, is paused while a request waits (pydicom/pynetdicom#351,
    #435); caught between two of its steps it goes on for a moment, and then drops the response: the request waits for
    the DIMSE timeout. Version 3.0.4 still does, and no later issue says so. As an SCU we serve no requests, so the
    reactor need not look at all. tests/unit/dicom_node/network/test_pynetdicom.py fails once this can go.
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


_LOST = "the association was lost before this instance"


def _send_one(association: Association, instance: _Outgoing, number: int, *, as_it_is: bool) -> SendOutcome:
    """Send one instance as message `number`, from its file or re-encoded, and wait for the peer's answer."""
    whole: Path | Dataset = instance.path if as_it_is else pydicom.dcmread(instance.path)
    try:
        response = association.send_c_store(whole, msg_id=(number - 1) % 65535 + 1)
    except RuntimeError:
        return _without_answer(instance, _LOST)
    status = response.get("Status")
    if status is None:
        return _without_answer(instance, "the peer gave no answer, or the association was lost")
    comment = text(response, "ErrorComment")
    message = "" if status == SUCCESS else f"status 0x{status:04X}" + (f": {comment}" if comment else "")
    return SendOutcome(instance.path, instance.sop_instance_uid, int(status), delivery_of(int(status)), message)


def _without_context(instance: _Outgoing) -> SendOutcome:
    sop_class_uid, transfer_syntax_uid = instance.key
    message = f"no presentation context accepted for SOP class {sop_class_uid} in {transfer_syntax_uid}"
    return SendOutcome(instance.path, instance.sop_instance_uid, None, Delivery.REFUSED, message)


def _without_answer(instance: _Outgoing, message: str) -> SendOutcome:
    return SendOutcome(instance.path, instance.sop_instance_uid, None, Delivery.TRY_AGAIN, message)
