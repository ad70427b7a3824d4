"""Messages from fragments: in pieces, interleaved, broken off, refused; without a socket."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dicom_node.errors import ProtocolViolation
from dicom_node.network.availability import InstanceAvailability
from dicom_node.network.commitment import CommitmentAnswer
from dicom_node.network.upper_layer.messages import Messages, Services
from dicom_node.network.upper_layer.negotiation import negotiate
from dicom_node.network.upper_layer.pdu import fragments, read_associate_request
from dicom_node.network.upper_layer.services import ServiceOffer
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    AVAILABILITY,
    COMMITMENT,
    CT,
    EXPLICIT,
    VERIFICATION,
    Context,
    KeepingSink,
    Response,
    associate_request,
    command,
    element,
    pdv,
    read_elements,
    us,
)

STORE, ECHO, FIND, EVENT, ACTION, CREATE, CANCEL = 0x0001, 0x0030, 0x0020, 0x0100, 0x0130, 0x0140, 0x0FFF
CONTEXTS = (Context(1, CT), Context(3, VERIFICATION), Context(5, COMMITMENT), Context(7, AVAILABILITY), Context(9, CT))


def messages(sink: KeepingSink | None = None, **services: object) -> Messages:
    request = read_associate_request(associate_request(*CONTEXTS)[6:])
    negotiated, _ = negotiate(request, ServiceOffer(True, True), "127.0.0.1", 131072)
    heard: dict[str, object] = {"committed": lambda answer: None, "available": lambda told: None, **services}
    return Messages(negotiated, Services(sink or KeepingSink(), **heard))  # type: ignore[arg-type]


def take(under_way: Messages, *values: bytes) -> list[Response]:
    responses = []
    for number, control, fragment in fragments(memoryview(b"".join(values))):
        response = under_way.take(number, control, fragment)
        if response is not None:
            responses.append(Response(number, read_elements(response)))
    return responses


def test_an_instance_goes_on_in_the_pieces_that_it_came_in() -> None:
    sink = KeepingSink()
    encoded = command(STORE)
    under_way = messages(sink)
    assert take(under_way, pdv(1, 1, encoded[:5]), pdv(1, 1, encoded[5:20]), pdv(1, 3, encoded[20:])) == []
    assert under_way.under_way
    (response,) = take(under_way, pdv(1, 0, b"one"), pdv(1, 0, b""), pdv(1, 2, b"two"))
    assert (response.status, response.message_id, response.context) == (0x0000, 7, 1)
    (kept,) = sink.kept
    assert kept.fragments == [b"one", b"", b"two"] and kept.committed
    assert (kept.request.sop_instance_uid, kept.request.transfer_syntax_uid) == ("1.2.3", EXPLICIT)
    assert (kept.request.calling_ae_title, kept.request.peer_address) == ("SCANNER", "127.0.0.1")
    assert not under_way.under_way


def test_messages_of_two_contexts_do_not_mix() -> None:
    sink = KeepingSink()
    responses = take(
        messages(sink),
        pdv(1, 3, command(STORE, message_id=1, uid="1.2.1")),
        pdv(9, 3, command(STORE, message_id=2, uid="1.2.2")),
        pdv(1, 0, b"a"),
        pdv(9, 0, b"x"),
        pdv(3, 3, command(ECHO, message_id=3, data_set=False)),
        pdv(9, 2, b"y"),
        pdv(1, 2, b"b"),
    )
    assert [(one.context, one.message_id, one.status) for one in responses] == [(3, 3, 0), (9, 2, 0), (1, 1, 0)]
    assert {one.request.sop_instance_uid: one.data_set for one in sink.kept} == {"1.2.1": b"ab", "1.2.2": b"xy"}


@pytest.mark.parametrize("fails_at", ["open", "write", "commit"])
def test_an_error_is_a_status_and_the_association_goes_on(fails_at: str) -> None:
    sink = KeepingSink(fails_at)
    under_way = messages(sink)
    with capture_logs() as logs:
        (refused,) = take(under_way, pdv(1, 3, command(STORE)), pdv(1, 0, b"one"), pdv(1, 2, b"two"))
        (taken,) = take(under_way, pdv(1, 3, command(STORE, uid="1.2.4")), pdv(1, 2, b"three"))
    assert (refused.status, taken.status) == (0x0110, 0x0000)
    assert [line["event"] for line in logs] == ["instance_receive_failed", "instance_refused"]
    assert b"disk" not in refused.elements[0x0902]
    assert all(kept.abandoned for kept in sink.kept if kept.request.sop_instance_uid == "1.2.3")
    assert sink.kept[-1].committed


def test_an_instance_without_a_data_set_is_an_empty_one() -> None:
    sink = KeepingSink()
    (response,) = take(messages(sink), pdv(1, 3, command(STORE, data_set=False)))
    assert response.status == 0x0000 and sink.kept[0].fragments == []


def test_what_is_larger_than_is_taken_is_out_of_resources() -> None:
    sink = KeepingSink()
    under_way = messages(sink, largest_instance=5)
    (refused,) = take(under_way, pdv(1, 3, command(STORE)), pdv(1, 0, b"123"), pdv(1, 0, b"456"), pdv(1, 2, b"7"))
    (taken,) = take(under_way, pdv(1, 3, command(STORE)), pdv(1, 2, b"12345"))
    assert (refused.status, taken.status) == (0xA700, 0x0000)
    assert sink.kept[0].data_set == b"123" and sink.kept[0].abandoned and not sink.kept[0].committed


@pytest.mark.parametrize(
    ("context", "field", "status"),
    [
        (3, ECHO, 0x0000), (1, ECHO, 0x0000), (3, STORE, 0x0211), (1, FIND, 0x0211), (5, ACTION, 0x0211),
        (1, EVENT, 0x0211), (5, CREATE, 0x0211), (1, 0x7777, 0x0211),
    ],
)  # fmt: skip
def test_only_what_is_offered_is_done(context: int, field: int, status: int) -> None:
    sink = KeepingSink()
    under_way = messages(sink)
    (response,) = take(under_way, pdv(context, 3, command(field)), pdv(context, 0, b"data"), pdv(context, 2, b""))
    assert response.status == status
    assert response.elements[0x0100] == us(field | 0x8000)
    assert sink.kept == [] and not under_way.under_way


@pytest.mark.parametrize("field", [CANCEL, 0x8001])
def test_what_has_no_response_gets_none(field: int) -> None:
    under_way = messages()
    more = element(0x0120, us(7))
    assert take(under_way, pdv(1, 3, command(field, data_set=False, more=more))) == [] and not under_way.under_way


@pytest.mark.parametrize(
    "values",
    [
        [pdv(1, 2, b"data before its command")],
        [pdv(1, 3, command(STORE)), pdv(1, 3, command(STORE))],
        [pdv(11, 3, command(STORE))],
        [pdv(1, 3, b"nonsense")],
        [pdv(1, 1, b"\0" * 40000), pdv(1, 1, b"\0" * 40000)],
    ],
    ids=["data first", "command within", "no such context", "no command", "endless command"],
)
def test_what_no_peer_may_send_is_a_violation(values: list[bytes]) -> None:
    sink = KeepingSink()
    under_way = messages(sink)
    with pytest.raises(ProtocolViolation):
        take(under_way, *values)
    under_way.abandon()
    assert all(kept.abandoned and not kept.committed for kept in sink.kept)


def test_no_more_messages_are_under_way_than_are_kept_track_of() -> None:
    contexts = [Context(number, CT) for number in range(1, 21, 2)]
    negotiated, _ = negotiate(
        read_associate_request(associate_request(*contexts)[6:]), ServiceOffer(), "127.0.0.1", 131072
    )
    sink = KeepingSink()
    under_way = Messages(negotiated, Services(sink))
    with pytest.raises(ProtocolViolation, match="too many"):
        take(under_way, *(pdv(context.number, 3, command(STORE)) for context in contexts))
    under_way.abandon()
    assert sink.kept and all(kept.abandoned for kept in sink.kept)


def explicit(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    tail = len(value).to_bytes(4 if vr == b"SQ" else 2, "little") + value
    return tag[0].to_bytes(2, "little") + tag[1].to_bytes(2, "little") + vr + (b"\0\0" if vr == b"SQ" else b"") + tail


def sequence(tag: tuple[int, int], *items: bytes) -> bytes:
    return explicit(tag, b"SQ", b"".join(b"\xfe\xff\x00\xe0" + len(one).to_bytes(4, "little") + one for one in items))


def notification(*instances: tuple[bytes, bytes], study: bytes = b"1.2.30") -> bytes:
    references = [
        explicit((0x0008, 0x0056), b"CS", availability) + explicit((0x0008, 0x1155), b"UI", uid)
        for uid, availability in instances
    ]
    series = sequence((0x0008, 0x1199), *references) + explicit((0x0020, 0x000E), b"UI", b"1.2.40")
    return sequence((0x0008, 0x1115), series) + explicit((0x0020, 0x000D), b"UI", study)


def test_a_notification_names_what_can_be_had() -> None:
    told: list[InstanceAvailability] = []
    encoded = notification(
        (b"1.2.51", b"ONLINE"), (b"1.2.52", b"NEARLINE"), (b"1.2.53", b"OFFLINE "), (b"1.2.51", b"ONLINE")
    )
    (response,) = take(messages(available=told.append), pdv(7, 3, command(CREATE)), pdv(7, 2, encoded))
    assert (response.status, response.elements[0x0100]) == (0x0000, us(0x8140))
    assert told == [InstanceAvailability("1.2.30", ("1.2.51", "1.2.52"), "SCANNER")]
    (response,) = take(messages(available=told.append), pdv(7, 3, command(CREATE, uid="")), pdv(7, 2, encoded))
    assert response.elements[0x1000].startswith(b"2.25."), "a name that was left to us"


@pytest.mark.parametrize("encoded", [b"", b"\x99" * 50, notification((b"Box^", b"ONLINE")), notification(study=b"no")])
def test_a_broken_notification_is_refused(encoded: bytes) -> None:
    told: list[InstanceAvailability] = []
    with capture_logs() as logs:
        (response,) = take(messages(available=told.append), pdv(7, 3, command(CREATE)), pdv(7, 2, encoded))
    assert response.status in (0x0106, 0x0120) and told == []
    assert [line["event"] for line in logs] == ["availability_notification_malformed"] and "Box" not in str(logs)


def test_a_report_is_kept_in_memory_only_so_far() -> None:
    told: list[CommitmentAnswer] = []
    under_way = messages(committed=told.append)
    take(under_way, pdv(5, 3, command(EVENT, more=element(0x1002, us(1)))))
    for _ in range(5):
        take(under_way, pdv(5, 0, b"\0" * 1_000_000))
    (response,) = take(under_way, pdv(5, 2, b"\0"))
    assert response.status == 0x0213 and told == []


VALUES = st.tuples(
    st.sampled_from([1, 3, 5, 7, 9, 11]),
    st.integers(0, 3),
    st.one_of(st.binary(max_size=40), st.sampled_from([command(field) for field in (STORE, ECHO, EVENT, CREATE)])),
)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.lists(VALUES, max_size=12))
def test_whatever_comes_every_instance_is_committed_or_abandoned(values: list[tuple[int, int, bytes]]) -> None:
    sink = KeepingSink()
    under_way = messages(sink)
    with capture_logs():
        with contextlib.suppress(ProtocolViolation):
            take(under_way, *(pdv(*value) for value in values))
        under_way.abandon()
    assert all(kept.committed or kept.abandoned for kept in sink.kept)
