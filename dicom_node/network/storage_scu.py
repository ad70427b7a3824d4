"""Sends instances to a peer over C-STORE, with an outcome for each; C-ECHO beside it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.headers.elements import text
from dicom_node.network.association import Peer, Timeouts, association_with
from dicom_node.network.contexts import MOST_CONTEXTS, VERIFICATION, ContextKey, proposed_contexts, wanted_contexts
from dicom_node.network.outgoing import Outgoing, SendOutcome, outgoing_instance, without_answer
from dicom_node.network.peer_text import LONGEST_COMMENT, peer_text
from dicom_node.network.status import SUCCESS, Delivery, delivery_of

__all__ = ["Delivery", "Peer", "SendOutcome", "Timeouts", "echo", "send"]


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
    outgoing = [outgoing_instance(path) for path in instances]
    for number, batch in enumerate(_batches(outgoing)):
        contexts = proposed_contexts(key for instance in batch for key in wanted_contexts(instance.key))
        with ExitStack() as until_released:
            try:
                association = until_released.enter_context(
                    association_with(peer, calling_ae_title, contexts, timeouts or Timeouts())
                )
            except PeerUnreachable as error:
                if number == 0:
                    raise
                yield from (without_answer(instance, str(error)) for instance in batch)
                continue
            yield from _send_batch(association, batch)


def _send_batch(association: Association, batch: Sequence[Outgoing]) -> Iterator[SendOutcome]:
    """Send over one association. An instance that gets no answer ends it: nothing is sent over it any more."""
    contexts = association.accepted_contexts
    accepted = {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in contexts}
    answers = True
    for number, instance in enumerate(batch, 1):
        if accepted.isdisjoint(wanted_contexts(instance.key)):
            yield _without_context(instance)
        elif not answers or not association.is_established:
            yield without_answer(instance, _LOST)
        else:
            outcome = _send_one(association, instance, number, as_it_is=instance.key in accepted)
            # pynetdicom says for a moment longer that an association is established which the peer has aborted.
            answers = outcome.status is not None
            yield outcome


def echo(peer: Peer, calling_ae_title: str, *, timeouts: Timeouts | None = None) -> None:
    """Verify the peer with C-ECHO. Raises PeerUnreachable, or PeerRejected if it answers with another status."""
    contexts = proposed_contexts([(VERIFICATION, str(ImplicitVRLittleEndian))])
    with association_with(peer, calling_ae_title, contexts, timeouts or Timeouts()) as association:
        if not association.is_established:
            raise PeerRejected(f"{peer} accepts associations but no C-ECHO")
        status = association.send_c_echo().get("Status")
    if status is None:
        raise PeerUnreachable(f"{peer} did not answer C-ECHO in time")
    if status != SUCCESS:
        raise PeerRejected(f"{peer} answered C-ECHO with status 0x{status:04X}")


def _batches(outgoing: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Runs of instances that one association has presentation contexts for."""
    batch: list[Outgoing] = []
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


_LOST = "the association was lost before this instance"


def _send_one(association: Association, instance: Outgoing, number: int, *, as_it_is: bool) -> SendOutcome:
    """Send one instance as message `number`, from its file or re-encoded, and wait for the peer's answer."""
    whole: Path | Dataset = instance.path if as_it_is else pydicom.dcmread(instance.path)
    try:
        response = association.send_c_store(whole, msg_id=(number - 1) % 65535 + 1)
    except RuntimeError:
        return without_answer(instance, _LOST)
    status = response.get("Status")
    if status is None:
        return without_answer(instance, "the peer gave no answer, or the association was lost")
    uid, delivery = instance.sop_instance_uid, delivery_of(int(status))
    if status == SUCCESS:
        return SendOutcome(instance.path, uid, SUCCESS, delivery)
    comment = peer_text(text(response, "ErrorComment"), LONGEST_COMMENT)
    return SendOutcome(instance.path, uid, int(status), delivery, f"status 0x{status:04X}", comment)


def _without_context(instance: Outgoing) -> SendOutcome:
    sop_class_uid, transfer_syntax_uid = instance.key
    message = f"no presentation context accepted for SOP class {sop_class_uid} in {transfer_syntax_uid}"
    return SendOutcome(instance.path, instance.sop_instance_uid, None, Delivery.REFUSED, message)
