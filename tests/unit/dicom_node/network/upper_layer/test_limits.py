"""What one connection, one association, one peer may take, and that it costs nobody else anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from structlog.testing import capture_logs

from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.upper_layer import listener
from dicom_node.network.upper_layer.negotiation import Negotiated
from dicom_node.network.upper_layer.slots import Slots
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    KeepingSink,
    RawPeer,
    associate_request,
    command,
    p_data,
    pdu,
    pdv,
    store,
)

REJECTED_FOR_NOW = (3, b"\0\2\3\2")


@contextmanager
def listening(**settings: object) -> Iterator[int]:
    with StorageSCP(StorageSCPSettings(port=0, **settings), KeepingSink()) as scp:  # type: ignore[arg-type]
        yield scp.port


def test_a_request_that_never_ends_costs_its_own_time() -> None:
    with listening(acse_timeout_s=0.3) as port, RawPeer(port) as slow:
        slow.send(associate_request()[:50])
        assert slow.receive() == (0, b"")


@pytest.mark.parametrize("length", [listener._LONGEST_REQUEST + 1, 0xFFFFFFFF])
def test_a_request_that_is_too_long_is_not_waited_for(length: int) -> None:
    with listening() as port, RawPeer(port) as peer:
        peer.send(b"\x01\0" + length.to_bytes(4, "big"))
        assert peer.receive() == (7, bytes(4))


def test_the_oldest_connection_without_a_word_goes_for_a_new_one() -> None:
    with listening(waiting_connections=10) as port, ExitStack() as stack:
        idle = [stack.enter_context(RawPeer(port)) for _ in range(30)]
        with RawPeer(port) as peer:
            peer.associate()
            peer.release()
        for one in idle[:20]:
            assert one.receive() == (0, b"")
        idle[-1].associate()


def test_requests_that_do_not_come_to_an_end_are_kept_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MOST_REQUEST_BYTES", 100_000)
    with listening() as port, ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(port)) for _ in range(4)]
        for peer in peers:
            peer.send(pdu(1, bytes(60_000))[:30_000])
        ended = 0
        for peer in peers:
            peer.socket.settimeout(0.5)
            try:
                ended += peer.receive() == (0, b"")
            except TimeoutError:
                continue
            except ConnectionResetError:
                ended += 1
        assert ended == 1
        with RawPeer(port) as peer:
            peer.associate()


@pytest.mark.parametrize(
    ("settings", "sent", "reason"),
    [
        ({"pdu_s": 0.3}, [b"\x04\0\0\0\x10\0half a PDU"], "a PDU was not complete after 0.3 s"),
        ({"pdu_s": 0.3}, [b"\x04\0\0"], "a PDU was not complete after 0.3 s"),
        ({"dimse_timeout_s": 0.3}, [p_data(pdv(1, 3, command(1)))], "silent for 0.3 s"),
        ({"network_timeout_s": 0.3}, [], "silent for 0.3 s"),
        ({"association_s": 0.3}, [], "it lasted longer than 0.3 s"),
    ],
)
def test_who_is_slow_or_silent_is_ended_in_its_time(settings: dict[str, float], sent: list[bytes], reason: str) -> None:
    with capture_logs() as logs, listening(**settings) as port, RawPeer(port) as peer:
        peer.associate()
        peer.send(*sent)
        assert peer.receive() == (7, bytes(4))
    assert [line["reason"] for line in logs if line["event"] == "association_aborted"] == [reason]


def test_traffic_does_not_make_an_association_last_longer() -> None:
    with listening(association_s=0.5) as port, RawPeer(port) as peer:
        peer.associate()
        answers = 0
        while True:
            peer.send(store(b"data"))
            kind, _ = peer.receive()
            if kind == 7:
                break
            assert kind == 4
            answers += 1
        assert answers


@pytest.mark.parametrize("limit", [{"maximum_associations": 2}, {"associations_per_peer": 2}])
def test_a_silent_association_loses_its_place_to_who_needs_it(limit: dict[str, int]) -> None:
    """Nobody waits longer than some seconds for a place that is held in silence."""
    with capture_logs() as logs, listening(**limit) as port, ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(port)) for _ in range(2)]
        for peer in silent:
            peer.associate()
        with RawPeer(port) as good:
            good.associate()
            good.send(store(b"data"))
            assert good.response().status == 0x0000
            good.release()
        assert silent[0].receive() == (7, bytes(4))
        silent[1].release()
    assert [line["calling_ae_title"] for line in logs if line["event"] == "association_aborted"] == ["SCANNER"]


def test_who_gives_up_waiting_for_a_place_leaves_nothing() -> None:
    with listening(maximum_associations=1) as port, RawPeer(port) as first:
        first.associate()
        with RawPeer(port) as impatient:
            impatient.send(associate_request())
        first.send(store(b"data"))
        assert first.response().status == 0x0000
        first.release()
        with RawPeer(port) as next_:
            next_.associate()


def test_a_place_that_becomes_free_goes_to_who_waits_for_it() -> None:
    with listening(maximum_associations=1) as port, RawPeer(port) as first, RawPeer(port) as second:
        first.associate()
        second.send(associate_request())
        first.release()
        assert second.receive()[0] == 2


def test_who_asks_while_everybody_is_at_work_is_rejected_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_HELD_S", 0.2)
    with capture_logs() as logs, listening(maximum_associations=1) as port, RawPeer(port) as first:
        first.associate()
        with RawPeer(port) as second:
            second.send(associate_request(calling="OTHER"))
            assert second.receive() == REJECTED_FOR_NOW
        first.release()
    (rejected,) = (line for line in logs if line["event"] == "association_rejected")
    assert (rejected["calling_ae_title"], rejected["reason"]) == ("OTHER", "Local limit exceeded")


def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    with listening() as port, ExitStack() as stack:
        for _ in range(400):  # both ends are descriptors of this process
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        with RawPeer(port) as peer:
            peer.associate()
            peer.send(store(b"data"))
            assert peer.response().status == 0x0000


@pytest.mark.parametrize("broken", ["_hear", "_look"])
def test_a_defect_leaves_the_port_open(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    works, times = getattr(listener.Listener, broken), iter([True])

    def fails_once(*arguments: object) -> None:
        if next(times, False):
            raise KeyError("a defect")
        works(*arguments)

    monkeypatch.setattr(listener.Listener, broken, fails_once)
    with capture_logs() as logs, listening() as port:
        with RawPeer(port) as unlucky, suppress(ConnectionResetError):
            unlucky.send(associate_request())
            unlucky.receive()
        with RawPeer(port) as peer:
            peer.associate()
    assert {line["event"] for line in logs if line["log_level"] == "error"} <= {"connection_failed", "listener_failed"}


# --- Who loses its place, without a clock -----------------------------------------------------------------------------


class Association:
    def __init__(self, title: str) -> None:
        self.negotiated = Negotiated(title, "MEDSEG", "127.0.0.1", 0, {})
        self.received = 0
        self.working = self.ended = False
        self.why = ""

    def abort(self, why: str) -> None:
        self.why = why


def slots_with(*associations: Association, maximum: int = 2, per_peer: int = 2) -> Slots:
    slots = Slots(maximum, per_peer)
    for association in associations:
        slots.take(association, 0.0)
    return slots


def test_who_made_least_progress_goes() -> None:
    slow, slower = Association("A"), Association("B")
    slots = slots_with(slow, slower)
    slow.received, slower.received = 5000, 100
    slots.look(1.0)
    assert not slots.has_room("C")
    assert not slots.make_room("C", 4.9), "it is too young to be judged"
    assert slots.make_room("C", 5.0)
    assert (slow.why, bool(slower.why)) == ("", True)


def test_who_sends_and_who_waits_for_us_keep_their_places() -> None:
    busy, waiting = Association("A"), Association("B")
    slots = slots_with(busy, waiting)
    busy.received, waiting.working = 1_000_000, True
    assert not slots.make_room("C", 60.0)


def test_progress_is_that_of_the_last_seconds() -> None:
    association = Association("A")
    slots = slots_with(association, maximum=1)
    association.received = 10_000_000
    for second in range(1, 12):
        slots.look(float(second))
    assert slots.make_room("C", 12.0)


def test_a_peer_at_its_own_limit_loses_one_of_its_own() -> None:
    other, first, second = Association("A"), Association("B"), Association("B")
    first.received = 10
    slots = slots_with(other, first, second, maximum=10)
    first.received += 500
    assert not slots.has_room("B") and slots.has_room("A")
    assert slots.make_room("B", 6.0)
    assert [bool(one.why) for one in (other, first, second)] == [False, False, True]


def test_a_place_is_free_once_its_association_has_ended() -> None:
    first, second = Association("A"), Association("A")
    slots = slots_with(first, second)
    second.ended = True
    assert slots.has_room("A") and slots.associations == [first]
