"""Earlier results of another node that only an archive has, and archives that do not answer, late or wrongly."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from dicom_node.errors import PeerUnreachable
from dicom_node.network.archive import FoundInstance, FoundSeries, FoundStudy
from workflows.commands.reporting import explain_study
from workflows.commands.telling import explained
from workflows.state.records import Job, Prior

from .conftest import Steps

if TYPE_CHECKING:
    from .conftest import Archive, Marking

pytestmark = pytest.mark.slow

Study = Callable[..., list[Path]]
THEN, NOW = "20260102", "20260506"
LARGE = np.s_[1:3, 4:8, 4:12]


@dataclass
class Shelf:
    """An archive of files. `told`: what a query says otherwise than the files; `trouble`: raised when it is asked."""

    files: list[Path]
    told: dict[str, str] = field(default_factory=dict)
    trouble: Exception | None = None
    silent: threading.Event | None = None
    asked: int = 0
    fetched: int = 0

    def headers(self) -> list[tuple[Path, Dataset]]:
        return [(path, dcmread(path, stop_before_pixels=True, force=True)) for path in self.files]

    def studies(
        self, *, patient_id: str = "", accession_number: str = "", study_uid: str = "", study_date: str = ""
    ) -> list[FoundStudy]:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        if self.silent is not None:
            self.silent.wait(20)
        found = {}
        for _, one in self.headers():
            if one.get("PatientID") == patient_id:
                study = FoundStudy(
                    one.StudyInstanceUID, one.PatientID, "", str(one.PatientName), one.PatientBirthDate, one.StudyDate,
                    "", "",
                )  # fmt: skip
                found[study.study_uid] = replace(study, **self.told)
        return list(found.values())

    def series(self, study_uid: str, *, modality: str = "") -> list[FoundSeries]:
        return list(
            {
                one.SeriesInstanceUID: FoundSeries(
                    study_uid,
                    one.SeriesInstanceUID,
                    one.Modality,
                    one.get("SeriesDescription", ""),
                    one.get("Manufacturer", ""),
                    one.get("SeriesDate", "") + one.get("SeriesTime", ""),
                )
                for _, one in self.headers()
                if one.get("StudyInstanceUID") == study_uid and modality in ("", one.Modality)
            }.values()
        )

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]:
        return [
            FoundInstance(study_uid, series_uid, one.SOPInstanceUID, one.SOPClassUID)
            for _, one in self.headers()
            if one.get("SeriesInstanceUID") == series_uid
        ]

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        copied = [
            Path(shutil.copy(path, folder / path.name))
            for path, one in self.headers()
            if one.get("SeriesInstanceUID") == series_uid
            and (not sop_instance_uids or one.SOPInstanceUID in sop_instance_uids)
        ]
        self.fetched += len(copied)
        return copied


@pytest.fixture
def shelf(steps: Steps, archive: Archive, marking: Marking, study: Study, tmp_path: Path) -> Shelf:
    """The archive `pacs` of the node, with a study of `THEN` that another node has read, and its results."""
    (tmp_path / "other").mkdir()
    other = Steps(tmp_path / "other", archive.peer)
    other.planner = replace(steps.planner, destinations=steps.planner.destinations)
    other.predictor = marking
    files = study(1, THEN)
    (key,) = other.keys(other.through(*files))
    found = Shelf([*files, *other.saved(key)])
    steps.planner = replace(steps.planner, archives={"pacs": lambda: found})
    marking.marked = {"liver": (0.9, LARGE)}
    return found


def only_job(steps: Steps, study_uid: str) -> Job:
    (job,) = steps.jobs(study_uid)
    return job


def prior_of(steps: Steps, study_uid: str) -> Prior:
    prior = only_job(steps, study_uid).prior
    assert prior is not None
    return prior


def report_in(shelf: Shelf) -> Path:
    (path,) = [path for path in shelf.files if path.name == "sr.dcm"]
    return path


def test_the_report_of_another_node_is_compared_with(steps: Steps, shelf: Shelf, study: Study) -> None:
    steps.receive(*study(2, NOW))
    now = steps.to_plan()
    prior = prior_of(steps, now)
    uid = dcmread(report_in(shelf)).SOPInstanceUID
    assert (prior.answer_key, prior.sop_instance_uid, prior.archive, prior.study_uid) == (None, uid, "pacs", "1.2.3.1")
    shelf.trouble = PeerUnreachable("gone")  # predicting needs no network
    (key,) = steps.keys(now)
    steps.predict(key)
    ((found,),) = [answer.findings for answer in only_job(steps, now).answers]
    assert [change.name for change in found.changes] == ["volume", "long axis", "short axis"]
    assert (found.changes[0].before, found.changes[0].after) == (0.054, 0.11)
    assert (found.changes[0].before_date, found.changes[0].after_date) == ("2026-01-02", "2026-05-06")
    known = explain_study(steps.repository, steps.folder, now)
    assert known is not None
    assert "compared with the result of 2026-01-02 in pacs, study 1.2.3.1" in "\n".join(explained(known))
    assert not list(Path(steps.folder.instances).glob("*1.2.3.1*")), "what was retrieved is not kept"


def test_what_the_database_has_is_not_asked_of_an_archive(steps: Steps, shelf: Shelf, study: Study) -> None:
    steps.through(*study(3, "20260202"))
    shelf.asked = 0
    now = steps.through(*study(2, NOW))
    assert prior_of(steps, now).study_uid == "1.2.3.3" and shelf.asked == 0


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (PeerUnreachable("PACS refused the connection"), "could not be asked for earlier results: PACS refused"),
        (ValueError("Box^Anna"), "could not be asked for earlier results: ValueError"),
    ],
)
def test_an_archive_that_is_down_fails_no_plan(
    steps: Steps, shelf: Shelf, study: Study, trouble: Exception, why: str
) -> None:
    shelf.trouble = trouble
    with structlog.testing.capture_logs() as logged:
        now = steps.through(*study(2, NOW))
    prior = prior_of(steps, now)
    assert prior.result is None and why in prior.note
    assert "Anna" not in str(logged) and "Anna" not in prior.note
    keys = only_job(steps, now).request_key
    steps.planner = replace(steps.planner, archives={})
    assert steps.repository.reopen(now, "again")
    steps.plan(now)
    assert only_job(steps, now).request_key == keys, "that nobody could be asked changes no key"


def test_an_archive_that_does_not_answer_is_not_waited_for(steps: Steps, shelf: Shelf, study: Study) -> None:
    shelf.silent = threading.Event()
    steps.planner = replace(steps.planner, archives_deadline_s=0.1)
    try:
        now = steps.through(*study(2, NOW))
    finally:
        shelf.silent.set()
    assert prior_of(steps, now).note == "archive pacs did not answer in time about earlier results"


def test_a_slow_archive_takes_no_time_from_the_next(steps: Steps, shelf: Shelf, study: Study) -> None:
    """The one that is silent is asked first; the other answers only after half of the deadline."""
    silent, late = Shelf([], silent=threading.Event()), threading.Timer(1.0, lambda: slow.set())
    slow = shelf.silent = threading.Event()
    assert silent.silent is not None
    steps.planner = replace(
        steps.planner, archives={"first": lambda: silent, "pacs": lambda: shelf}, archives_deadline_s=2.0
    )
    late.start()
    try:
        now = steps.through(*study(2, NOW))
    finally:
        silent.silent.set()
    prior = prior_of(steps, now)
    assert prior.result is not None and prior.archive == "pacs"
    assert prior.note == "archive first did not answer in time about earlier results"


def copies(shelf: Shelf, folder: Path, count: int, *, one_series: bool, older: bool, **changes: Any) -> None:
    """So many more SRs like the one that is there, of another question, older or newer."""
    for number in range(count):
        other = dcmread(report_in(shelf))
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.1.500.{number}"
        other.SeriesInstanceUID = "1.2.3.1.501" if one_series else f"1.2.3.1.501.{number}"
        other.SeriesDate = "20200101" if older else "20990101"
        other.Manufacturer = "Somebody"
        for keyword, value in changes.items():
            setattr(other, keyword, value)
        other.save_as(folder / f"copy-{number}.dcm")
        shelf.files.append(folder / f"copy-{number}.dcm")


@pytest.mark.parametrize("one_series", [True, False])
@pytest.mark.parametrize("changes", [{}, {"Manufacturer": "MedSeg Node"}, {"Manufacturer": ""}])
def test_of_many_reports_in_a_study_the_newest_of_ours_are_fetched(
    steps: Steps, shelf: Shelf, study: Study, tmp_path: Path, one_series: bool, changes: dict[str, str]
) -> None:
    copies(shelf, tmp_path, 25, one_series=one_series, older=True, **changes)
    steps.planner = replace(steps.planner, archives_deadline_s=60)
    now = steps.through(*study(2, NOW))
    told = "study 1.2.3.1 of archive pacs has more SRs than the 20 newest that were looked at"
    prior = prior_of(steps, now)
    assert prior.result is not None and prior.study_uid == "1.2.3.1"
    assert shelf.fetched == (20 if changes else 1), "what the archive says is another's is not fetched"
    assert (told in prior.note) == bool(changes)


def test_with_more_notes_than_are_read_nothing_is_compared_with(
    steps: Steps, shelf: Shelf, study: Study, tmp_path: Path
) -> None:
    copies(
        shelf, tmp_path, 101, one_series=True, older=True, Modality="KO", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59"
    )
    steps.planner = replace(steps.planner, archives_deadline_s=60)
    now = steps.through(*study(2, NOW))
    prior = prior_of(steps, now)
    assert prior.result is None and "more than 100 key object selections" in prior.note


def test_older_studies_that_are_not_looked_at_are_told(
    steps: Steps, shelf: Shelf, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.steps.archived_priors._STUDIES", 0)
    now = steps.through(*study(2, NOW))
    assert (
        prior_of(steps, now).note
        == "archive pacs was not asked about all earlier studies of the patient: 1 older ones were left"
    )


def test_read_again_while_the_archive_is_down_it_keeps_what_it_was_compared_with(
    steps: Steps, shelf: Shelf, study: Study
) -> None:
    now = steps.through(*study(2, NOW))
    key = only_job(steps, now).job_key
    shelf.trouble = PeerUnreachable("gone")
    assert steps.repository.reopen(now, "again")
    steps.plan(now)
    assert only_job(steps, now).job_key == key
    shelf.trouble, shelf.files = None, []
    assert steps.repository.reopen(now, "again")
    steps.plan(now)
    assert only_job(steps, now).prior is None, "the archive says that there is none"


def changed(path: Path, **changes: Any) -> None:
    dataset = dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"PatientName": "Other^Berta"}, "is of another patient under the same ID: they contradict each other in"),
        ({"IssuerOfPatientID": "ELSEWHERE"}, "does not name the same Patient ID and Issuer of Patient ID"),
        ({"Manufacturer": "Somebody"}, ""),
        ({"StudyDate": "20270101"}, ""),
        ({"StudyInstanceUID": "1.2.9"}, ""),
    ],
)
def test_what_is_not_this_patients_or_not_ours_is_not_used(
    steps: Steps, shelf: Shelf, study: Study, changes: dict[str, Any], why: str
) -> None:
    told = shelf.headers()[0][1]
    shelf.told = {"patient_name": str(told.PatientName), "study_date": str(told.StudyDate)}
    changed(report_in(shelf), **changes)
    with structlog.testing.capture_logs() as logged:
        now = steps.through(*study(2, NOW))
    prior = only_job(steps, now).prior
    assert (prior is None) if not why else (prior is not None and prior.result is None and why in prior.note)
    assert "Berta" not in str(logged) and "Anna" not in str(logged)


def test_what_the_archive_says_is_another_patients_is_told(steps: Steps, shelf: Shelf, study: Study) -> None:
    shelf.told = {"patient_birth_date": "19500101"}
    now = steps.through(*study(2, NOW))
    assert prior_of(steps, now).note == (
        "study 1.2.3.1 of archive pacs is of another patient under the same ID: they contradict each other in "
        "Patient's Birth Date"
    )


def test_a_broken_report_is_passed_over(steps: Steps, shelf: Shelf, study: Study) -> None:
    path = report_in(shelf)
    path.write_bytes(path.read_bytes()[:2000])
    now = steps.through(*study(2, NOW))
    prior = only_job(steps, now).prior
    assert prior is None or prior.result is None
    assert steps.state(now)[0] == "DELIVERED"


def rejecting(path: Path, rejected: Dataset, code: str = "113001") -> Path:
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID, note.Modality = KeyObjectSelectionDocumentStorage, "1.2.3.1.900.1", "KO"
    note.StudyInstanceUID, note.SeriesInstanceUID = rejected.StudyInstanceUID, "1.2.3.1.900"
    note.PatientID, note.PatientName, note.PatientBirthDate = "P1", "Box^Anna", "19700101"
    note.StudyDate = rejected.StudyDate
    title, evidence, series, instance = Dataset(), Dataset(), Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "a title"
    note.ConceptNameCodeSequence = [title]
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = rejected.SOPClassUID, rejected.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = rejected.SeriesInstanceUID, [instance]
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = rejected.StudyInstanceUID, [series]
    note.CurrentRequestedProcedureEvidenceSequence = [evidence]
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.save_as(path, enforce_file_format=True)
    return path


def test_what_a_note_rejects_is_no_prior(steps: Steps, shelf: Shelf, study: Study, tmp_path: Path) -> None:
    shelf.files.append(rejecting(tmp_path / "note.dcm", dcmread(report_in(shelf))))
    now = steps.through(*study(2, NOW))
    assert only_job(steps, now).prior is None


def test_a_report_that_another_replaces_is_no_prior(steps: Steps, shelf: Shelf, study: Study, tmp_path: Path) -> None:
    newer = dcmread(report_in(shelf))
    item, series, of_study = Dataset(), Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = newer.SOPClassUID, newer.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = newer.SeriesInstanceUID, [item]
    of_study.StudyInstanceUID, of_study.ReferencedSeriesSequence = newer.StudyInstanceUID, [series]
    newer.PredecessorDocumentsSequence = [of_study]
    newer.SOPInstanceUID = newer.file_meta.MediaStorageSOPInstanceUID = "1.2.3.1.77"
    newer.SeriesInstanceUID = "1.2.3.1.7"
    newer.ContentDate = "19990101"  # its date does not say which is newer
    newer.save_as(tmp_path / "newer.dcm")
    shelf.files.append(tmp_path / "newer.dcm")
    now = steps.through(*study(2, NOW))
    assert prior_of(steps, now).sop_instance_uid == "1.2.3.1.77"


def test_our_own_result_that_is_to_be_retracted_is_not_taken_from_the_archive_either(
    steps: Steps, marking: Marking, study: Study
) -> None:
    files = study(1, THEN)
    (key,) = steps.keys(steps.through(*files))
    found = Shelf([*files, *steps.saved(key)])
    steps.receive(*study(1, THEN, PatientID="P9", PatientName="Other^Berta"))
    steps.to_plan()
    steps.planner = replace(steps.planner, archives={"pacs": lambda: found})
    now = steps.through(*study(2, NOW))
    assert found.asked == 1 and only_job(steps, now).prior is None
