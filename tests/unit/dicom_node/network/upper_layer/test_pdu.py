"""PDUs: what a peer may send is read, whatever else it sends is refused and no more."""

from __future__ import annotations

import struct
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node.errors import ProtocolViolation
from dicom_node.network.upper_layer.negotiation import negotiate, rejection_of
from dicom_node.network.upper_layer.pdu import (
    AbortReason,
    AbortSource,
    Rejection,
    abort,
    fragments,
    p_data,
    read_associate_request,
    reject,
)
from dicom_node.network.upper_layer.services import ServiceOffer
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    VERIFICATION,
    Context,
    associate_request,
    item,
    pdv,
    role_item,
)

FUZZ = settings(max_examples=300, derandomize=True, deadline=None, database=None)
WHOLE = associate_request(
    Context(1, CT, (JPEG, EXPLICIT)),
    Context(3, VERIFICATION),
    user=[item(0x53, b"\0\x05\0\x05"), role_item(CT, 1, 1), item(0x56, b"\0\x05" + b"1.2.3" + b"\1"), item(0x99, b"x")],
)[6:]


def test_a_request_is_read_and_unknown_items_are_skipped() -> None:
    request = read_associate_request(WHOLE[:68] + item(0x77, b"what is this") + WHOLE[68:])
    assert (request.calling_ae_title, request.called_ae_title) == ("SCANNER", "MEDSEG")
    assert [(one.context_id, one.abstract_syntax, one.transfer_syntaxes) for one in request.contexts] == [
        (1, CT, (JPEG, EXPLICIT)),
        (3, VERIFICATION, (EXPLICIT, IMPLICIT)),
    ]
    assert (request.maximum_length, request.asynchronous, request.roles) == (16384, True, {CT: (True, True)})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        WHOLE[:67],
        WHOLE[:-1],
        WHOLE + b"\x10",
        WHOLE[:68] + struct.pack(">BxH", 0x10, 60000),
        associate_request(Context(2, CT))[6:],
        associate_request(Context(1, CT), Context(1, VERIFICATION))[6:],
        associate_request(user=[item(0x54, b"\xff\xff1.2.3\0\0")])[6:],
        WHOLE[:68] + item(0x20, b"\1"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        read_associate_request(body)


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    _read_and_answer(body)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8), st.integers(0, 40))
def test_a_damaged_request_is_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(WHOLE)
    for at, value in changes:
        damaged[at] = value
    _read_and_answer(bytes(damaged[: len(damaged) - cut]))


def _read_and_answer(body: bytes) -> None:
    try:
        request = read_associate_request(body)
    except ProtocolViolation:
        return
    rejection_of(request, ("SCANNER",))
    negotiated, accepted = negotiate(request, ServiceOffer(True, True), "127.0.0.1", 131072)
    assert struct.unpack_from(">BxL", accepted) == (2, len(accepted) - 6)
    assert set(negotiated.contexts) <= {context.context_id for context in request.contexts}


def test_another_implementation_reads_what_is_answered() -> None:
    request = read_associate_request(WHOLE)
    _, accepted = negotiate(request, ServiceOffer(), "127.0.0.1", 131072)
    answer = A_ASSOCIATE_AC()
    answer.decode(accepted)
    primitive = cast(A_ASSOCIATE, answer.to_primitive())
    assert primitive.maximum_length_received == 131072
    results = primitive.presentation_context_definition_results_list
    assert [(one.context_id, one.result, one.transfer_syntax) for one in results] == [
        (1, 0, [JPEG]),
        (3, 0, [EXPLICIT]),
    ]
    assert {type(one).__name__ for one in primitive.user_information} >= {"AsynchronousOperationsWindowNegotiation"}


def test_rejections_and_aborts_say_what_the_standard_has_for_them() -> None:
    for rejection, (result, source, reason) in {
        Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED: (1, 1, 3),
        Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED: (1, 1, 2),
        Rejection.PROTOCOL_VERSION_NOT_SUPPORTED: (1, 2, 2),
        Rejection.LOCAL_LIMIT_EXCEEDED: (2, 3, 2),
    }.items():
        told = A_ASSOCIATE_RJ()
        told.decode(reject(rejection))
        assert (told.result, told.source, told.reason_diagnostic) == (result, source, reason)
    ended = A_ABORT_RQ()
    ended.decode(abort(AbortSource.SERVICE_PROVIDER, AbortReason.UNEXPECTED_PDU))
    assert (ended.source, ended.reason_diagnostic) == (2, 2)


def test_fragments_are_those_that_the_lengths_say() -> None:
    body = pdv(1, 3, b"command") + pdv(3, 0, b"") + pdv(1, 2, b"data")
    assert [(number, control, bytes(part)) for number, control, part in fragments(memoryview(body))] == [
        (1, 3, b"command"), (3, 0, b""), (1, 2, b"data"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\2\1", struct.pack(">LBB", 1, 1, 0), struct.pack(">LBB", 9, 1, 0) + b"x"]
)
def test_lengths_that_do_not_add_up_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        list(fragments(memoryview(body)))


@FUZZ
@given(st.binary(max_size=100))
def test_any_bytes_are_fragments_or_refused(body: bytes) -> None:
    try:
        parts = list(fragments(memoryview(body)))
    except ProtocolViolation:
        return
    assert sum(6 + len(part) for _, _, part in parts) == len(body)


@FUZZ
@given(st.binary(min_size=1, max_size=300), st.integers(0, 200))
def test_no_pdu_is_longer_than_the_peer_takes(command_set: bytes, maximum_length: int) -> None:
    encoded, received, at = p_data(5, command_set, maximum_length), b"", 0
    while at < len(encoded):
        kind, length = struct.unpack_from(">BxL", encoded, at)
        assert kind == 4 and (not maximum_length or length <= max(maximum_length, 8))
        ((number, control, part),) = fragments(memoryview(encoded)[at + 6 : at + 6 + length])
        at += 6 + length
        received += part
        assert number == 5 and bool(control & 2) == (at == len(encoded))
    assert received == command_set
