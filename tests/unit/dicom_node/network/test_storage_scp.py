"""The storage SCP without another program: starting, stopping, timeouts."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import structlog
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    BasicGrayscalePrintManagementMeta,
    CTImageStorage,
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelMove,
    UnifiedProcedureStepPush,
    Verification,
)

from dicom_node.errors import ListenError, PeerUnreachable
from dicom_node.identifiers import checked_uid
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, echo, send
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.whole import WholeInstances


def test_stopping_waits_for_the_instance_that_is_being_received(instances: list[Path]) -> None:
    receiving, may_go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def receive(received: ReceivedInstance) -> None:
        receiving.set()
        assert may_go_on.wait(30)
        done.append(received.sop_instance_uid)

    scp = StorageSCP(StorageSCPSettings(port=0), WholeInstances(receive))
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
    scp = StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None))
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
    with StorageSCP(StorageSCPSettings(ae_title="MEDSEG", port=0), WholeInstances(received.append)) as scp:
        (outcome,) = send(instances[:1], Peer("ANOTHER", "127.0.0.1", scp.port), "SCANNER")
    assert outcome.ok and [one.called_ae_title for one in received] == ["ANOTHER"]


@pytest.mark.parametrize(
    "service",
    [
        ModalityWorklistInformationFind,
        ModalityPerformedProcedureStep,
        UnifiedProcedureStepPush,
        BasicGrayscalePrintManagementMeta,
        StorageCommitmentPushModel,
        StudyRootQueryRetrieveInformationModelMove,
    ],
    ids=lambda uid: uid.name,
)
def test_services_that_are_not_offered_are_no_supported_abstract_syntax(service: UID) -> None:
    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None)) as scp:
        entity = AE("MODALITY")
        for uid in (Verification, service, CTImageStorage):
            entity.add_requested_context(uid)
        association = entity.associate("127.0.0.1", scp.port)
        assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification, CTImageStorage]
        (refused,) = association.rejected_contexts
        association.release()
    assert (refused.abstract_syntax, refused.result) == (service, 0x03)


@pytest.mark.parametrize("sop_class", ["1.2.840.113619.4.30", "1.2.840.10008.5.1.4.1.1.99999", "1.3.12.2.1107.5.9.1"])
def test_private_and_unknown_classes_are_stored(sop_class: str) -> None:
    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None)) as scp:
        entity = AE("SCANNER")
        entity.add_requested_context(sop_class)
        association = entity.associate("127.0.0.1", scp.port)
        assert [context.abstract_syntax for context in association.accepted_contexts] == [sop_class]
        association.release()


@pytest.mark.slow
def test_who_speaks_no_dicom_is_one_line_in_the_log() -> None:
    with (
        structlog.testing.capture_logs() as lines,
        StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None)) as scp,
    ):
        for hello in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x1d",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", scp.port)) as stranger:
                stranger.settimeout(20)
                stranger.sendall(hello)
                assert stranger.recv(1) == b"\x07", "A-ABORT"
    strange = [line for line in lines if line["log_level"] == "warning" and "peer_address" in line]
    assert [(line["event"], line["peer_address"]) for line in strange] == [("peer_did_not_speak_dicom", "127.0.0.1")]
    assert "TLS or HTTP" in strange[0]["remedy"]


def test_the_comment_of_a_refusal_names_the_identifier_that_is_wrong() -> None:
    def receive(received: ReceivedInstance) -> None:
        checked_uid("1." + "3" * 68, "Series Instance UID")

    comments = []
    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(receive)) as scp:
        entity = AE("SCANNER")
        entity.add_requested_context(CTImageStorage)
        association = entity.associate("127.0.0.1", scp.port)
        instance = Dataset()
        instance.SOPClassUID, instance.SOPInstanceUID = CTImageStorage, "1.2.3"
        instance.file_meta = FileMetaDataset()
        instance.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        status = association.send_c_store(instance)
        comments.append((status.Status, status.ErrorComment))
        association.release()
    assert comments == [(0xA900, "Series Instance UID has 70 characters; a UID has at most 64")]


def test_it_can_be_started_again_and_stopped_twice() -> None:
    scp = StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None))
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
            StorageSCP(StorageSCPSettings(host=host, port=0), WholeInstances(lambda received: None)).start()


def test_who_connects_and_says_nothing_is_hung_up_on() -> None:
    settings = StorageSCPSettings(port=0, acse_timeout_s=0.2)
    with (
        StorageSCP(settings, WholeInstances(lambda received: None)) as scp,
        socket.create_connection(("127.0.0.1", scp.port)) as mute,
    ):
        mute.settimeout(20)
        assert mute.recv(1) == b""


def test_an_association_without_traffic_is_ended() -> None:
    ended = threading.Event()
    settings = StorageSCPSettings(port=0, network_timeout_s=0.3)
    with StorageSCP(settings, WholeInstances(lambda received: None)) as scp:
        entity = AE("IDLER")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate(
            "127.0.0.1", scp.port, evt_handlers=[(evt.EVT_CONN_CLOSE, lambda event: ended.set())]
        )
        assert association.is_established
        assert ended.wait(20)
