"""One process accepts, others serve: here both ends in one, over the sockets that they have between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from dicom_node.network.storage_scp import SharedStorageSCP, StorageSCPSettings
from dicom_node.network.upper_layer.association import AssociationLimits
from dicom_node.network.upper_layer.handover import AcceptorLink, control_sockets, serve_handed_over
from dicom_node.network.upper_layer.messages import Services
from dicom_node.network.upper_layer.services import ServiceOffer
from tests.services import await_true
from tests.unit.dicom_node.network.upper_layer.raw_peer import (
    KeepingSink,
    RawPeer,
    associate_request,
    command,
    p_data,
    pdv,
    store,
)

SETTINGS = StorageSCPSettings(port=0, maximum_associations=3)


class Acceptor:
    """A thread in the place of a process."""

    def __init__(self) -> None:
        ours, theirs = control_sockets()
        self.sink = KeepingSink()
        self.control = theirs
        self.link = AcceptorLink(ours)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        await_true(lambda: self.link.ready, "ready")

    def _serve(self) -> None:
        with self.control:
            serve_handed_over(self.control, Services(self.sink), AssociationLimits())


@contextmanager
def shared(number: int) -> Iterator[tuple[int, list[Acceptor]]]:
    acceptors = [Acceptor() for _ in range(number)]
    with SharedStorageSCP(SETTINGS, ServiceOffer(), lambda: [one.link for one in acceptors]) as scp:
        yield scp.port, acceptors
    for acceptor in acceptors:
        acceptor.thread.join(30)
        acceptor.link.close()
        assert not acceptor.thread.is_alive()


def test_each_association_goes_to_who_has_fewest() -> None:
    with shared(2) as (port, acceptors), ExitStack() as stack:
        for _ in range(2):
            peer = stack.enter_context(RawPeer(port))
            peer.associate()
            peer.send(store(b"data"))
            assert peer.response().status == 0x0000
        assert [len(acceptor.sink.kept) for acceptor in acceptors] == [1, 1]
        assert [len(acceptor.link) for acceptor in acceptors] == [1, 1]


def test_a_place_is_free_again_once_its_association_has_ended() -> None:
    with shared(1) as (port, acceptors):
        for _ in range(5):
            with RawPeer(port) as peer:
                peer.associate()
                peer.release()
        await_true(lambda: not len(acceptors[0].link), "all have ended")


def test_limits_hold_over_all_processes_and_the_silent_lose_their_place() -> None:
    with shared(2) as (port, _), ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(port)) for _ in range(3)]
        for peer in silent:
            peer.associate()
        with RawPeer(port) as good:
            good.associate()
            good.send(store(b"data"))
            assert good.response().status == 0x0000
        assert silent[0].receive() == (7, bytes(4))


def test_one_that_does_not_report_gets_no_association_while_another_can_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with shared(2) as (port, acceptors):
        monkeypatch.setattr(acceptors[0].link, "_hear", lambda _told: None)
        acceptors[0].link.heard_at = float("-inf")
        with RawPeer(port) as peer:
            peer.associate()
            peer.send(store(b"data"))
            assert peer.response().status == 0x0000
            peer.release()
        assert len(acceptors[1].sink.kept) == 1


def test_one_that_serves_nothing_reports_all_the_same() -> None:
    with shared(1) as (_port, acceptors):
        before = acceptors[0].link.heard_at
        await_true(lambda: acceptors[0].link.heard_at > before and not acceptors[0].link.late, "a report")


def test_an_acceptor_that_dies_frees_its_places_and_the_others_go_on() -> None:
    with shared(2) as (port, acceptors):
        peers = [RawPeer(port) for _ in range(2)]
        for peer in peers:
            peer.associate()
        acceptors[0].link.close()
        await_true(lambda: acceptors[0].link.closed, "closed")
        for _ in range(2):
            with RawPeer(port) as peer:
                peer.associate()
                peer.send(store(b"data"))
                assert peer.response().status == 0x0000
                peer.release()
        for peer in peers:
            peer.socket.close()
        assert len(acceptors[1].sink.kept) == 2


def test_an_acceptor_ends_with_the_process_that_listens_and_acknowledges_nothing_half() -> None:
    acceptor = Acceptor()
    with SharedStorageSCP(SETTINGS, ServiceOffer(), lambda: [acceptor.link]) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, 3, command(1)), pdv(1, 0, b"half")))
        await_true(lambda: acceptor.sink.kept and acceptor.sink.kept[0].fragments, "half of it")
        acceptor.link.close()
        acceptor.thread.join(30)
        assert not acceptor.thread.is_alive()
        assert peer.receive()[0] == 7
    assert acceptor.sink.kept[0].abandoned and not acceptor.sink.kept[0].committed


def test_requests_wait_while_no_acceptor_is_there() -> None:
    acceptors: list[Acceptor] = []
    port = SharedStorageSCP(SETTINGS, ServiceOffer(), lambda: [one.link for one in acceptors])
    with port as scp, RawPeer(scp.port) as peer:
        peer.send(associate_request())
        acceptors.append(Acceptor())
        assert peer.receive()[0] == 2
    acceptors[0].thread.join(30)
    acceptors[0].link.close()
