"""What is accepted, what is refused, and with which reason."""

from __future__ import annotations

import json

import pytest

from dicom_node.network.upper_layer.negotiation import Negotiated, negotiate, rejection_of
from dicom_node.network.upper_layer.pdu import Rejection, read_associate_request
from dicom_node.network.upper_layer.services import Service, ServiceOffer
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    AVAILABILITY,
    COMMITMENT,
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    VERIFICATION,
    WORKLIST,
    Context,
    associate_request,
    role_item,
)

ALL = ServiceOffer(commitment=True, availability=True)
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"


def answered(*contexts: Context, offer: ServiceOffer = ALL, user: tuple[bytes, ...] = ()) -> tuple[Negotiated, bytes]:
    request = read_associate_request(associate_request(*contexts, user=user)[6:])
    return negotiate(request, offer, "10.0.0.1", 131072)


def results(accepted: bytes) -> dict[int, int]:
    """Context ID -> result (PS3.8 9.3.3.2)."""
    found, at = {}, 74
    while at < len(accepted):
        length = int.from_bytes(accepted[at + 2 : at + 4], "big")
        if accepted[at] == 0x21:
            found[accepted[at + 4]] = accepted[at + 6]
        at += 4 + length
    return found


@pytest.mark.parametrize(
    ("context", "result"),
    [
        (Context(1, CT, [JPEG]), 0),
        (Context(1, "1.2.826.0.1.3680043.10.1234.5.6", ["1.2.3.4"]), 0),
        (Context(1, CT, []), 4),
        (Context(1, CT, [""]), 4),
        (Context(1, WORKLIST), 3),
        (Context(1, ""), 3),
        (Context(1, "1." + "2" * 70), 3),
        (Context(1, VERIFICATION, [JPEG, IMPLICIT]), 0),
        (Context(1, VERIFICATION, [JPEG]), 4),
        (Context(1, AVAILABILITY, [BIG_ENDIAN]), 0),
        (Context(1, AVAILABILITY, [DEFLATED]), 4),
        (Context(1, COMMITMENT), 0),
    ],
)
def test_a_context_is_answered(context: Context, result: int) -> None:
    negotiated, accepted = answered(context)
    assert results(accepted) == {1: result}
    assert bool(negotiated.contexts) == (result == 0)


def test_the_peers_first_transfer_syntax_is_taken_for_storage() -> None:
    negotiated, _ = answered(Context(5, CT, [JPEG, EXPLICIT]))
    assert (negotiated.contexts[5].service, negotiated.contexts[5].transfer_syntax) == (Service.STORAGE, JPEG)


def test_what_nobody_listens_to_is_not_offered() -> None:
    _, accepted = answered(Context(1, COMMITMENT), Context(3, AVAILABILITY), Context(5, CT), offer=ServiceOffer())
    assert results(accepted) == {1: 3, 3: 3, 5: 0}


@pytest.mark.parametrize(("roles", "result", "repeated"), [((0, 1), 0, True), ((1, 1), 0, True), ((1, 0), 1, False)])
def test_an_archive_gets_the_role_that_it_reports_in(roles: tuple[int, int], result: int, repeated: bool) -> None:
    _, accepted = answered(Context(1, COMMITMENT), user=(role_item(COMMITMENT, *roles),))
    assert results(accepted) == {1: result}
    assert (role_item(COMMITMENT, 0, 1) in accepted) == repeated


def test_a_role_that_was_not_proposed_is_not_answered() -> None:
    _, accepted = answered(Context(1, COMMITMENT))
    assert COMMITMENT.encode() not in accepted


@pytest.mark.parametrize(
    ("request_", "rejection"),
    [
        (associate_request(), None),
        (associate_request(version=3), None),
        (associate_request(version=2), Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        (associate_request(application_context=b"1.2.3"), Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (associate_request(calling="STRANGER"), Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED),
        (associate_request(called="ANOTHER"), None),
    ],
)
def test_who_is_rejected(request_: bytes, rejection: Rejection | None) -> None:
    assert rejection_of(read_associate_request(request_[6:]), ("SCANNER",)) is rejection


def test_another_process_is_told_all_of_it() -> None:
    negotiated, _ = answered(Context(1, CT, [JPEG]), Context(3, VERIFICATION))
    assert Negotiated.from_json(json.loads(json.dumps(negotiated.as_json()))) == negotiated
