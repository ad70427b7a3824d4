"""Storage commitment with scripted archives: at once, before the response, later, twice, never, and malformed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_role

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.network.association import Peer, Timeouts
from dicom_node.network.commitment import (
    CommitmentAnswer,
    failure_told,
    is_missing,
    read_event_report,
    request_commitment,
)
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.storage.whole import WholeInstances
from tests.services import await_true

PUSH, WELL_KNOWN, SEG = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", "1.2.840.10008.5.1.4.1.1.66.4"
ONE, TWO = generate_uid(), generate_uid()
SOON = Timeouts(connection_s=2, acse_s=2, dimse_s=1, network_s=5)

Action = Callable[[evt.Event], Any]


@contextmanager
def archive(action: Action, *handlers: evt.EventHandlerType) -> Iterator[Peer]:
    """An archive that answers each N-ACTION as `action` says."""
    entity = AE("ARCHIVE")
    entity.add_supported_context(PUSH)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, action), *handlers])
    assert server is not None
    try:
        yield Peer("ARCHIVE", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def once_answered(told: threading.Event) -> evt.EventHandlerType:
    """Sets `told` when the archive's response has left it."""

    def look(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            told.set()

    return (evt.EVT_PDU_SENT, look)


def report(transaction_uid: str, committed: tuple[str, ...] = (), failed: tuple[tuple[str, int], ...] = ()) -> Dataset:
    def item(uid: str, reason: int | None = None) -> Dataset:
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = SEG, uid
        if reason is not None:
            one.FailureReason = reason
        return one

    answer = Dataset()
    answer.TransactionUID = transaction_uid
    if committed:
        answer.ReferencedSOPSequence = [item(uid) for uid in committed]
    if failed:
        answer.FailedSOPSequence = [item(uid, reason) for uid, reason in failed]
    return answer


def reply_later(association: Any, answers: list[Dataset], statuses: list[int | None], told: threading.Event) -> None:
    """Reports over the association of the request, once its response has gone."""

    def send() -> None:
        told.wait(10)
        for number, answer in enumerate(answers, 1):
            event_type = 2 if "FailedSOPSequence" in answer else 1
            status, _ = association.send_n_event_report(answer, event_type, PUSH, WELL_KNOWN, msg_id=number)
            statuses.append(status.get("Status"))

    threading.Thread(target=send, daemon=True).start()


def test_an_answer_over_the_same_association_is_taken_and_answered() -> None:
    statuses: list[int | None] = []
    asked: list[Dataset] = []
    told = threading.Event()

    def action(event: evt.Event) -> tuple[int, None]:
        asked.append(event.action_information)
        answer = report(str(asked[0].TransactionUID), (ONE,), ((TWO, 0x0112),))
        reply_later(event.assoc, [answer], statuses, told)
        return 0x0000, None

    with archive(action, once_answered(told)) as peer:
        answer = request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE), (SEG, TWO)], wait_s=10)
        await_true(lambda: statuses, "our response to the report")
    assert answer == CommitmentAnswer("2.25.7", frozenset({ONE}), {TWO: 0x0112})
    assert statuses == [0x0000]
    assert [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in
            asked[0].ReferencedSOPSequence] == [(SEG, ONE), (SEG, TWO)]  # fmt: skip


@pytest.mark.parametrize("reason", ["1E300", "-1", "0", "70000", "Box^Anna", ""])
def test_a_failure_reason_that_is_none_is_a_processing_failure(reason: str) -> None:
    answer = report("2.25.7", (), ((ONE, 0x0112),))
    answer.FailedSOPSequence[0][0x00081197] = DataElement(0x00081197, "LO", reason)
    status, told = read_event_report(2, answer, "ARCHIVE")
    assert status == 0x0000 and told is not None and told.failed == {ONE: 0x0110}


def test_an_answer_that_overtakes_the_response_is_taken() -> None:
    responses: list[str] = []

    def action(event: evt.Event) -> tuple[int, None]:
        request = N_EVENT_REPORT()
        request.MessageID, request.EventTypeID = 9, 1
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = PUSH, WELL_KNOWN  # type: ignore[assignment]
        answer = report("2.25.7", (ONE,))
        context = event.assoc.accepted_contexts[0]
        encoded = encode(answer, context.transfer_syntax[0].is_implicit_VR, is_little_endian=True)
        assert encoded is not None
        request.EventInformation = BytesIO(encoded)
        event.assoc.dimse.send_msg(request, context.context_id)
        return 0x0000, None

    def heard(event: evt.Event) -> None:
        responses.append(type(event.message).__name__)

    with archive(action, (evt.EVT_DIMSE_RECV, heard)) as peer:
        answer = request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)], wait_s=10, timeouts=SOON)
        await_true(lambda: "N_EVENT_REPORT_RSP" in responses, "our response to the report")
    assert answer == CommitmentAnswer("2.25.7", frozenset({ONE}), {})


def test_no_answer_over_this_association_means_later() -> None:
    with archive(lambda event: (0x0000, None)) as peer:
        started = time.monotonic()
        assert request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)], wait_s=0.2) is None
        assert request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)], wait_s=0) is None
    assert time.monotonic() - started < 5


def test_an_archive_that_ends_the_association_is_not_waited_for() -> None:
    def action(event: evt.Event) -> tuple[int, None]:
        def end() -> None:
            told.wait(10)
            event.assoc.abort()

        threading.Thread(target=end, daemon=True).start()
        return 0x0000, None

    told = threading.Event()
    with archive(action, once_answered(told)) as peer:
        started = time.monotonic()
        assert request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)], wait_s=60) is None
    assert time.monotonic() - started < 20


def test_the_answer_to_another_transaction_is_refused_and_ours_still_taken() -> None:
    statuses: list[int | None] = []
    told = threading.Event()

    def action(event: evt.Event) -> tuple[int, None]:
        reply_later(event.assoc, [report("2.25.8", (ONE,)), report("2.25.7", (ONE,))], statuses, told)
        return 0x0000, None

    with archive(action, once_answered(told)) as peer:
        answer = request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)], wait_s=10)
        await_true(lambda: len(statuses) == 2, "both responses")
    assert answer == CommitmentAnswer("2.25.7", frozenset({ONE}), {})
    assert statuses == [0x0115, 0x0000]


@pytest.mark.parametrize("status", [0x0110, 0x0122, 0xC123])
def test_a_refused_request_is_rejected(status: int) -> None:
    with archive(lambda event: (status, None)) as peer, pytest.raises(PeerRejected, match=f"0x{status:04X}"):
        request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)])


def test_an_archive_without_the_service_is_rejected() -> None:
    entity = AE("ARCHIVE")
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        with pytest.raises(PeerRejected, match="offers no storage commitment"):
            request_commitment(Peer("ARCHIVE", "127.0.0.1", server.server_address[1]), "MEDSEG", "2.25.7", [(SEG, ONE)])
    finally:
        server.shutdown()


def test_nobody_there_and_no_response_are_unreachable(wait_for_end: Callable[[], None]) -> None:
    with pytest.raises(PeerUnreachable):
        request_commitment(Peer("ARCHIVE", "127.0.0.1", 1), "MEDSEG", "2.25.7", [(SEG, ONE)])

    def abort(event: evt.Event) -> tuple[int, None]:
        event.assoc.abort()
        return 0x0000, None

    with archive(abort) as peer, pytest.raises(PeerUnreachable, match="gave no answer"):
        request_commitment(peer, "MEDSEG", "2.25.7", [(SEG, ONE)], timeouts=SOON)


# --- reports over an association of the archive's own ---


class Reporter:
    """An archive that reports to a node."""

    def __init__(self, port: int, *, role: bool = True) -> None:
        entity = AE("ARCHIVE")
        entity.add_requested_context(PUSH)
        roles = [build_role(PUSH, scu_role=False, scp_role=True)] if role else []
        self.association = entity.associate("127.0.0.1", port, ext_neg=roles)  # type: ignore[arg-type]

    def send(self, answer: Dataset | None, event_type: int = 1) -> int | None:
        status, _ = self.association.send_n_event_report(answer, event_type, PUSH, WELL_KNOWN)
        return status.get("Status")


@pytest.fixture
def answers() -> list[CommitmentAnswer]:
    return []


@pytest.fixture
def node(answers: list[CommitmentAnswer]) -> Iterator[StorageSCP]:
    def take(answer: CommitmentAnswer) -> None:
        if answer.transaction_uid == "2.25.666":
            raise KeyError("nobody asked for it")
        answers.append(answer)

    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None), committed=take) as scp:
        yield scp


def test_reports_reach_the_callback_late_and_twice(node: StorageSCP, answers: list[CommitmentAnswer]) -> None:
    archive = Reporter(node.port)
    context = archive.association.accepted_contexts[0]
    assert (context.as_scu, context.as_scp) == (False, True)
    answer = report("2.25.7", (ONE,), ((TWO, 0x0213),))
    assert [archive.send(answer, 2), archive.send(answer, 2)] == [0x0000, 0x0000]
    archive.association.release()
    assert answers == [CommitmentAnswer("2.25.7", frozenset({ONE}), {TWO: 0x0213})] * 2


def test_an_archive_that_proposes_no_role_is_heard_as_well(node: StorageSCP, answers: list[CommitmentAnswer]) -> None:
    entity = AE("ARCHIVE")
    entity.add_requested_context(PUSH)
    association = entity.associate("127.0.0.1", node.port)
    context = association.accepted_contexts[0]
    context._as_scp = True  # pynetdicom as an archive keeps to the role; others do not
    status, _ = association.send_n_event_report(report("2.25.7", (ONE,)), 1, PUSH, WELL_KNOWN)
    association.release()
    assert status.Status == 0x0000 and len(answers) == 1


def test_a_callback_that_raises_is_a_processing_failure(node: StorageSCP, answers: list[CommitmentAnswer]) -> None:
    archive = Reporter(node.port)
    assert archive.send(report("2.25.666", (ONE,))) == 0x0110
    assert archive.send(report("2.25.7", (ONE,))) == 0x0000
    archive.association.release()
    assert len(answers) == 1


def broken_transaction() -> Dataset:
    answer = report("2.25.7", (ONE,))
    answer.TransactionUID = "../../etc"
    return answer


@pytest.mark.parametrize(
    ("answer", "event_type", "status"),
    [
        (report("2.25.7"), 1, 0x0115),
        (None, 1, 0x0115),
        (broken_transaction(), 1, 0x0115),
        (report("2.25." + "7" * 65000, (ONE,)), 1, 0x0115),
        (report("2.25.7", ("nonsense",)), 1, 0x0115),
        (report("2.25.7", (ONE,)), 7, 0x0113),
    ],
)
def test_a_malformed_report_is_refused_and_the_node_lives_on(
    answer: Dataset | None, event_type: int, status: int, node: StorageSCP, answers: list[CommitmentAnswer]
) -> None:
    archive = Reporter(node.port)
    assert archive.send(answer, event_type) == status
    assert archive.send(report("2.25.7", (ONE,))) == 0x0000
    archive.association.release()
    assert len(answers) == 1


def test_bytes_that_are_no_data_set_are_refused(node: StorageSCP, answers: list[CommitmentAnswer]) -> None:
    archive = Reporter(node.port)
    request = N_EVENT_REPORT()
    request.MessageID, request.EventTypeID = 1, 1
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = PUSH, WELL_KNOWN  # type: ignore[assignment]
    request.EventInformation = BytesIO(b"\x99" * 501)
    association = archive.association
    association._reactor_checkpoint.clear()  # so that the response is ours
    await_true(lambda: association._is_paused, "the reactor's pause")
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id or 1)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert response.Status == 0x0115  # type: ignore[union-attr]
    assert not answers


def test_what_is_named_both_ways_has_failed(node: StorageSCP, answers: list[CommitmentAnswer]) -> None:
    archive = Reporter(node.port)
    assert archive.send(report("2.25.7", (ONE, TWO), ((TWO, 0x0110),)), 2) == 0x0000
    archive.association.release()
    assert answers == [CommitmentAnswer("2.25.7", frozenset({ONE}), {TWO: 0x0110})]


def test_without_a_callback_the_service_is_not_offered() -> None:
    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None)) as scp:
        association = Reporter(scp.port).association
        assert not association.accepted_contexts
        association.abort()


def test_a_peer_that_wants_to_be_the_scu_is_not_offered_the_service(node: StorageSCP) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(PUSH)
    role = build_role(PUSH, scu_role=True, scp_role=False)
    association = entity.associate("127.0.0.1", node.port, ext_neg=[role])  # type: ignore[list-item]
    accepted = association.accepted_contexts
    association.abort()
    assert not accepted


def test_nobody_can_ask_the_node_for_commitment(node: StorageSCP) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(PUSH)
    association = entity.associate("127.0.0.1", node.port)
    status, _ = association.send_n_action(report("2.25.7", (ONE,)), 1, PUSH, WELL_KNOWN)
    association.release()
    assert status.Status == 0x0211  # unrecognized operation


def test_reasons_are_told_and_only_one_means_missing() -> None:
    reasons = [0x0110, 0x0112, 0x0119, 0x0122, 0x0131, 0x0213, 0xABCD]
    assert [reason for reason in reasons if is_missing(reason)] == [0x0112]
    assert len({failure_told(reason) for reason in reasons}) == len(reasons)
    assert "0xABCD" in failure_told(0xABCD)
