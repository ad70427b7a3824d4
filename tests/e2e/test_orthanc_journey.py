"""A study's whole way: Orthanc routes it to the node, SEG and SR come back into the same study, once.

Everything is real and in processes of its own: Orthanc with the shipped script, RabbitMQ with quorum queues,
PostgreSQL, and the node as a hospital runs it, each role by the command.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from dicom_node.commissioning.marker import Marker, burn_in_marker
from dicom_node.headers.rejection import RejectionCode, rejection_note
from dicom_node.network.storage_scu import send
from dicom_node.results.stored_segmentation import read_segment_points
from tests.services import await_true, missing

if TYPE_CHECKING:
    from tests.e2e.conftest import Hospital

COMMAND = Path(sys.executable).with_name("medseg-node")

MODEL_PATIENCE_S = 400.0


@pytest.fixture(scope="module")
def abdomen(shared_data: Path) -> list[Path]:
    """The abdominal CT, 20 JPEG 2000 slices, as its scanner wrote them."""
    return sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())


@pytest.fixture(scope="module")
def marked(abdomen: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Marker]:
    """The same with a bright box, and a patient whose name needs the source's character set."""
    files, markers = burn_in_marker(abdomen, tmp_path_factory.mktemp("marked"))
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = "Kellermann^Zoë", "19510203", "F"
        dataset.AccessionNumber, dataset.StudyID = "A-4711", "77"
        dataset.save_as(file)
    (marker,) = markers.values()
    return files, marker


def bright_points(files: list[Path]) -> NDArray[np.float64]:
    """Centres of the voxels above 90 % of what their bits allow, `points 3` mm LPS, straight from PS3.3 C.7.6.2.1.1."""
    points = []
    for dataset in map(pydicom.dcmread, files):
        rows, columns = np.nonzero(dataset.pixel_array > 0.9 * ((1 << int(dataset.BitsStored)) - 1))
        cosines, (down, right) = (
            np.array(dataset.ImageOrientationPatient, dtype=float),
            map(float, dataset.PixelSpacing),
        )
        origin = np.array(dataset.ImagePositionPatient, dtype=float)
        points.append(origin + np.outer(columns * right, cosines[:3]) + np.outer(rows * down, cosines[3:]))
    return np.concatenate(points)


def in_order(points: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded = np.round(points, 2)
    return rounded[np.lexsort(rounded.T)]


def require_valid(results: dict[str, Dataset], source: Dataset, questions: list[str]) -> None:
    """What other people's checkers say, and whose patient and study it is."""
    for kind, dataset in results.items():
        checked = subprocess.run(["dciodvfy", dataset.filename], capture_output=True, text=True, timeout=60)
        errors = [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]
        assert not errors, f"{kind}: {errors}"
        for element in source.group_dataset(0x0010):
            assert dataset.get(element.tag) == element, f"{kind}: {element.keyword}"
        for keyword in (
            "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
            "FrameOfReferenceUID",
        ):  # fmt: skip
            if kind == "SEG" or keyword != "FrameOfReferenceUID":
                assert (dataset.get(keyword) or "") == (source.get(keyword) or ""), f"{kind}: {keyword}"
    dumped = subprocess.run(
        ["/usr/bin/dsrdump", "+Pl", "+U8", results["SR"].filename], capture_output=True, text=True, timeout=60
    )
    assert dumped.returncode == 0, dumped.stderr
    assert all(question in dumped.stdout for question in questions), dumped.stdout


def require_checkers() -> None:
    for program, package in (("dciodvfy", "dicom3tools"), ("dsrdump", "dcmtk")):
        if not Path("/usr/bin", program).exists():
            missing(program, package)


class TestCommissioning:
    """No model: what is bright must come back where it is."""

    def test_a_marker_comes_back_into_the_archive_where_it_was_burnt_in(
        self, commissioning: Hospital, marked: tuple[list[Path], Marker]
    ) -> None:
        require_checkers()
        files, marker = marked
        study_uid = commissioning.send(files)
        results = commissioning.await_delivered(study_uid)
        assert set(results) == {"SEG", "SR"}

        status = commissioning.node.status(study_uid)
        assert (status["state"], status["generation"], status["accession_number"]) == ("DELIVERED", 1, "A-4711")
        (job,) = status["jobs"]
        require_valid(results, pydicom.dcmread(files[0]), [job["question"]])

        series_uid, points = read_segment_points(Path(str(results["SEG"].filename)))
        assert series_uid == pydicom.dcmread(files[0]).SeriesInstanceUID
        assert (np.abs(points.min(axis=0) - marker.low) <= marker.voxel).all()
        assert (np.abs(points.max(axis=0) - marker.high) <= marker.voxel).all()
        np.testing.assert_allclose(in_order(points), in_order(bright_points(files)), atol=0.011)
        assert job["findings"][0]["voxels"] == len(points)

        for role in commissioning.node.processes:
            assert "Kellermann" not in commissioning.node.log(role), f"a patient's name in the log of {role}"

    def test_the_segmentation_reads_back_with_highdicom_and_the_report_names_it(
        self, commissioning: Hospital, marked: tuple[list[Path], Marker]
    ) -> None:
        files, marker = marked
        study_uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
        results = commissioning.await_delivered(study_uid)
        segmentation = hd.seg.segread(results["SEG"].filename)
        volume = segmentation.get_volume(combine_segments=False, skip_overlap_checks=True)
        corners = volume.map_indices_to_reference(np.argwhere(volume.array.any(axis=-1)))
        np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [marker.low, marker.high], atol=0.01)

        report = hd.sr.srread(results["SR"].filename)
        assert isinstance(report, hd.sr.Comprehensive3DSR)
        (group,) = report.content.get_volumetric_roi_measurement_groups()
        assert group.tracking_uid == segmentation.SegmentSequence[0].TrackingUID
        assert group.referenced_segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID

    def test_own_results_and_identical_instances_that_come_again_start_nothing(
        self, commissioning: Hospital, marked: tuple[list[Path], Marker]
    ) -> None:
        files, _ = marked
        archive, node = commissioning.archive, commissioning.node
        study_uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
        results = commissioning.await_delivered(study_uid)
        # Stable once as it came in, once more with our results.
        await_true(lambda: commissioning.times_stable(study_uid) >= 2, "the study's second stable period")
        indexed = lambda: sum(line["count"] for line in node.events("scp", "instances_indexed"))  # noqa: E731
        before = indexed()

        # An archive without our script sends everything that it has, our results among it.
        identifier = commissioning.api.studies.lookup(study_uid)
        answer = archive.post("/modalities/medseg-node/store", {"Resources": [identifier], "Synchronous": True})
        assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (len(files) + 2, 0)
        outcomes = list(send([Path(str(one.filename)) for one in results.values()], node.peer, "OTHER"))
        assert all(outcome.ok for outcome in outcomes)

        # What is indexed has its row: what it would start would be seen by then.
        await_true(lambda: len(node.events("scp", "own_result_ignored")) == 4, "own results are dropped")
        await_true(lambda: indexed() - before == len(files), "what came again is indexed")
        ((generation, state),) = node.query("SELECT generation, state FROM studies WHERE study_uid = %s", study_uid)
        assert (generation, state) == (1, "DELIVERED")
        assert node.query("SELECT count(*) FROM studies WHERE study_uid = %s", study_uid) == [(1,)]
        assert node.query("SELECT count(*) FROM instances WHERE study_uid = %s", study_uid) == [(len(files),)]
        assert node.query("SELECT count(*) FROM jobs WHERE study_uid = %s", study_uid) == [(1,)]
        assert {kind: one.SOPInstanceUID for kind, one in commissioning.results(study_uid).items()} == {
            kind: one.SOPInstanceUID for kind, one in results.items()
        }

    def test_a_killed_inference_worker_loses_nothing_and_delivers_once(
        self, commissioning: Hospital, abdomen: list[Path]
    ) -> None:
        node = commissioning.node
        study_uid = commissioning.send(abdomen)
        await_true(
            lambda: node.events("inference", "job_claimed", study_uid=study_uid), "the claim", 120.0, pause_s=0.01
        )
        node.kill("inference")
        ((state, attempts),) = node.query("SELECT state, attempts FROM jobs WHERE study_uid = %s", study_uid)
        assert (state, attempts) == ("PREDICTING", 1), "the worker was killed too late for this test to show anything"

        node.start("inference")
        results = commissioning.await_delivered(study_uid)
        ((attempts,),) = node.query("SELECT attempts FROM jobs WHERE study_uid = %s", study_uid)
        assert attempts == 2
        assert set(results) == {"SEG", "SR"}
        (claimed,) = node.events("inference", "job_claimed", study_uid=study_uid, attempt=2)
        assert len(node.events("io", "result_sent", study_uid=study_uid)) == 2, claimed

    def test_the_archive_commits_itself_to_every_object_on_an_association_of_its_own(
        self, commissioning: Hospital, marked: tuple[list[Path], Marker]
    ) -> None:
        study_uid = str(pydicom.dcmread(marked[0][0]).StudyInstanceUID)
        commissioning.await_delivered(study_uid)
        node = commissioning.node
        await_true(lambda: node.confirmed(study_uid) == [("SEG", 1), ("SR", 1)], "the archive's commitment")
        assert node.events("scp", "commitment_answered"), "it came to our own port"
        assert all(one["committed_at"] for one in node.status(study_uid)["jobs"][0]["results"])

    def test_a_late_image_replaces_the_results_and_a_note_takes_the_old_ones_back(
        self, commissioning: Hospital, marked: tuple[list[Path], Marker], tmp_path: Path
    ) -> None:
        node, files = commissioning.node, []
        for path in marked[0]:
            dataset = pydicom.dcmread(path)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(dataset, keyword, f"{dataset[keyword].value[:50]}.7")
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            files.append(tmp_path / path.name)
            dataset.save_as(files[-1])
        study_uid = commissioning.send(files[:-1])
        old = commissioning.await_delivered(study_uid)
        commissioning.send(files[-1:])
        await_true(lambda: node.status(study_uid)["generation"] == 2, "the second generation")

        def notes() -> list[str]:
            return commissioning.archive.find_instances(Modality="KO", StudyInstanceUID=study_uid)

        (identifier,) = await_true(notes, "the rejection note", 120.0)
        note = rejection_note(note_file := commissioning.read(identifier))
        assert note is not None and note.code is RejectionCode.QUALITY
        assert {one.sop_instance_uid for one in note.references} == {one.SOPInstanceUID for one in old.values()}
        assert len(commissioning.archive.find_instances(Modality="SR", StudyInstanceUID=study_uid)) == 2
        assert node.state(study_uid) == "DELIVERED"
        everything = [("REJECTION", 1), ("SEG", 1), ("SEG", 1), ("SR", 1), ("SR", 1)]
        await_true(lambda: node.confirmed(study_uid) == everything, "the archive's commitment to all of them")
        explained = subprocess.run(
            [COMMAND, "explain", study_uid, "--config", str(node.config)],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip
        assert " ".join(explained.split()).count("taken back at") == 2
        outcomes = list(send([Path(str(note_file.filename))], node.peer, "OTHER"))
        assert all(outcome.ok for outcome in outcomes)
        assert node.query("SELECT count(*) FROM rejections") == [(0,)], "our own note rejects no image"

    def test_the_queues_are_quorum_queues_and_empty_in_the_end(self, commissioning: Hospital) -> None:
        virtual_host = commissioning.node.broker_url.rsplit("/", 1)[1]

        def queues() -> dict[str, tuple[str, str]]:
            listed = commissioning.broker.control("list_queues", "-p", virtual_host, "name", "type", "messages")
            rows = [line.split("\t") for line in listed.splitlines()]
            return {
                name: (kind, messages) for name, kind, messages in rows if name in ("planning", "inference", "delivery")
            }

        await_true(
            lambda: queues() == dict.fromkeys(("planning", "inference", "delivery"), ("quorum", "0")),
            "empty quorum queues",
        )

    def test_a_broker_that_goes_away_delays_a_study_and_loses_nothing(self, commissioning: Hospital) -> None:
        node, broker = commissioning.node, commissioning.broker
        broker.control("stop_app")
        try:
            study_uid = commissioning.send([Path(str(get_testdata_file("CT_small.dcm")))])
            await_true(lambda: node.events("scheduler", "broker_away", identifier=study_uid), "the warning", 60.0)
            assert node.state(study_uid) == "COMPLETE"
        finally:
            broker.control("start_app")
        assert "SR" in commissioning.await_delivered(study_uid)


@pytest.mark.timeout(600)
class TestShipped:
    """The checkpoint in the repository."""

    def test_the_shipped_model_answers_the_protocol_that_fits(self, shipped: Hospital, abdomen: list[Path]) -> None:
        require_checkers()
        study_uid = shipped.send(abdomen)
        results = shipped.await_delivered(study_uid, MODEL_PATIENCE_S)
        status = shipped.node.status(study_uid)
        assert (status["protocol"], status["generation"]) == ("abdominal-ct 2", 1)
        assert "SR" in results
        require_valid(results, pydicom.dcmread(abdomen[0]), [job["question"] for job in status["jobs"]])
        assert all("research use only" in dataset.SeriesDescription for dataset in results.values())

        findings = [finding for job in status["jobs"] for finding in job["findings"]]
        assert ("SEG" in results) == bool(findings)
        planes = np.unique([float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in abdomen])
        for number, finding in enumerate(findings, start=1):
            series_uid, points = read_segment_points(Path(str(results["SEG"].filename)), number)
            assert series_uid == pydicom.dcmread(abdomen[0]).SeriesInstanceUID
            assert len(points) == finding["voxels"], finding["label"]
            assert np.isin(np.round(points[:, 2], 3), np.round(planes, 3)).all()
