"""What peers say in their own words is cleaned in one place, and what may be a name is not logged."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_node.headers.plain import plain
from dicom_node.network.peer_text import peer_ae_title, peer_text, peer_uid
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, send
from dicom_node.network.stow_answer import read_stow_answer
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.whole import WholeInstances

CT = UID("1.2.840.10008.5.1.4.1.1.2")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no room", "no room"),
        (" a\0b\x1b[31m\r\nc\x85d ", "a b [31m c d"),
        ("\ud800 half", "half"),
        ("x\u202egnp.exe\u2028y", "x gnp.exe y"),
        ("肝臓 Ünïcode \u200cفارسی", "肝臓 Ünïcode \u200cفارسی"),
        ("\0" * 1_000_000 + "a", ""),
        ("", ""),
    ],
)
def test_no_control_is_left_and_every_writing_is(text: str, clean: str) -> None:
    assert peer_text(text) == clean
    assert peer_text("y" * 1000) == "y" * 200
    assert plain("y" * 1000) == "y" * 1000


def test_titles_and_uids() -> None:
    assert peer_ae_title("  SCAN\0NER\n        much longer ") == "SCAN NER much lo"
    assert (peer_uid("1.2.3"), peer_uid("Box^Anna"), peer_uid(None)) == ("1.2.3", "(no UID)", "(no UID)")


def test_an_error_comment_is_cleaned_and_stands_beside_the_message(instances: list[Path]) -> None:
    def refuse(event: evt.Event) -> Dataset:
        response = Dataset()
        response.Status, response.ErrorComment = 0xA900, "\0Box^Anna\x07 \0" + "x" * 300
        return response

    entity = AE("ARCHIVE")
    entity.add_supported_context(CT)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)])
    assert server is not None
    try:
        (outcome,) = send(instances[:1], Peer("ARCHIVE", "127.0.0.1", server.server_address[1]), "MEDSEG")
    finally:
        server.shutdown()
    assert outcome.message == "status 0xA900"
    assert outcome.comment == "Box^Anna " + "x" * 55
    assert outcome.told == f"status 0xA900: {outcome.comment}"


def test_a_name_in_the_place_of_a_uid_is_not_logged() -> None:
    def receive(received: ReceivedInstance) -> None:
        raise RuntimeError

    instance = Dataset()
    instance.SOPClassUID, instance.SOPInstanceUID = CT, "1.2.3"
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    with (
        structlog.testing.capture_logs() as logged,
        StorageSCP(StorageSCPSettings(port=0), WholeInstances(receive)) as scp,
    ):
        entity = AE("SCANNER")
        entity.add_requested_context(CT)
        association = entity.associate("127.0.0.1", scp.port)
        instance.SOPInstanceUID = UID("Box^Anna", validation_mode=0)
        association.send_c_store(instance)
        association.release()
    assert "Anna" not in str(logged)
    told = {line["sop_instance_uid"] for line in logged if "sop_instance_uid" in line}
    assert told == {"(no UID)"}


@pytest.mark.parametrize("reason", ["9" * 4000, "1e300", "-5", "0", "65536", "null", '"Box^Anna"', "[]"])
def test_a_reason_is_a_us_or_none(reason: str) -> None:
    failed = '{"00081198": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}, "00081197": {"vr": "US",'
    assert read_stow_answer(f'{failed} "Value": [{reason}]}}}}]}}}}'.encode()).failed == {"1.2": None}
