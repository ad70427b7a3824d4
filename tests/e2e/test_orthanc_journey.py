"""A study's whole way: Orthanc routes it to the node, SEG and SR come back into the same study, once.

Everything is real and in processes of its own: Orthanc with the shipped script, RabbitMQ with quorum queues,
PostgreSQL, and the node as a hospital runs it, each role by the command.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import psycopg
import pydicom
import pytest
from numpy.typing import NDArray
from orthanc_api_client import OrthancApiClient
from pydicom.dataset import Dataset

from dicom_node.network.storage_scu import Peer, echo, send
from dicom_node.results.codes import MANUFACTURER
from dicom_node.results.gate import read_segment_points
from dicom_node.volumes.marker import Marker, burn_in_marker
from tests.services import Orthanc, Postgres, RabbitMQ, await_true, free_port, missing, running_orthanc

COMMAND = Path(sys.executable).with_name("medseg-node")
SHIPPED = Path("inference") / "weights" / "tiny"
ROLES = {
    "scp": ("scp",),
    "scheduler": ("scheduler",),
    "io": ("worker", "--role", "io"),
    "inference": ("worker", "--role", "inference"),
}
PATIENCE_S = 120.0
LEASE_S = 3.0


@dataclass
class Node:
    """A node of four processes, and what it writes."""

    folder: Path
    port: int
    database_url: str
    broker_url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "medseg-node.toml"

    @property
    def peer(self) -> Peer:
        return Peer("MEDSEG", "127.0.0.1", self.port)

    def configure(self, checkpoint: str, archive: Orthanc) -> None:
        self.config.write_text(f"""
            [node]
            port = {self.port}
            data_dir = "data"
            quiet_period_s = 1.0
            scheduler_interval_s = 0.2
            lease_s = {LEASE_S}
            allowed_calling_ae = ["{archive.ae_title}", "OTHER"]
            log_format = "json"
            [database]
            url = "{self.database_url}"
            [broker]
            url = "{self.broker_url}"
            [[archives]]
            name = "orthanc"
            ae_title = "{archive.ae_title}"
            host = "{archive.host}"
            port = {archive.dicom_port}
            [model]
            checkpoint = "{checkpoint}"
            device = "cpu"
        """)

    def start(self, role: str) -> None:
        # A session of its own: a signal to the group reaches Celery's child too, as when a machine dies.
        with (self.folder / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [COMMAND, *ROLES[role], "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self, role: str) -> None:
        os.killpg(self.processes[role].pid, signal.SIGKILL)
        self.processes[role].wait()

    def stop(self) -> dict[str, int]:
        """SIGTERM to every role; their exit codes."""
        for process in self.processes.values():
            process.terminate()
        try:
            return {role: process.wait(60) for role, process in self.processes.items()}
        finally:
            for role, process in self.processes.items():
                if process.poll() is None:
                    self.kill(role)

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def events(self, role: str, name: str, **values: Any) -> list[dict[str, Any]]:
        """Structured log lines of a role: the event `name` with these values."""
        lines = [json.loads(line) for line in self.log(role).splitlines() if line.startswith("{") and line[-1] == "}"]
        return [line for line in lines if {"event": name, **values}.items() <= line.items()]

    def answers(self) -> bool:
        """Whether the storage SCP listens and answers an echo; fails when a role has died."""
        self.require_alive()
        try:
            socket.create_connection((self.peer.host, self.port), timeout=1).close()
        except OSError:
            return False
        echo(self.peer, "OTHER")
        return True

    def require_alive(self) -> None:
        for role, process in self.processes.items():
            assert process.poll() is None, f"{role} died:\n{self.log(role)[-3000:]}"

    def query(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
            return connection.execute(sql, values).fetchall()  # type: ignore[arg-type]

    def state(self, study_uid: str) -> str | None:
        """The study's state in the database, or None."""
        self.require_alive()
        rows = self.query("SELECT state FROM studies WHERE study_uid = %s", study_uid)
        return str(rows[0][0]) if rows else None

    def status(self, study_uid: str) -> dict[str, Any]:
        """What `medseg-node status --json` says of the study."""
        command = [COMMAND, "status", "--json", "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        (study,) = [one for one in json.loads(done.stdout) if one["study_uid"] == study_uid]
        assert isinstance(study, dict)
        return study


@dataclass(frozen=True)
class Hospital:
    """An archive that routes to a node, and the node that answers into it."""

    archive: Orthanc
    node: Node
    broker: RabbitMQ

    @property
    def api(self) -> OrthancApiClient:
        return OrthancApiClient(self.archive.url)

    def send(self, files: list[Path]) -> str:
        """Send a study to the archive, as any modality would; its Study Instance UID."""
        for file in files:
            self.api.upload_file(str(file))
        return str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)

    def results(self, study_uid: str) -> dict[str, Dataset]:
        """Our objects in the archive's study, by modality; fails if there are two of a kind."""
        study = self.api.studies.lookup(study_uid)
        found: dict[str, Dataset] = {}
        for identifier in self.api.studies.get_series_ids(study) if study else ():
            tags = self.api.series.get(identifier).main_dicom_tags
            if (tags.get("Manufacturer") or "") == MANUFACTURER:
                (instance,) = self.api.series.get_instances_ids(identifier)
                assert tags["Modality"] not in found, f"two {tags['Modality']} in the archive"
                found[tags["Modality"]] = self.read(instance)
        return found

    def read(self, identifier: str) -> Dataset:
        path = self.node.folder / f"{identifier}.dcm"
        path.write_bytes(self.api.instances.get_file(identifier))
        return pydicom.dcmread(path)

    def await_delivered(self, study_uid: str) -> dict[str, Dataset]:
        """Wait until the node says that the study is delivered; what then lies in the archive."""
        ended = await_true(
            lambda: (state := self.node.state(study_uid)) in ("DELIVERED", "UNMATCHED", "FAILED") and state,
            f"the end of {study_uid}", PATIENCE_S,
        )  # fmt: skip
        assert ended == "DELIVERED", self.node.status(study_uid)["reason"]
        return self.results(study_uid)

    def times_stable(self, study_uid: str) -> int:
        identifier = self.api.studies.lookup(study_uid)
        changes = self.archive.get("/changes?limit=1000")["Changes"]
        return sum(one["ChangeType"] == "StableStudy" and one["ID"] == identifier for one in changes)


@pytest.fixture(scope="module")
def start_hospital(
    rabbitmq: RabbitMQ, postgres: Postgres, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Iterator[Hospital]]:
    def start(checkpoint: str) -> Iterator[Hospital]:
        folder, port = tmp_path_factory.mktemp("node"), free_port()
        node = Node(folder, port, postgres.fresh_url(), rabbitmq.fresh_url())
        script = checkout / "deploy" / "orthanc" / "medseg-node.lua"
        with running_orthanc(lua=[script], modalities={"medseg-node": ["MEDSEG", "127.0.0.1", port]}) as archive:
            node.configure(checkpoint, archive)
            try:
                for role in ROLES:
                    node.start(role)
                await_true(node.answers, "the node's answer to an echo", PATIENCE_S)
                yield Hospital(archive, node, rabbitmq)
            finally:
                codes = node.stop()
            assert set(codes.values()) == {0}, f"not every role ended in peace: {codes}"

    return start


@pytest.fixture(scope="module")
def commissioning(start_hospital: Callable[[str], Iterator[Hospital]]) -> Iterator[Hospital]:
    yield from start_hospital("commissioning")


@pytest.fixture(scope="module")
def shipped(start_hospital: Callable[[str], Iterator[Hospital]], checkout: Path) -> Iterator[Hospital]:
    if not any((checkout / SHIPPED).glob("*.safetensors")):
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"no weights in {SHIPPED}")
        pytest.skip(f"no weights in {SHIPPED}")
    yield from start_hospital(str(checkout / SHIPPED))


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
    """Centres of the voxels above 90 % of the stored range, `points 3` mm LPS, straight from PS3.3 C.7.6.2.1.1."""
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


def test_a_marker_comes_back_into_the_archive_where_it_was_burnt_in(
    commissioning: Hospital, marked: tuple[list[Path], Marker]
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

    names = [node_log for role in ROLES if "Kellermann" in (node_log := commissioning.node.log(role))]
    assert not names, "a patient's name in the log"


def test_the_segmentation_reads_back_with_highdicom_and_the_report_names_it(
    commissioning: Hospital, marked: tuple[list[Path], Marker]
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
    commissioning: Hospital, marked: tuple[list[Path], Marker]
) -> None:
    files, _ = marked
    archive, node = commissioning.archive, commissioning.node
    study_uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    results = commissioning.await_delivered(study_uid)
    # Stable once as it came in, once more with our results.
    await_true(lambda: commissioning.times_stable(study_uid) >= 2, "the study's second stable period")
    received = len(node.events("scp", "instance_received"))

    # An archive without our script sends everything that it has, our results among it.
    identifier = commissioning.api.studies.lookup(study_uid)
    answer = archive.post("/modalities/medseg-node/store", {"Resources": [identifier], "Synchronous": True})
    assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (len(files) + 2, 0)
    outcomes = send([Path(str(one.filename)) for one in results.values()], node.peer, "OTHER")
    assert all(outcome.ok for outcome in outcomes)

    assert len(node.events("scp", "own_result_ignored")) == 4
    again = node.events("scp", "instance_received")[received:]
    assert len(again) == len(files) and {line["outcome"] for line in again} == {"identical"}
    # Rows are committed before an instance is acknowledged: what it would start would be seen by now.
    ((generation, state),) = node.query("SELECT generation, state FROM studies WHERE study_uid = %s", study_uid)
    assert (generation, state) == (1, "DELIVERED")
    assert node.query("SELECT count(*) FROM studies WHERE study_uid = %s", study_uid) == [(1,)]
    assert node.query("SELECT count(*) FROM instances WHERE study_uid = %s", study_uid) == [(len(files),)]
    assert node.query("SELECT count(*) FROM jobs WHERE study_uid = %s", study_uid) == [(1,)]
    assert {kind: one.SOPInstanceUID for kind, one in commissioning.results(study_uid).items()} == {
        kind: one.SOPInstanceUID for kind, one in results.items()
    }


def test_a_killed_inference_worker_loses_nothing_and_delivers_once(
    commissioning: Hospital, abdomen: list[Path]
) -> None:
    node = commissioning.node
    study_uid = commissioning.send(abdomen)
    await_true(
        lambda: node.events("inference", "job_claimed", study_uid=study_uid), "the claim", PATIENCE_S, pause_s=0.01
    )
    node.kill("inference")
    ((state, attempts),) = node.query("SELECT state, attempts FROM jobs WHERE study_uid = %s", study_uid)
    assert (state, attempts) == ("PREDICTING", 1), "the worker was killed too late for this test to show anything"

    node.start("inference")
    results = commissioning.await_delivered(study_uid)
    ((attempts,),) = node.query("SELECT attempts FROM jobs WHERE study_uid = %s", study_uid)
    assert attempts == 2
    # No voxel of a patient is that bright: an honest "not seen" is an SR without a SEG.
    assert set(results) == {"SR"}
    (claimed,) = node.events("inference", "job_claimed", study_uid=study_uid, attempt=2)
    assert len(node.events("io", "result_sent", study_uid=study_uid)) == 1, claimed


def test_the_queues_are_quorum_queues_and_empty_in_the_end(commissioning: Hospital) -> None:
    virtual_host = commissioning.node.broker_url.rsplit("/", 1)[1]

    def queues() -> dict[str, tuple[str, str]]:
        listed = commissioning.broker.control("list_queues", "-p", virtual_host, "name", "type", "messages")
        rows = [line.split("\t") for line in listed.splitlines()]
        return {
            name: (kind, messages) for name, kind, messages in rows if name in ("planning", "inference", "delivery")
        }

    await_true(
        lambda: queues() == dict.fromkeys(("planning", "inference", "delivery"), ("quorum", "0")), "empty quorum queues"
    )


def test_the_shipped_model_answers_the_protocol_that_fits(shipped: Hospital, abdomen: list[Path]) -> None:
    require_checkers()
    study_uid = shipped.send(abdomen)
    results = shipped.await_delivered(study_uid)
    status = shipped.node.status(study_uid)
    assert (status["protocol"], status["generation"]) == ("abdominal-ct 1", 1)
    assert "SR" in results
    require_valid(results, pydicom.dcmread(abdomen[0]), [job["question"] for job in status["jobs"]])
    assert all("RESEARCH USE ONLY" in dataset.SeriesDescription for dataset in results.values())

    findings = [finding for job in status["jobs"] for finding in job["findings"]]
    assert ("SEG" in results) == bool(findings)
    planes = np.unique([float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in abdomen])
    for number, finding in enumerate(findings, start=1):
        series_uid, points = read_segment_points(Path(str(results["SEG"].filename)), number)
        assert series_uid == pydicom.dcmread(abdomen[0]).SeriesInstanceUID
        assert len(points) == finding["voxels"], finding["label"]
        assert np.isin(np.round(points[:, 2], 3), np.round(planes, 3)).all()
