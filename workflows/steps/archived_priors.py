"""Earlier results that an archive has: our own SRs of the patient's other studies, found by query and read back.

Bounded in time: an archive that does not answer means no earlier result, never a study that is not planned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import read_file_header
from dicom_node.headers.instance import INSTANCE_KEYWORDS, instance_header
from dicom_node.headers.patient import Patient, contradiction
from dicom_node.network.archive import Archive, FoundSeries, FoundStudy
from dicom_node.results.equipment import MANUFACTURER
from dicom_node.results.stored_report import REPORT_CLASS, StoredReport, read_stored_report
from workflows.state.columns import patient_for_columns
from workflows.state.records import Prior
from workflows.steps.priors import Candidate, Wanted

__all__ = ["ArchivedResults", "Found"]

log = structlog.get_logger()

_STUDIES = 10
"""The patient's newest earlier studies that are looked through."""
_REPORTS = 20
"""SRs of a study that are fetched, the newest of those that may be ours; a job has one for each profile."""
_NOTES = 100
"""Key object selections of a study that are fetched: one more could reject what would be compared with."""


@dataclass
class Found:
    """What archives told by now. `complete`: nobody was left unasked; else `reasons` says who and why."""

    candidates: list[Candidate] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    complete: bool = True

    def copy(self) -> Found:
        return Found(list(self.candidates), list(self.reasons), self.complete)


class ArchivedResults:
    """Our earlier results in archives, asked for once a patient.

    `archives`: opens each by its name. `known_here`: which SOP Instance UIDs are of this node's own results; what
    became of those the database knows better. `deadline_s`: all archives are asked at once, and each has all of it;
    a question may have another one.
    """

    def __init__(
        self,
        archives: Mapping[str, Callable[[], Archive]],
        known_here: Callable[[Sequence[str]], set[str]],
        deadline_s: float = 5.0,
    ) -> None:
        self._archives, self._known_here, self._deadline_s = archives, known_here, deadline_s
        self._found: dict[Patient, tuple[Found, float]] = {}

    def of(self, wanted: Wanted, deadline_s: float | None = None) -> Found:
        """Candidates for a series. Whatever goes wrong, and what did not come in time, is a reason and no error.

        `deadline_s`: instead of the usual one. Archives are asked again only where somebody was left unasked and there
        is more time now; with none at all they are not asked.
        """
        if not wanted.patient.patient_id:
            return Found()
        time_s = self._deadline_s if deadline_s is None else deadline_s
        found, had_s = self._found.get(wanted.patient, (None, -1.0))
        if found is None or (not found.complete and time_s > had_s):
            found = self._ask(wanted, time_s)
            self._found[wanted.patient] = found, time_s
        return found

    def _ask(self, wanted: Wanted, time_s: float) -> Found:
        if time_s <= 0 and self._archives:
            return Found([], ["the protocol asks no archives for earlier results"], complete=False)
        asked = [_Asking(name, opened, wanted, self._known_here) for name, opened in self._archives.items()]
        end = time.monotonic() + time_s
        for one in asked:
            one.start()
        all_found = Found()
        for one in asked:
            found = one.until(end)
            all_found.candidates += found.candidates
            all_found.reasons += found.reasons
            all_found.complete &= found.complete
        return all_found


class _Asking:
    """One archive asked on a thread of its own, which is left alone once time is up: it stops at its next request."""

    def __init__(
        self,
        name: str,
        opened: Callable[[], Archive],
        wanted: Wanted,
        known_here: Callable[[Sequence[str]], set[str]],
    ) -> None:
        self._name, self._opened, self._wanted, self._known_here = name, opened, wanted, known_here
        self._found, self._lock = Found(), threading.Lock()
        self._time_is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"priors of {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def until(self, end: float) -> Found:
        """What is known at `end` (monotonic seconds) or once all is."""
        self._thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            late, found = self._thread.is_alive(), self._found.copy()
        if late:
            self._time_is_up.set()
            log.warning("archive_asked_in_vain", archive=self._name, reason="no answer in time")
            found.reasons.append(f"archive {self._name} did not answer in time about earlier results")
            found.complete = False
        return found

    def _run(self) -> None:
        try:
            with TemporaryDirectory(prefix="medseg-priors-") as folder:
                self._search(Path(folder))
        except Exception as error:  # a plan never fails for an archive's sake, whatever it is that went wrong
            reason = str(error) if isinstance(error, DicomNodeError) else type(error).__name__
            log.warning("archive_asked_in_vain", archive=self._name, reason=reason)
            self._leave_out(f"archive {self._name} could not be asked for earlier results: {reason}")

    def _leave_out(self, reason: str) -> None:
        """Something was not looked at: what is found is not all."""
        with self._lock:
            self._found.reasons.append(reason)
            self._found.complete = False

    def _search(self, folder: Path) -> None:
        archive = self._opened()
        studies = self._earlier_studies(archive)
        if (more := len(studies) - _STUDIES) > 0:
            self._leave_out(
                f"archive {self._name} was not asked about all earlier studies of the patient: {more} older ones were "
                "left"
            )
        for number, study in enumerate(studies[:_STUDIES]):
            if self._time_is_up.is_set():
                return
            candidates = list(self._of_study(archive, study, folder / str(number)))
            with self._lock:
                self._found.candidates += candidates

    def _earlier_studies(self, archive: Archive) -> list[FoundStudy]:
        """The patient's other studies that are not later, the newest first; who is another patient is told."""
        today = self._wanted.kind.taken[:10].replace("-", "")
        studies = []
        for study in archive.studies(patient_id=self._wanted.patient.patient_id):
            if study.study_uid == self._wanted.study_uid or study.study_date.replace(".", "") > today:
                continue
            patient = _patient(study)
            attributes = next(filter(None, (contradiction(one, patient) for one in self._wanted.patients)), None)
            if attributes is None:
                studies.append(study)
            elif patient.patient_id == self._wanted.patient.patient_id:  # an archive may take an ID for a pattern
                other = f"study {study.study_uid} of archive {self._name} is of another patient under the same ID"
                with self._lock:
                    self._found.reasons.append(f"{other}: they contradict each other in {attributes}")
        return sorted(studies, key=lambda one: (one.study_date, one.study_uid), reverse=True)

    def _of_study(self, archive: Archive, study: FoundStudy, folder: Path) -> Iterator[Candidate]:
        series = archive.series(study.study_uid)
        folder.mkdir()
        rejected: set[str] = set()
        fetching = _Fetching(archive, study, folder, self._time_is_up, _NOTES)
        for path in fetching.of([one for one in series if one.modality == "KO"]):
            rejected |= _rejected(path)
        if fetching.more:
            self._leave_out(
                f"study {study.study_uid} of archive {self._name} has more than {_NOTES} key object selections: which "
                "of its results are rejected is not known, so none is compared with"
            )
            return
        reports: dict[str, StoredReport] = {}
        fetching = _Fetching(archive, study, folder, self._time_is_up, _REPORTS, REPORT_CLASS)
        for path in fetching.of(_perhaps_ours(series)):
            if (report := _report(path, study)) is not None:
                reports[report.sop_instance_uid] = report
        if fetching.more:
            self._leave_out(
                f"study {study.study_uid} of archive {self._name} has more SRs than the {_REPORTS} newest that were "
                "looked at"
            )
        if self._time_is_up.is_set():
            return  # a note or a newer report may be among what was not fetched
        gone = {uid for report in reports.values() for uid in report.predecessors} | rejected
        gone |= self._known_here(sorted(reports))
        standing = [report for uid, report in sorted(reports.items()) if uid not in gone]
        for report in _newest(standing):
            source = _source(report, series)
            if source is None:
                log.info("earlier_report_passed_over", study_uid=study.study_uid, reason="its images are not there")
                continue
            kind = replace(report.kind, modality=source.modality, description=source.series_description)
            yield Candidate(
                Prior(None, report.sop_instance_uid, self._name, report.study_uid, report.result),
                kind,
                (patient_for_columns(report.patient), _patient(study)),
            )


class _Fetching:
    """Fetches documents of a study into a folder, at most so many. `more`: there were more, which were left."""

    def __init__(
        self,
        archive: Archive,
        study: FoundStudy,
        folder: Path,
        time_is_up: threading.Event,
        most: int,
        sop_class_uid: str = "",
    ) -> None:
        self._archive, self._study, self._folder, self._time_is_up = archive, study, folder, time_is_up
        self._left, self._class = most, sop_class_uid
        self.more = False

    def of(self, series: Sequence[FoundSeries]) -> Iterator[Path]:
        """The files of these series, in this order, until time is up; of one class where it is set."""
        for one in series:
            if self._time_is_up.is_set():
                return
            if self._left == 0:
                self.more = True
                return
            found = self._archive.instances(self._study.study_uid, one.series_uid)
            uids = sorted(
                it.sop_instance_uid for it in found if not self._class or it.sop_class_uid in ("", self._class)
            )
            self.more |= len(uids) > self._left
            wanted = uids[: self._left]
            self._left -= len(wanted)
            if wanted:
                chosen = wanted if len(wanted) < len(found) else []  # all are asked for at once
                place = self._folder / one.series_uid
                yield from self._archive.retrieve(
                    self._study.study_uid, place, series_uid=one.series_uid, sop_instance_uids=chosen
                )


def _perhaps_ours(series: Sequence[FoundSeries]) -> list[FoundSeries]:
    """Series of SRs whose manufacturer is ours or not told, ours first, of those the newest."""
    reports = [one for one in series if one.modality == "SR" and one.manufacturer in ("", MANUFACTURER)]
    return sorted(reports, key=lambda one: (one.manufacturer, one.made, one.series_uid), reverse=True)


def _patient(study: FoundStudy) -> Patient:
    """Whom an archive names; it may pad, and may not tell all."""
    told = (study.patient_id, study.patient_id_issuer, study.patient_name, study.patient_birth_date)
    return patient_for_columns(Patient(*(value.strip(" \0") for value in told)))


def _rejected(path: Path) -> set[str]:
    """The instances that a key object selection rejects, if it is a rejection note."""
    try:
        note = instance_header(read_file_header(path, INSTANCE_KEYWORDS)[1]).rejects
    except DicomNodeError:
        return set()
    return set() if note is None else {reference.sop_instance_uid for reference in note.references}


def _report(path: Path, study: FoundStudy) -> StoredReport | None:
    """The SR in a file if it is one of ours that a comparison can use."""
    try:
        report = read_stored_report(path)
    except DicomNodeError as error:
        log.info("earlier_report_passed_over", study_uid=study.study_uid, reason=str(error))
        return None
    return report if report.study_uid == study.study_uid else None


def _newest(reports: Sequence[StoredReport]) -> list[StoredReport]:
    """Of the reports on one series and question the newest: a job may have one for each profile."""
    newest: dict[tuple[object, ...], StoredReport] = {}
    for report in sorted(reports, key=lambda one: (one.written, one.sop_instance_uid)):
        newest[report.source_series, tuple(answer.question for answer in report.result.answers)] = report
    return list(newest.values())


def _source(report: StoredReport, series: Sequence[FoundSeries]) -> FoundSeries | None:
    """The series that a report is of, as the archive has it."""
    return next((one for one in series if one.series_uid in report.source_series and one.modality), None)
