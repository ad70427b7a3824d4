"""What needs no other program: stopping, and associations that break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider

from dicom_node.errors import ListenError, PeerUnreachable, UnparseableInstance
from dicom_node.network.storage_scp import ReceivedInstance, StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Delivery, Peer, Timeouts, echo, send


@pytest.fixture
def instances(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(3):
        instance = pydicom.dcmread(get_testdata_file("CT_small.dcm"))  # type: ignore[arg-type]
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(tmp_path / f"{number}.dcm")
        instance.save_as(paths[-1])
    return paths


def test_stopping_waits_for_the_instance_that_is_being_received(instances: list[Path]) -> None:
    receiving, may_go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def receive(received: ReceivedInstance) -> None:
        receiving.set()
        assert may_go_on.wait(30)
        done.append(received.sop_instance_uid)

    scp = StorageSCP(StorageSCPSettings(port=0), receive)
    scp.start()
    peer = Peer("MEDSEG", "127.0.0.1", scp.port)
    outcomes = []
    sender = threading.Thread(target=lambda: outcomes.extend(send(instances[:1], peer, "SCANNER")))
    sender.start()
    assert receiving.wait(30)
    stopper = threading.Thread(target=scp.stop, kwargs={"grace_s": 30})
    stopper.start()
    may_go_on.set()
    stopper.join(30)
    sender.join(30)
    assert not stopper.is_alive()
    assert [one.ok for one in outcomes] == [True]
    assert [one.sop_instance_uid for one in outcomes] == done
    with pytest.raises(PeerUnreachable):
        echo(peer, "SCANNER")


def test_stopping_aborts_who_stays_too_long() -> None:
    scp = StorageSCP(StorageSCPSettings(port=0), lambda received: None)
    scp.start()
    entity = AE("IDLER")
    entity.add_requested_context("1.2.840.10008.1.1")
    aborted = threading.Event()
    association = entity.associate("127.0.0.1", scp.port, evt_handlers=[(evt.EVT_ABORTED, lambda event: aborted.set())])
    assert association.is_established
    scp.stop(grace_s=0)
    assert aborted.wait(10)


def test_any_called_ae_title_is_accepted_and_recorded(instances: list[Path]) -> None:
    received: list[ReceivedInstance] = []
    with StorageSCP(StorageSCPSettings(ae_title="MEDSEG", port=0), received.append) as scp:
        (outcome,) = send(instances[:1], Peer("ANOTHER", "127.0.0.1", scp.port), "SCANNER")
    assert outcome.ok and [one.called_ae_title for one in received] == ["ANOTHER"]


def test_it_can_be_started_again_and_stopped_twice() -> None:
    scp = StorageSCP(StorageSCPSettings(port=0), lambda received: None)
    with pytest.raises(ListenError, match="not started"):
        _ = scp.port
    for _ in range(2):
        with scp:
            echo(Peer("MEDSEG", "127.0.0.1", scp.port), "SCANNER")
        scp.stop()


def test_an_address_that_is_not_ours_cannot_be_listened_on() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ListenError, match=r"check \[node\] host"):
            StorageSCP(StorageSCPSettings(host=host, port=0), lambda received: None).start()


def test_who_connects_and_says_nothing_is_hung_up_on() -> None:
    settings = StorageSCPSettings(port=0, acse_timeout_s=0.2)
    with StorageSCP(settings, lambda received: None) as scp, socket.create_connection(("127.0.0.1", scp.port)) as mute:
        mute.settimeout(20)
        assert mute.recv(1) == b""


def test_an_association_without_traffic_is_ended() -> None:
    ended = threading.Event()
    settings = StorageSCPSettings(port=0, network_timeout_s=0.3)
    with StorageSCP(settings, lambda received: None) as scp:
        entity = AE("IDLER")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate(
            "127.0.0.1", scp.port, evt_handlers=[(evt.EVT_CONN_CLOSE, lambda event: ended.set())]
        )
        assert association.is_established
        assert ended.wait(20)


class BreakingPeer:
    """An archive that answers the first instance with `status` and at the second breaks the association."""

    def __init__(self, status: int, *, silently: bool) -> None:
        self.status = status
        self.silently = silently
        self.received = 0

    def store(self, event: evt.Event) -> int:
        self.received += 1
        if self.received > 1:
            if self.silently:
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            else:
                event.assoc.abort()
        return self.status


@pytest.fixture
def breaking(request: pytest.FixtureRequest) -> Iterator[int]:
    status, silently = request.param
    peer = BreakingPeer(status, silently=silently)
    entity = AE("ARCHIVE")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, peer.store)])
    assert server is not None
    yield server.server_address[1]
    server.shutdown()


@pytest.mark.parametrize("breaking", [(0x0000, False), (0xB000, True), (0xB007, True)], indirect=True)
def test_what_was_delivered_before_the_association_broke_counts(breaking: int, instances: list[Path]) -> None:
    outcomes = send(instances, Peer("ARCHIVE", "127.0.0.1", breaking), "MEDSEG", timeouts=Timeouts(dimse_s=20))
    assert [one.path for one in outcomes] == instances
    assert [one.delivery for one in outcomes] == [Delivery.DELIVERED, Delivery.TRY_AGAIN, Delivery.TRY_AGAIN]
    assert [one.ok for one in outcomes] == [True, False, False]
    assert "lost" in outcomes[1].message and outcomes[1].status is None


def test_files_that_are_not_part_10_are_refused_before_anything_is_sent(instances: list[Path], tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear archive")
    with pytest.raises(UnparseableInstance, match=r"letter\.txt"):
        send([*instances, letter], Peer("ARCHIVE", "127.0.0.1", 1), "MEDSEG")


def test_a_host_that_does_not_exist_is_unreachable(instances: list[Path]) -> None:
    with pytest.raises(PeerUnreachable, match=r"ARCHIVE@no-such-host\.invalid:104"):
        send(instances, Peer("ARCHIVE", "no-such-host.invalid", 104), "MEDSEG")


def test_nothing_to_send_needs_no_peer() -> None:
    assert send([], Peer("ARCHIVE", "127.0.0.1", 1), "MEDSEG") == ()


class NeverCleared(threading.Event):
    def clear(self) -> None:
        """The reactor goes on, as it does for a moment where it is paused between two of its own steps."""


def test_a_response_reaches_its_request_whatever_the_reactor_does(
    instances: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    take, going_on = DIMSEServiceProvider.get_msg, NeverCleared()
    going_on.set()

    def late(self: DIMSEServiceProvider, block: bool = False) -> Any:
        if block:
            time.sleep(0.1)
        return take(self, block)

    def fixed(value: object) -> property:
        return property(lambda _: value, lambda *_: None)

    with StorageSCP(StorageSCPSettings(port=0), lambda received: None) as scp:
        monkeypatch.setattr(DIMSEServiceProvider, "get_msg", late)
        monkeypatch.setattr(Association, "_reactor_checkpoint", fixed(going_on), raising=False)
        monkeypatch.setattr(Association, "_is_paused", fixed(True), raising=False)
        outcomes = send(instances, Peer("MEDSEG", "127.0.0.1", scp.port), "SCANNER", timeouts=Timeouts(dimse_s=3))
    assert [one.ok for one in outcomes] == [True, True, True]
