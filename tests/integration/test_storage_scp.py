"""The Storage SCP against DCMTK's tools."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom.association import Association
from structlog.testing import capture_logs

from dicom_node.errors import DicomNodeError, PeerUnreachable, PortInUse
from dicom_node.headers.instance import read_identifiers
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Delivery, Peer, echo, send
from dicom_node.storage.instance import ReceivedInstance, StoredInstance, WriteOutcome
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.part10 import data_set_offset, part10_prefix
from dicom_node.storage.whole import WholeInstances
from tests.services import Orthanc, await_true, free_port, missing

pytestmark = pytest.mark.service("dcmtk")

ECHOSCU, STORESCU, DCMSEND = (Path("/usr/bin") / name for name in ("echoscu", "storescu", "dcmsend"))
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
CORNERSTONE = "dicom/cornerstone3D/packages/dicomImageLoader/examplesOld/test-images"


@pytest.fixture(autouse=True, scope="module")
def dcmtk() -> None:
    if not DCMSEND.exists():
        missing("DCMTK", "dcmtk")


@dataclass
class Node:
    store: InstanceStore
    stored: list[StoredInstance] = field(default_factory=list)
    port: int = 0

    def receive(self, received: ReceivedInstance) -> None:
        self.stored.append(self.store.write(self.store.inspect(received)))

    def held(self) -> list[Path]:
        return [path for study_uid in self.store.study_uids() for path in self.store.files_of(study_uid)]

    def only(self) -> StoredInstance:
        (one,) = self.stored
        return one


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(InstanceStore(tmp_path / "store", minimum_free_bytes=0))
    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(node.receive)) as scp:
        node.port = scp.port
        yield node


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(one) for one in arguments], capture_output=True, text=True, timeout=60, check=False)


def storescu(node: Node, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(STORESCU, "-v", "-aet", "SCANNER", "-aec", "MEDSEG", *options, "127.0.0.1", node.port, path)


def data_set_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(data_set_offset(file))
        return file.read()


def a_ct(path: Path, **changes: object) -> Path:
    """pydicom's small CT with a file meta that agrees with its data set."""
    instance = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    for keyword, value in changes.items():
        setattr(instance, keyword, value)
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.save_as(path, enforce_file_format=True)
    return path


def test_answers_c_echo(node: Node) -> None:
    assert run(ECHOSCU, "127.0.0.1", node.port).returncode == 0
    echo(Peer("MEDSEG", "127.0.0.1", node.port), "SCANNER")


def test_rejects_an_unknown_calling_ae_and_says_why() -> None:
    settings = StorageSCPSettings(port=0, allowed_calling_ae=("SCANNER",))
    with capture_logs() as logs, StorageSCP(settings, WholeInstances(lambda received: None)) as scp:
        stranger = run(ECHOSCU, "-v", "-aet", "STRANGER", "127.0.0.1", scp.port)
        known = run(ECHOSCU, "-v", "-aet", "SCANNER", "127.0.0.1", scp.port)
        with pytest.raises(PeerUnreachable, match=r"[Cc]alling AE title not recogni[sz]ed"):
            echo(Peer("MEDSEG", "127.0.0.1", scp.port), "STRANGER")
    assert stranger.returncode != 0
    assert "Calling AE Title Not Recognized" in stranger.stdout + stranger.stderr
    assert known.returncode == 0
    rejected = next(entry for entry in logs if entry["event"] == "association_rejected")
    assert rejected["calling_ae_title"] == "STRANGER"
    assert not any(entry["event"] == "every_calling_ae_allowed" for entry in logs)


def test_warns_when_every_calling_ae_is_allowed() -> None:
    with capture_logs() as logs, StorageSCP(StorageSCPSettings(port=0), WholeInstances(lambda received: None)):
        pass
    assert any(entry["event"] == "every_calling_ae_allowed" and entry["log_level"] == "warning" for entry in logs)


def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} .*set another"):
            StorageSCP(StorageSCPSettings(port=port), WholeInstances(lambda received: None)).start()


def repaired(path: Path, into: Path) -> Path:
    """A copy with the same data set and a file meta that agrees with it; not all originals have one."""
    identifiers = read_identifiers(path)
    data_set = data_set_bytes(path)
    transfer_syntax = str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)
    received = ReceivedInstance(data_set, identifiers.sop_class_uid, identifiers.sop_instance_uid, transfer_syntax)
    into.write_bytes(part10_prefix(received) + data_set)
    return into


@pytest.fixture
def every_syntax(shared_data: Path, tmp_path: Path) -> dict[str, Path]:
    """A file per transfer syntax that DCMTK knows."""
    # DCMTK cannot take UIDs from the J2K and near-lossless files of the series: all their VRs are UN.
    others = [
        shared_data / "dicom/pydicom/src/pydicom/data/test_files/MR_small_jp2klossless.dcm",
        shared_data / "dicom/pydicom/src/pydicom/data/test_files/693_J2KI.dcm",
        shared_data / CORNERSTONE / "../../testImages/TestPattern_JPEG-LS-NearLossless.dcm",
    ]
    found: dict[str, Path] = {}
    for path in [*others, *sorted((shared_data / CORNERSTONE).glob("CTImage.dcm_*"))]:
        transfer_syntax = str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)
        if transfer_syntax not in found:
            found[transfer_syntax] = repaired(path, tmp_path / path.name)
    assert len(found) == 15
    return found


# Each makes DCMTK propose the file's own syntax first, so that it converts nothing.
DCMTK_PROPOSAL = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.2": "-xb",
}


REWRITTEN_BY_DCMTK = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}


def _elements(path: Path) -> list[tuple[int, object]]:
    return [(one.tag, one.value) for one in pydicom.dcmread(path) if one.tag.element != 0 and one.tag != 0xFFFCFFFC]


def test_every_transfer_syntax_arrives_byte_for_byte(node: Node, every_syntax: dict[str, Path]) -> None:
    for transfer_syntax, path in every_syntax.items():
        if transfer_syntax in DCMTK_PROPOSAL:
            result = storescu(node, path, DCMTK_PROPOSAL[transfer_syntax])
        else:
            result = run(DCMSEND, "-v", "--decompress-never", "-aec", "MEDSEG", "127.0.0.1", node.port, path)
        assert result.returncode == 0, f"{transfer_syntax}: {result.stdout}{result.stderr}"
    arrived = {one.transfer_syntax_uid: data_set_bytes(node.store.absolute(one.path)) for one in node.stored}
    assert set(arrived) == set(every_syntax)
    changed = {uid for uid, path in every_syntax.items() if arrived[uid] != data_set_bytes(path)}
    # DCMTK itself deflates anew, and leaves group lengths and padding out.
    assert changed == REWRITTEN_BY_DCMTK
    for uid in changed:
        (stored,) = (one for one in node.stored if one.transfer_syntax_uid == uid)
        assert _elements(node.store.absolute(stored.path)) == _elements(every_syntax[uid])


def test_every_kind_of_shared_instance_arrives_byte_for_byte(node: Node, shared_data: Path, tmp_path: Path) -> None:
    kinds: dict[tuple[str, str], Path] = {}
    for path in sorted((shared_data / "dicom").rglob("*")):
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            kind = (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
            if kind not in kinds:
                kinds[kind] = repaired(path, tmp_path / f"{len(kinds)}.dcm")
        except (OSError, AttributeError, pydicom.errors.InvalidDicomError, DicomNodeError):
            continue  # no DICOM, no UIDs or no file meta
    assert len(kinds) > 50
    paths = list(kinds.values())
    outcomes = list(send(paths, Peer("MEDSEG", "127.0.0.1", node.port), "SCANNER"))
    assert [one.path for one in outcomes if not one.ok] == []
    assert [one.path for one in outcomes] == paths
    arrived = [data_set_bytes(node.store.absolute(one.path)) for one in node.stored]
    assert arrived == [data_set_bytes(path) for path in paths]


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
        "1.2.840.10008.1.2.4.100",  # MPEG2
        "1.2.840.10008.1.2.4.999",  # of a later edition of the standard
        "1.2.826.0.1.3680043.10.1234.99",  # private
    ],
)
def test_a_syntax_that_nobody_here_decodes_arrives_too(node: Node, tmp_path: Path, transfer_syntax: str) -> None:
    path = a_ct(tmp_path / "ct.dcm")
    data_set = data_set_bytes(path)
    received = ReceivedInstance(data_set, CT_IMAGE_STORAGE, read_identifiers(path).sop_instance_uid, transfer_syntax)
    path.write_bytes(part10_prefix(received) + data_set)
    assert store_raw(node, path) == 0x0000
    assert node.only().transfer_syntax_uid == transfer_syntax
    assert data_set_bytes(node.store.absolute(node.only().path)) == data_set


def test_who_sent_it_and_what_made_it_are_known(node: Node, tmp_path: Path) -> None:
    assert storescu(node, a_ct(tmp_path / "ct.dcm", DeviceSerialNumber="4711")).returncode == 0
    stored = node.only()
    assert (stored.calling_ae_title, stored.called_ae_title, stored.peer_address) == ("SCANNER", "MEDSEG", "127.0.0.1")
    assert stored.header.modality == "CT"
    assert stored.header.device.manufacturer == "GE MEDICAL SYSTEMS"
    assert stored.header.device.serial_number == "4711"
    assert node.store.read(stored.path).calling_ae_title == "SCANNER"


def test_a_resend_is_identical_and_a_change_lies_beside(node: Node, tmp_path: Path) -> None:
    first = a_ct(tmp_path / "first.dcm")
    changed = a_ct(tmp_path / "changed.dcm", StudyDescription="other")
    for path in (first, first, changed, changed, first):
        assert storescu(node, path).returncode == 0
    new, identical = WriteOutcome.NEW, WriteOutcome.IDENTICAL
    assert [one.outcome for one in node.stored] == [new, identical, WriteOutcome.CHANGED, identical, identical]
    assert len({one.path for one in node.stored}) == 2
    assert len(node.held()) == 2


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
def test_identifiers_other_than_the_commands_are_refused_with_a900(node: Node, tmp_path: Path, keyword: str) -> None:
    path = a_ct(tmp_path / "ct.dcm")
    instance = pydicom.dcmread(path)
    # The SCU takes the command's UIDs from the file meta.
    instance.file_meta[f"MediaStorage{keyword}"].value = (
        UID("1.2.840.10008.5.1.4.1.1.4") if keyword == "SOPClassUID" else generate_uid()
    )
    pydicom.dcmwrite(path, instance, enforce_file_format=False)
    assert store_raw(node, path) == 0xA900
    assert node.held() == []


def test_missing_uids_are_refused_with_a900(node: Node, tmp_path: Path) -> None:
    path = a_ct(tmp_path / "ct.dcm")
    instance = pydicom.dcmread(path)
    del instance.StudyInstanceUID
    pydicom.dcmwrite(path, instance, enforce_file_format=False)
    assert store_raw(node, path) == 0xA900


@pytest.mark.parametrize("rubbish", [b"\xff" * 4000, b"this is a letter, not an image. " * 100, b""])
def test_bytes_that_are_no_data_set_are_refused_with_c000(node: Node, tmp_path: Path, rubbish: bytes) -> None:
    path = a_ct(tmp_path / "ct.dcm")
    with path.open("rb") as file:
        offset = data_set_offset(file)
    path.write_bytes(path.read_bytes()[:offset] + rubbish)
    assert store_raw(node, path) == 0xC000
    assert node.held() == []


def store_raw(node: Node, path: Path) -> int | None:
    """Send a file that our own SCU would not: pynetdicom with the file meta's word for it."""
    from pynetdicom import AE

    from dicom_node.network.contexts import configure_pynetdicom

    configure_pynetdicom()
    meta = pydicom.filereader.read_file_meta_info(path)
    entity = AE("SCANNER")
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", node.port, ae_title="MEDSEG")
    try:
        return association.send_c_store(path).get("Status")
    finally:
        association.release()


def test_no_room_is_answered_with_a700_and_storescu_says_so(tmp_path: Path) -> None:
    store = InstanceStore(tmp_path / "store", minimum_free_bytes=2**62)
    with StorageSCP(
        StorageSCPSettings(port=0), WholeInstances(lambda received: store.write(store.inspect(received)))
    ) as scp:
        result = run(STORESCU, "-v", "127.0.0.1", scp.port, a_ct(tmp_path / "ct.dcm"))
        (outcome,) = send([tmp_path / "ct.dcm"], Peer("MEDSEG", "127.0.0.1", scp.port), "SCANNER")
    assert "Refused: OutOfResources" in result.stdout + result.stderr
    assert (outcome.status, outcome.delivery) == (0xA700, Delivery.TRY_AGAIN)
    assert "no room" in outcome.told


def test_an_unforeseen_error_is_a_processing_failure_and_the_node_lives_on(tmp_path: Path) -> None:
    def receive(received: ReceivedInstance) -> None:
        raise RuntimeError("the database is gone")

    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(receive)) as scp:
        peer = Peer("MEDSEG", "127.0.0.1", scp.port)
        first, second = send([a_ct(tmp_path / "a.dcm"), a_ct(tmp_path / "b.dcm")], peer, "SCANNER")
    assert (first.status, second.status) == (0x0110, 0x0110)
    assert "database" not in first.told


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.826.0.1.3680043.10.1234.5.6",  # private
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.999.1",  # of a later edition of the standard
    ],
)
def test_private_and_new_sop_classes_are_stored(node: Node, tmp_path: Path, sop_class: str) -> None:
    path = a_ct(tmp_path / "one.dcm", SOPClassUID=UID(sop_class))
    (outcome,) = send([path], Peer("MEDSEG", "127.0.0.1", node.port), "SCANNER")
    assert outcome.ok
    assert node.only().sop_class_uid == sop_class
    assert data_set_bytes(node.store.absolute(node.only().path)) == data_set_bytes(path)


def test_more_kinds_than_an_association_has_contexts_for(node: Node, tmp_path: Path) -> None:
    paths = [
        a_ct(tmp_path / f"{number}.dcm", SOPClassUID=UID(f"1.2.826.0.1.3680043.10.1234.{number}"), SOPInstanceUID=uid)
        for number, uid in ((number, generate_uid()) for number in range(1, 71))
    ]
    outcomes = list(send(paths, Peer("MEDSEG", "127.0.0.1", node.port), "SCANNER"))
    assert [one.path for one in outcomes] == paths
    assert all(one.ok for one in outcomes)


def test_a_file_that_claims_more_pixels_than_it_has_is_stored(node: Node, tmp_path: Path) -> None:
    path = a_ct(tmp_path / "ct.dcm")
    path.write_bytes(path.read_bytes()[:-9000])
    (outcome,) = send([path], Peer("MEDSEG", "127.0.0.1", node.port), "SCANNER")
    assert outcome.ok
    assert data_set_bytes(node.store.absolute(node.only().path)) == data_set_bytes(path)


def test_who_asks_while_others_send_is_rejected_for_now(tmp_path: Path) -> None:
    from pynetdicom import AE

    with StorageSCP(StorageSCPSettings(port=0, maximum_associations=1), WholeInstances(lambda received: None)) as scp:
        entity = AE("FIRST")
        entity.add_requested_context(CT_IMAGE_STORAGE, ExplicitVRLittleEndian)
        first = entity.associate("127.0.0.1", scp.port)
        assert first.is_established
        busy = threading.Thread(
            target=_send_for_ever, args=(first, a_ct(tmp_path / "ct.dcm"), stop := threading.Event())
        )
        busy.start()
        try:
            with pytest.raises(PeerUnreachable, match=r"[Ll]ocal limit exceeded"):
                echo(Peer("MEDSEG", "127.0.0.1", scp.port), "SECOND")
        finally:
            stop.set()
            busy.join(30)
        first.release()


def _send_for_ever(association: Association, path: Path, stop: threading.Event) -> None:
    while not stop.is_set():
        assert association.send_c_store(path).Status == 0x0000


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(PeerUnreachable):
        list(send([a_ct(tmp_path / "ct.dcm")], Peer("ARCHIVE", "127.0.0.1", port), "MEDSEG"))


def test_an_archive_that_takes_implicit_vr_only_gets_it(tmp_path: Path) -> None:
    """storescp +xi accepts Implicit VR Little Endian only."""
    port = free_port()
    into = tmp_path / "archive"
    into.mkdir()
    path = a_ct(tmp_path / "ct.dcm")
    assert pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID == ExplicitVRLittleEndian
    with subprocess.Popen(["/usr/bin/storescp", "+xi", "-od", str(into), str(port)]) as archive:
        try:
            await_true(lambda: _listens(port), "storescp listening")
            (outcome,) = send([path], Peer("ARCHIVE", "127.0.0.1", port), "MEDSEG")
        finally:
            archive.terminate()
    assert outcome.ok
    (arrived,) = into.iterdir()
    assert pydicom.dcmread(arrived).PixelData == pydicom.dcmread(path).PixelData


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_orthanc_takes_what_we_send_and_sends_it_on_to_us(
    node: Node, start_orthanc: Callable[..., Orthanc], tmp_path: Path
) -> None:
    archive = start_orthanc(modalities={"node": ["MEDSEG", "127.0.0.1", node.port]})
    path = a_ct(tmp_path / "ct.dcm")
    peer = Peer(archive.ae_title, "127.0.0.1", archive.dicom_port)
    echo(peer, "MEDSEG")
    (outcome,) = send([path], peer, "MEDSEG")
    assert outcome.ok
    archive.post("/modalities/node/store", archive.get("/instances"))
    assert node.only().sop_instance_uid == outcome.sop_instance_uid
    assert _elements(node.store.absolute(node.only().path)) == _elements(path)
