"""Trying rules: where the studies come from, and the rules that they are tried with; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import DicomNodeError, UnparseableInstance
from dicom_node.headers.attributes import KeptSeries, KeptStudy, read_attributes
from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.instance import IDENTIFIER_KEYWORDS
from dicom_node.headers.patient import PATIENT_KEYWORDS, Patient, patient_of
from dicom_node.headers.study import study_header
from dicom_node.sop_classes import holds_images
from workflows.data_folder import DataFolder
from workflows.errors import CallError, ProtocolErrors
from workflows.protocols.checking import CheckedRules
from workflows.protocols.replaying import KnownStudy
from workflows.protocols.rule_files import RuleFiles, read_rule_files
from workflows.protocols.schema import ReadingProtocol
from workflows.state.repository import Repository
from workflows.steps.kept_headers import known_study
from workflows.steps.rules_in_service import stored_files

__all__ = [
    "FoundStudies",
    "FoundStudy",
    "LoadedRules",
    "rules_in_folder",
    "rules_in_service",
    "studies_in",
    "study_of_node",
]

Check = Callable[[Path], CheckedRules]


@dataclass(frozen=True)
class LoadedRules:
    """A set of protocols without a mistake. `digest`: of all its files. `told`: what is said beside its name."""

    name: str
    protocols: tuple[ReadingProtocol, ...]
    digest: str
    told: str = ""

    def named(self, name: str) -> ReadingProtocol:
        """The protocol of a name. Raises CallError."""
        found = next((one for one in self.protocols if one.name == name), None)
        if found is None:
            there = ", ".join(sorted(one.name for one in self.protocols)) or "none"
            raise CallError(f"--protocol {name!r}: {self.name} has no protocol of this name; there are {there}")
        return found


@dataclass(frozen=True)
class FoundStudy:
    """A study as rules see it. `identity`: words of its headers that say whose it is, kept nowhere."""

    kept: KeptStudy
    known: KnownStudy
    identity: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundStudies:
    """The studies under a folder, by their UIDs, and how many files were passed over."""

    studies: tuple[FoundStudy, ...]
    passed_over: int = 0


def rules_in_folder(directory: Path, check: Check) -> LoadedRules:
    """The protocols of a folder. Raises ProtocolErrors with all of its mistakes."""
    return _loaded(read_rule_files(directory), check, str(directory), "")


def rules_in_service(directory: Path, repository: Repository | None, check: Check) -> LoadedRules:
    """The protocols that the node plans with, as its database has them; before the first plan those of `directory`.

    `repository`: None where no node has run. Raises ProtocolErrors.
    """
    stored = None if repository is None else repository.protocols_in_service()
    if stored is None:
        return _loaded(read_rule_files(directory), check, str(directory), "as the folder stands")
    told = f"in service since {stored.taken_at.astimezone():%Y-%m-%d %H:%M}"
    return _loaded(stored_files(stored, directory), check, str(directory), told)


def _loaded(files: RuleFiles, check: Check, name: str, told: str) -> LoadedRules:
    checked = files.checked(check)
    if checked.mistakes:
        raise ProtocolErrors(checked.mistakes)
    return LoadedRules(name, checked.protocols, files.digest, told)


# --- Studies ----------------------------------------------------------------------------------------------------------


def study_of_node(study_uid: str, repository: Repository, folder: DataFolder) -> FoundStudy:
    """A study that the node received: what it was planned from, else what its files say. Raises CallError."""
    kept = known_study(study_uid, repository, folder)
    row = repository.study(study_uid)
    if kept is None or row is None:
        raise CallError(
            f"nothing is known of the headers of study {study_uid}: it was never planned and its files are gone; "
            "send it again, or name a folder of its files"
        )
    patients = {one.patient for one in repository.instances(study_uid) if one.patient is not None}
    known = KnownStudy(study_header(kept), row.accession_number, row.last_received_at)
    return FoundStudy(kept, known, tuple(word for one in patients for word in _words(one)))


def studies_in(path: Path, tell: Callable[[int], None] = lambda _count: None) -> FoundStudies:
    """The studies of the DICOM files under a path, with their images. `tell`: is told how many files were looked at.

    Raises CallError where there is no such path, or no image in it.
    """
    if not path.exists():
        raise CallError(
            f"{path} does not exist; name a folder of DICOM files, a Study Instance UID or an accession number"
        )
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    studies: dict[str, dict[str, list[tuple[Path, str]]]] = {}
    passed_over = 0
    for count, file in enumerate(files, start=1):
        try:
            study, series, sop_class = _identified(file)
        except (DicomNodeError, OSError):
            passed_over += 1
        else:
            studies.setdefault(study, {}).setdefault(series, []).append((file, sop_class))
        tell(count)
    found = [_found(studies[uid]) for uid in sorted(studies)]
    images = [one for one in found if any(map(_has_images, one.kept.series))]
    if not images:
        raise CallError(f"{path} holds no DICOM images: {_why_none(len(files), len(found))}; name a folder of a study")
    return FoundStudies(tuple(found), passed_over)


def _why_none(files: int, studies: int) -> str:
    if studies:
        return f"its {studies} {'study has' if studies == 1 else 'studies have'} reports or segmentations alone"
    return f"none of its {files} files is DICOM" if files else "it is empty"


def _has_images(series: KeptSeries) -> bool:
    return any(map(holds_images, series.sop_class_uids))


def _identified(file: Path) -> tuple[str, str, str]:
    """Study, series and SOP class of a file. Raises DicomNodeError and OSError."""
    meta, header = read_file_header(file, (*IDENTIFIER_KEYWORDS, "SOPClassUID"))
    study, series = text(header, "StudyInstanceUID"), text(header, "SeriesInstanceUID")
    if not (study and series):
        raise UnparseableInstance(f"{file}: no Study or Series Instance UID")
    return study, series, text(header, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")


def _found(series: Mapping[str, Sequence[tuple[Path, str]]]) -> FoundStudy:
    """A study of its files; a series that holds images beside other objects is known by its images, as in planning."""
    kept: list[KeptSeries] = []
    words: set[str] = set()
    for uid in sorted(series):
        images = [one for one in series[uid] if holds_images(one[1])] or list(series[uid])
        first = min(file for file, _ in images)
        kept.append(KeptSeries(read_attributes(first), tuple(sorted({name for _, name in images})), len(images)))
        words.update(_identity(first))
    study = KeptStudy(tuple(kept))
    header = study_header(study)
    return FoundStudy(study, KnownStudy(header, header.accession_number), tuple(words))


_PEOPLE = ("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "OtherPatientNames")


def _identity(file: Path) -> Iterator[str]:
    _, header = read_file_header(file, (*PATIENT_KEYWORDS, *_PEOPLE))
    yield from _words(patient_of(header))
    yield from filter(None, (text(header, keyword) for keyword in _PEOPLE))


def _words(patient: Patient) -> Iterator[str]:
    yield from filter(None, (patient.name, patient.patient_id, patient.birth_date))
