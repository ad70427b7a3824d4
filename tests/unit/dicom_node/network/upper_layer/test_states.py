"""The acceptor's states by raw bytes (PS3.8 9.2.3): what is answered to which PDU in which state."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.upper_layer import association
from tests.services import await_true
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    ABORT,
    CT,
    RELEASE_RQ,
    VERIFICATION,
    Context,
    KeepingSink,
    RawPeer,
    associate_request,
    command,
    item,
    p_data,
    pdu,
    pdv,
    role_item,
    store,
)

UNRECOGNIZED, UNEXPECTED, INVALID = b"\0\0\2\1", b"\0\0\2\2", b"\0\0\2\6"
ECHO = p_data(pdv(3, 3, command(0x0030, data_set=False, sop_class=VERIFICATION, uid="")))


@pytest.fixture
def sink() -> KeepingSink:
    return KeepingSink()


@pytest.fixture
def port(sink: KeepingSink) -> Iterator[int]:
    with StorageSCP(StorageSCPSettings(port=0), sink) as scp:
        yield scp.port


@pytest.mark.parametrize(
    "bytes_",
    [pdu(2, b""), pdu(4, b"\0\0\0\2\1\3"), RELEASE_RQ, pdu(6, bytes(4)), pdu(1, b"short"), pdu(1, b"")],
    ids=["accept", "data", "release", "release response", "broken request", "empty request"],
)
def test_before_an_association_anything_but_a_request_is_aborted(port: int, bytes_: bytes) -> None:
    with capture_logs() as logs, RawPeer(port) as peer:
        peer.send(bytes_)
        assert peer.receive() == (7, b"\0\0\0\0")  # Sta2: AA-1
    assert [line["event"] for line in logs] == ["association_request_malformed"]


def test_an_abort_before_an_association_closes(port: int) -> None:
    with RawPeer(port) as peer:
        peer.send(ABORT)
        assert peer.receive() == (0, b"")


@pytest.mark.parametrize(
    ("bytes_", "answer"),
    [
        (associate_request(), UNEXPECTED),
        (pdu(2, b"x" * 80), UNEXPECTED),
        (pdu(3, b"\0\1\1\1"), UNEXPECTED),
        (pdu(6, bytes(4)), UNEXPECTED),
        (pdu(8, bytes(4)), UNRECOGNIZED),
        (b"GET / HTTP/1.1\r\n\r\n", UNRECOGNIZED),
        (pdu(5, bytes(5)), INVALID),
        (pdu(4, b""), INVALID),
        (b"\x04\0\xff\xff\xff\xff", INVALID),
        (p_data(pdv(99, 3, command(1))), INVALID),
        (p_data(pdv(1, 2, b"data first")), INVALID),
        (pdu(4, b"\0\0\xff\xff\1\3"), INVALID),
    ],
)
def test_what_is_wrong_within_an_association_is_aborted_with_its_reason(
    port: int, sink: KeepingSink, bytes_: bytes, answer: bytes
) -> None:
    with capture_logs() as logs, RawPeer(port) as peer:
        peer.associate()
        peer.send(ECHO)
        assert peer.response().status == 0x0000
        peer.send(bytes_)
        assert peer.receive() == (7, answer)
    assert [line["event"] for line in logs] == ["association_aborted"]


def test_the_answer_repeats_what_the_standard_wants_repeated(port: int) -> None:
    with RawPeer(port) as peer:
        body = peer.associate(called="SOMEBODY", user=[item(0x53, b"\0\7\0\7"), item(0x58, b"\1\1\0\4user\0\0")])
        assert body[:2] == b"\0\1"
        assert body[4:36] == b"SOMEBODY".ljust(16) + b"SCANNER".ljust(16)
        assert item(0x53, b"\0\1\0\1") in body and item(0x51, (131072).to_bytes(4, "big")) in body
        assert b"\x59\0" not in body, "a user identity is not looked at, and so not answered (PS3.7 D.3.3.7)"
        peer.release()
        assert peer.socket.send(b"x") == 1, "the peer closes, not we (Sta13)"


def test_who_aborts_need_not_wait_for_the_end(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "_LINGER_S", 120)  # AA-3: we close, and at once
    with RawPeer(port) as peer:
        peer.associate()
        peer.send(ABORT)
        assert peer.receive() == (0, b"")


def test_a_release_within_a_message_is_answered_and_the_instance_forgotten(port: int, sink: KeepingSink) -> None:
    with RawPeer(port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, 3, command(1)), pdv(1, 0, b"half")))
        peer.release()
    await_true(lambda: sink.kept and sink.kept[0].abandoned, "abandoned")
    assert not sink.kept[0].committed


@pytest.mark.parametrize("end", [ABORT, b""], ids=["abort", "cut"])
def test_what_was_cut_off_is_forgotten(port: int, sink: KeepingSink, end: bytes) -> None:
    with RawPeer(port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, 3, command(1)), pdv(1, 0, b"half")), end)
        await_true(lambda: sink.kept and sink.kept[0].fragments, "half of it")
    await_true(lambda: sink.kept[0].abandoned, "abandoned")
    assert not sink.kept[0].committed


def test_instances_come_in_any_number_of_pdus(port: int, sink: KeepingSink) -> None:
    data_set, request = bytes(range(256)) * 1000, command(0x0001, message_id=1)
    with RawPeer(port) as peer:
        peer.associate(maximum_length=0)
        for cut in (50, 1000, 100_000):
            peer.send(*(p_data(pdv(1, 1 if at + cut < len(request) else 3, request[at : at + cut]))
                        for at in range(0, len(request), cut)))  # fmt: skip
            parts = [data_set[at : at + cut] for at in range(0, len(data_set), cut)]
            values = [pdv(1, 2 if number == len(parts) else 0, part) for number, part in enumerate(parts, 1)]
            if cut < 1000:  # several values to a PDU
                peer.send(*(p_data(*values[at : at + 7]) for at in range(0, len(values), 7)))
            else:
                peer.send(*(p_data(value) for value in values))
            assert peer.response().status == 0x0000
        peer.release()
    assert [kept.data_set for kept in sink.kept] == [data_set] * 3


def test_a_pdu_that_counts_its_headers_in_is_taken(port: int, sink: KeepingSink) -> None:
    with RawPeer(port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, 3, command(1))), p_data(pdv(1, 2, b"x" * 131072)))
        assert peer.response().status == 0x0000


@pytest.mark.parametrize("maximum_length", [1, 8, 20, 16384, 0])
def test_a_response_keeps_to_what_the_peer_takes(port: int, maximum_length: int) -> None:
    with RawPeer(port) as peer:
        peer.associate(maximum_length=maximum_length)
        peer.send(store(b"data"))
        response = peer.response()
        assert (response.status, response.message_id) == (0x0000, 7)
        peer.release()


def test_an_association_without_a_context_stands_and_ends(port: int) -> None:
    with RawPeer(port) as peer:
        peer.associate(Context(1, "1.2.840.10008.5.1.4.31"))
        peer.release()


def test_requests_that_follow_each_other_without_waiting_are_answered_in_order(port: int, sink: KeepingSink) -> None:
    with RawPeer(port) as peer:
        peer.associate()
        peer.send(*(store(b"data", message_id=number, uid=f"1.2.{number}") for number in range(1, 30)))
        assert [peer.response().message_id for _ in range(1, 30)] == list(range(1, 30))
        peer.release()


@pytest.mark.parametrize(
    "hello",
    [b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"P", b"\x80\x2e\x01", b"\0"],
)
def test_who_speaks_no_dicom_is_answered_at_once_however_long_its_greeting(hello: bytes) -> None:
    settings = StorageSCPSettings(port=0, acse_timeout_s=600)
    with capture_logs() as logs, StorageSCP(settings, KeepingSink()) as scp:
        for _ in range(2):
            with RawPeer(scp.port) as stranger:
                stranger.send(hello)
                assert stranger.receive() == (7, b"\0\0\0\0")
    named = [line for line in logs if line["event"] == "peer_did_not_speak_dicom"]
    assert [line["peer_address"] for line in named] == ["127.0.0.1"]


def test_an_answer_that_is_owed_is_given_before_the_port_closes() -> None:
    committing, may_go_on = threading.Event(), threading.Event()

    class Slow(KeepingSink):
        def open(self, request):  # type: ignore[no-untyped-def]
            kept = super().open(request)

            def commit() -> None:
                committing.set()
                assert may_go_on.wait(30)

            kept.commit = commit
            return kept

    scp = StorageSCP(StorageSCPSettings(port=0), Slow())
    scp.start()
    with RawPeer(scp.port) as peer:
        peer.associate(Context(1, CT), user=[role_item(CT, 1, 0)])
        peer.send(store(b"data"))
        assert committing.wait(30)
        stopping = threading.Thread(target=scp.stop, kwargs={"grace_s": 0})
        stopping.start()
        may_go_on.set()
        assert peer.response().status == 0x0000
        assert peer.receive()[0] == 7
        stopping.join(30)
    assert not stopping.is_alive()
