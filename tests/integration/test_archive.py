"""Everything that is asked of an archive, with Debian's Orthanc and DCMTK's dcmqrscp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, generate_uid

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.network.archive import Archive, ArchiveAddress, move, open_archive
from dicom_node.network.association import Peer
from dicom_node.network.commitment import CommitmentAnswer, is_missing, request_commitment
from dicom_node.network.orthanc import delete_instances, delete_study
from dicom_node.network.status import Delivery
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import send
from dicom_node.network.stow import store
from dicom_node.storage.whole import WholeInstances
from tests.services import Orthanc, running_dcmqrscp, running_orthanc

pytestmark = pytest.mark.service("orthanc")

NAME = "Пупкин^Василий"


@dataclass
class Node:
    """The node's own SCP, which the archives know as MEDSEG."""

    scp: StorageSCP
    received: list[str] = field(default_factory=list)
    answers: Queue[CommitmentAnswer] = field(default_factory=Queue)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    def receive(instance: object) -> None:
        node.received.append(instance.sop_instance_uid)  # type: ignore[attr-defined]

    def committed(answer: CommitmentAnswer) -> None:
        node.answers.put(answer)

    with StorageSCP(StorageSCPSettings(port=0), WholeInstances(receive), committed=committed) as scp:
        node = Node(scp)
        yield node


@pytest.fixture(scope="module")
def orthanc(node: Node) -> Iterator[Orthanc]:
    modalities = {"medseg": ["MEDSEG", "127.0.0.1", node.scp.port]}
    # Orthanc answers in Latin-1 unless it is told otherwise, and leaves out the letters that this lacks.
    extra = {"DicomAlwaysAllowGet": True, "DefaultEncoding": "Utf8"}
    with running_orthanc(modalities=modalities, extra=extra) as service:
        yield service


@pytest.fixture(scope="module")
def web(orthanc: Orthanc) -> ArchiveAddress:
    peer = Peer(orthanc.ae_title, orthanc.host, orthanc.dicom_port)
    return ArchiveAddress(peer, f"{orthanc.url}/dicom-web", orthanc.url)


@pytest.fixture(scope="module")
def dcmqrscp(node: Node) -> Iterator[Peer]:
    with running_dcmqrscp({"MEDSEG": node.scp.port}) as service:
        yield Peer(service.ae_title, service.host, service.port)


@dataclass(frozen=True)
class Study:
    """Three uncompressed CT instances of one series and a compressed one of another."""

    patient_id: str
    study_uid: str
    ct: list[Path]
    compressed: Path

    @property
    def paths(self) -> list[Path]:
        return [*self.ct, self.compressed]

    @property
    def instances(self) -> list[tuple[str, str]]:
        return [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in map(pydicom.dcmread, self.paths)]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study_uid, series_uid, patient_id = generate_uid(), generate_uid(), generate_uid()[-16:]
    ct = [_written(tmp_path, "CT_small.dcm", study_uid, series_uid, patient_id) for _ in range(3)]
    compressed = _written(tmp_path, "JPEG2000.dcm", study_uid, generate_uid(), patient_id)
    return Study(patient_id, study_uid, ct, compressed)


def _written(folder: Path, source: str, study_uid: str, series_uid: str, patient_id: str) -> Path:
    instance = pydicom.dcmread(str(get_testdata_file(source)))
    instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.PatientID = study_uid, series_uid, patient_id
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    instance.SpecificCharacterSet, instance.PatientName = "ISO_IR 192", NAME
    instance.AccessionNumber, instance.StudyDate = patient_id[-8:], "20240229"
    path = folder / f"{instance.SOPInstanceUID}.dcm"
    instance.save_as(path)
    return path


@pytest.fixture(params=["Orthanc by DICOMweb", "Orthanc by DIMSE", "dcmqrscp"])
def archive(request: pytest.FixtureRequest, study: Study) -> Archive:
    """An archive that has the study."""
    if request.param == "dcmqrscp":
        address = ArchiveAddress(request.getfixturevalue("dcmqrscp"))
        outcomes = list(send(study.paths, address.peer, "MEDSEG"))
    else:
        address = request.getfixturevalue("web")
        outcomes = list(store(study.paths, address))
        if request.param == "Orthanc by DIMSE":
            address = ArchiveAddress(address.peer)
    assert all(outcome.ok for outcome in outcomes), outcomes
    return open_archive(address, "MEDSEG")


def _series(study: Study) -> str:
    return str(pydicom.dcmread(study.ct[0]).SeriesInstanceUID)


def test_what_is_there_is_found_by_every_key(archive: Archive, study: Study) -> None:
    (found,) = archive.studies(study_uid=study.study_uid)
    assert (found.study_uid, found.patient_id, found.patient_name) == (study.study_uid, study.patient_id, NAME)
    assert found.accession_number == study.patient_id[-8:]
    assert archive.studies(patient_id=study.patient_id) == [found]
    assert archive.studies(accession_number=found.accession_number, patient_id=study.patient_id) == [found]
    assert archive.studies(patient_id=study.patient_id, study_date="20240229-20240301") == [found]
    assert archive.studies(patient_id=study.patient_id, study_date="19000101-19000102") == []
    assert archive.studies(patient_id="*" + study.patient_id[1:]) == []


def test_series_and_instances_are_found(archive: Archive, study: Study) -> None:
    series = archive.series(study.study_uid)
    assert {one.modality for one in series} == {"CT", "NM"}
    assert [one.series_uid for one in archive.series(study.study_uid, modality="CT")] == [_series(study)]
    instances = archive.instances(study.study_uid, _series(study))
    # dcmqrscp does not tell SOP classes.
    assert {one.sop_class_uid for one in instances} <= {"", "1.2.840.10008.5.1.4.1.1.2"}
    assert {one.sop_instance_uid for one in instances} == {uid for _, uid in study.instances[:3]}
    assert archive.series("1.2.3") == [] and archive.instances("1.2.3", "1.2.4") == []


def test_a_study_comes_back_in_its_own_transfer_syntaxes(archive: Archive, study: Study, tmp_path: Path) -> None:
    paths = archive.retrieve(study.study_uid, tmp_path / "back")
    assert [path.name for path in paths] == sorted(path.name for path in study.paths)
    for path in paths:
        original, back = pydicom.dcmread(tmp_path / path.name), pydicom.dcmread(path)
        assert back.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert _without_padding(back) == _without_padding(original)
    syntaxes = {str(pydicom.dcmread(path).file_meta.TransferSyntaxUID) for path in paths}
    assert syntaxes == {ExplicitVRLittleEndian, JPEG2000}
    assert {path.name for path in (tmp_path / "back").iterdir()} == {path.name for path in paths}


def _without_padding(instance: Dataset) -> Dataset:
    """Without what DCMTK leaves out when it sends: group lengths and trailing padding carry nothing."""
    for element in list(instance):
        if element.tag.element == 0 or element.keyword == "DataSetTrailingPadding":
            del instance[element.tag]
    return instance


def test_a_series_and_an_instance_come_back_alone(archive: Archive, study: Study, tmp_path: Path) -> None:
    series_uid = _series(study)
    assert len(archive.retrieve(study.study_uid, tmp_path / "series", series_uid=series_uid)) == 3
    wanted = [study.instances[1][1], study.instances[2][1]]
    paths = archive.retrieve(study.study_uid, tmp_path / "two", series_uid=series_uid, sop_instance_uids=wanted)
    assert [path.stem for path in paths] == sorted(wanted)
    np.testing.assert_array_equal(
        pydicom.dcmread(tmp_path / "two" / f"{wanted[0]}.dcm").pixel_array, pydicom.dcmread(study.ct[1]).pixel_array
    )


def test_an_instance_that_is_not_there_is_missed(archive: Archive, study: Study, tmp_path: Path) -> None:
    with pytest.raises(PeerRejected, match=r"1\.2\.3\.4|did not come|status"):
        archive.retrieve(study.study_uid, tmp_path / "none", series_uid=_series(study), sop_instance_uids=["1.2.3.4"])
    assert archive.retrieve("1.2.3", tmp_path / "none") == []


# dcmqrscp sends nothing compressed unless it is told to, and then nothing else.
@pytest.mark.parametrize(("source", "of_the_study"), [("web", 4), ("dcmqrscp", 3)])
def test_a_move_brings_a_study_to_the_node(
    source: str, of_the_study: int, node: Node, study: Study, request: pytest.FixtureRequest
) -> None:
    chosen = request.getfixturevalue(source)
    peer = chosen.peer if isinstance(chosen, ArchiveAddress) else chosen
    assert all(outcome.ok for outcome in send(study.paths, peer, "MEDSEG"))
    assert move(peer, "MEDSEG", study.study_uid, "MEDSEG", series_uid=_series(study)) == 3
    assert {uid for _, uid in study.instances[:3]} <= set(node.received)
    assert move(peer, "MEDSEG", study.study_uid, "MEDSEG") == of_the_study
    with pytest.raises(PeerRejected, match=r"does not know NOBODY|C-MOVE"):
        move(peer, "MEDSEG", study.study_uid, "NOBODY")


def test_stow_keeps_the_bytes_and_says_again_what_is_there(orthanc: Orthanc, web: ArchiveAddress, study: Study) -> None:
    for _ in range(2):
        assert [outcome.delivery for outcome in store(study.paths, web)] == [Delivery.DELIVERED] * 4
    for path in study.paths:
        (found,) = orthanc.find_instances(SOPInstanceUID=path.stem)
        assert orthanc.get_bytes(f"/instances/{found}/file") == path.read_bytes()


def test_stow_in_part_tells_which_was_refused(web: ArchiveAddress, study: Study, tmp_path: Path) -> None:
    bad = pydicom.dcmread(study.ct[1])
    del bad.PatientID, bad.StudyInstanceUID, bad.SeriesInstanceUID
    bad.save_as(study.ct[1])
    outcomes = list(store(study.paths, web))
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True]
    assert outcomes[1].message


def test_stow_to_an_address_without_dicomweb_says_so(web: ArchiveAddress, study: Study) -> None:
    wrong = ArchiveAddress(web.peer, f"{web.orthanc_url}/nothing-here")
    with pytest.raises(PeerUnreachable, match="correct the archive's address"):
        next(store(study.paths, wrong))
    with pytest.raises(PeerUnreachable, match="correct the archive's address"):
        open_archive(wrong, "MEDSEG").series("1.2.3")


def test_commitment_is_answered_over_an_association_of_the_archive(
    node: Node, web: ArchiveAddress, study: Study
) -> None:
    assert all(outcome.ok for outcome in store(study.paths, web))
    missing = generate_uid()
    transaction_uid = generate_uid()
    asked = [*study.instances, (study.instances[0][0], missing)]
    assert request_commitment(web.peer, "MEDSEG", transaction_uid, asked, wait_s=0.1) is None
    answer = node.answers.get(timeout=30)
    assert answer.transaction_uid == transaction_uid
    assert answer.committed == {uid for _, uid in study.instances}
    assert list(answer.failed) == [missing] and is_missing(answer.failed[missing])


def test_an_archive_without_commitment_says_so(dcmqrscp: Peer) -> None:
    with pytest.raises(PeerRejected, match="offers no storage commitment"):
        request_commitment(dcmqrscp, "MEDSEG", generate_uid(), [("1.2.840.10008.5.1.4.1.1.2", "1.2.3")])


def test_instances_and_studies_are_deleted(web: ArchiveAddress, study: Study) -> None:
    assert all(outcome.ok for outcome in store(study.paths, web))
    first, second = study.instances[0][1], study.instances[1][1]
    assert delete_instances(web, [first, second, "1.2.3.4"]) == {first: True, second: True, "1.2.3.4": True}
    archive = open_archive(web, "MEDSEG")
    left = archive.instances(study.study_uid, _series(study))
    assert [one.sop_instance_uid for one in left] == [study.instances[2][1]]
    assert delete_study(web, study.study_uid) and delete_study(web, study.study_uid)
    assert archive.studies(study_uid=study.study_uid) == []
    assert len(list(store(study.paths, web))) == 4
