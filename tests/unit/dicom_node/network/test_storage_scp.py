"""The storage SCP without another program: starting, stopping, timeouts."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from pynetdicom import AE, evt

from dicom_node.errors import ListenError, PeerUnreachable
from dicom_node.network.storage_scp import ReceivedInstance, StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, echo, send


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


@pytest.mark.service("name resolution")
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
