"""The faults of pynetdicom 3.0.4 that dicom_node.network works around.

A test here that fails after an upgrade says that the fault is gone: delete the workaround that it names, and the test.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from dicom_node.network.contexts import configure_pynetdicom
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, Timeouts, send
from dicom_node.storage.whole import WholeInstances

CT = "1.2.840.10008.5.1.4.1.1.2"

pytestmark = pytest.mark.slow  # they wait for faults of pynetdicom to show


class Checkpoint(threading.Event):
    """The reactor's checkpoint, which holds it once between passing and saying so."""

    def __init__(self) -> None:
        super().__init__()
        self.set()
        self.passed, self.go_on = threading.Event(), threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        passed = super().wait(timeout)
        self.passed.set()
        self.go_on.wait(10)
        return passed


def catch_the_reactor_between_two_steps(association: Association, patience_s: float) -> None:
    """The reactor has passed its checkpoint when the next request pauses it, and looks for a message first.

    The request waits `patience_s` for it.

    These are pynetdicom's own attributes: there is no other way to bring about an order that only chance brings about.
    """
    checkpoint, looked = Checkpoint(), threading.Event()
    take = association.dimse.get_msg

    def in_this_order(block: bool = False) -> Any:
        if block:
            checkpoint.go_on.set()
            looked.wait(patience_s)
            looked.set()
            return take(block)
        if not checkpoint.go_on.is_set():
            return take(block)
        message = take(block=not looked.is_set())  # the first look after the pause finds the response
        looked.set()
        return message

    association.dimse.get_msg = in_this_order  # type: ignore[method-assign]
    association._reactor_checkpoint = checkpoint
    assert checkpoint.passed.wait(10)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None)) as scp:
        yield Peer("MEDSEG", "127.0.0.1", scp.port)


def test_the_reactor_still_drops_a_response(peer: Peer, instances: list[Path]) -> None:
    """association.leave_responses."""
    configure_pynetdicom()
    entity = AE("SCANNER")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    entity.dimse_timeout = 1
    association = entity.associate(peer.host, peer.port)
    catch_the_reactor_between_two_steps(association, patience_s=10)
    assert "Status" not in association.send_c_store(instances[0]), "fixed: delete association.leave_responses"


def test_our_scu_gets_its_response_all_the_same(
    peer: Peer, instances: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    associate = AE.associate

    def caught(entity: AE, *arguments: Any, **keywords: Any) -> Association:
        association = associate(entity, *arguments, **keywords)
        catch_the_reactor_between_two_steps(association, patience_s=0.3)
        return association

    monkeypatch.setattr(AE, "associate", caught)
    outcomes = list(send(instances, peer, "SCANNER", timeouts=Timeouts(dimse_s=10)))
    assert [outcome.ok for outcome in outcomes] == [True, True, True]


def test_a_request_still_waits_where_the_peer_broke_the_protocol_and_closed(instances: list[Path]) -> None:
    """sockets.stop_waiting."""

    def store(event: evt.Event) -> int:
        connection = event.assoc.dul.socket.socket  # type: ignore[union-attr]
        connection.sendall(b"\x99\x00\x00\x00\x00\x04none")
        connection.shutdown(socket.SHUT_RDWR)
        return 0x0000

    archive = AE("ARCHIVE")
    archive.add_supported_context(CT, ExplicitVRLittleEndian)
    server = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    configure_pynetdicom()
    entity = AE("SCANNER")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    entity.dimse_timeout = 1.5
    started = time.monotonic()
    association = entity.associate(*server.server_address[:2])
    association.send_c_store(instances[0])
    waited_s = time.monotonic() - started
    server.shutdown()
    assert waited_s >= 1.5, "fixed: delete sockets.stop_waiting"
