"""Headers for planning: read from a study's files, or from what was kept of each series when its images were removed.

Planning keeps what rules may ask (`kept_study_of`) in the database, with its plan: `protocols replay` sees that. When
images are removed, one header a series stays as a file, of the instance that planning reads; the rows still tell how
many instances there were, and of which classes. So the study can be planned again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

import structlog

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.attributes import KeptSeries, KeptStudy, read_attributes
from dicom_node.headers.study import StudyHeader, study_header
from dicom_node.storage.kept_header import header_without_bulk
from workflows.data_folder import DataFolder
from workflows.protocols.replaying import KnownStudy
from workflows.state.kept_headers import PlannedStudy
from workflows.state.records import Instance
from workflows.state.repository import Repository
from workflows.steps.inputs import images_of

__all__ = [
    "history", "keep_headers", "kept_header_path", "kept_study_of", "known_study", "read_by_planning",
    "study_header_of",
]  # fmt: skip

log = structlog.get_logger()


def kept_header_path(study_uid: str, series_uid: str, folder: DataFolder) -> Path:
    """Where the header of a series is kept."""
    return folder.headers / study_uid / f"{series_uid}.dcm"


def kept_study_of(instances: Sequence[Instance], folder: DataFolder) -> KeptStudy:
    """What rules may ask of a study; a series that holds images beside other objects is known by its images.

    `instances`: of one study, at least one; those that were removed are known by the kept header of their series. Its
    series stand in the order of their UIDs, and it was received when the last of its instances was. Raises
    UnparseableInstance and OSError.
    """
    chosen = _by_series(instances)
    known = [one for found in chosen.values() for one in found]
    return KeptStudy(
        series=tuple(_kept_series(chosen[uid], folder) for uid in sorted(chosen)),
        sources=tuple(sorted({one.calling_ae_title for one in known if one.calling_ae_title})),
        received_at=max(one.received_at for one in instances),
    )


def study_header_of(instances: Sequence[Instance], folder: DataFolder) -> StudyHeader:
    """The study's headers: `study_header` of what `kept_study_of` gives. Raises UnparseableInstance and OSError."""
    return study_header(kept_study_of(instances, folder))


def history(
    repository: Repository,
    folder: DataFolder,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> Iterator[KnownStudy]:
    """Studies that this node has planned, the newest first, by when their last instance came (`until` excluded).

    A study that was planned before its headers were kept is read from its files, or from the headers that stayed when
    its images were removed; one that cannot be read any more is left out.
    """
    known = (_known(study, repository, folder) for study in repository.kept_studies(since, until))
    return islice((study for study in known if study is not None), limit)


def known_study(study_uid: str, repository: Repository, folder: DataFolder) -> KeptStudy | None:
    """What a study was planned from, or what its files and kept headers say now; None: nothing can be read of it."""
    kept = repository.kept_study(study_uid)
    return _read_again(study_uid, repository, folder) if kept is None else kept


def _known(study: PlannedStudy, repository: Repository, folder: DataFolder) -> KnownStudy | None:
    kept = _read_again(study.study_uid, repository, folder) if study.kept is None else study.kept
    if kept is None:
        return None
    return KnownStudy(study_header(kept), study.accession_number, study.received_at)


def _read_again(study_uid: str, repository: Repository, folder: DataFolder) -> KeptStudy | None:
    instances = repository.known_instances(study_uid)
    try:
        return kept_study_of(instances, folder) if instances else None
    except (UnparseableInstance, OSError) as error:
        log.warning("header_not_known", study_uid=study_uid, reason=type(error).__name__)
        return None


def _kept_series(instances: Sequence[Instance], folder: DataFolder) -> KeptSeries:
    """A series: the attributes of the file that planning reads, and what only all of its instances tell."""
    first = min(instances, key=lambda one: one.path)
    path = folder.absolute(first.path)
    if any(one.removed_at is not None for one in instances):
        path = kept_header_path(first.study_uid, first.series_uid, folder)
    classes = tuple(sorted({one.sop_class_uid for one in instances}))
    return KeptSeries(read_attributes(path), classes, len(instances))


def read_by_planning(instances: Sequence[Instance]) -> list[Instance]:
    """The instances whose headers say what a study is: one of each series."""
    return [min(found, key=lambda one: one.path) for found in _by_series(instances).values()]


def _by_series(instances: Sequence[Instance]) -> dict[str, list[Instance]]:
    images = images_of(instances)
    with_images = {instance.series_uid for instance in images}
    others = [instance for instance in instances if instance.series_uid not in with_images]
    found: dict[str, list[Instance]] = {}
    for instance in (*images, *others):
        found.setdefault(instance.series_uid, []).append(instance)
    return found


def keep_headers(instances: Sequence[Instance], folder: DataFolder) -> None:
    """Keep a header of each series of these images, synced: the one of the file that planning reads.

    One that is kept already stays. A series whose file is no DICOM any more has none: nobody could plan it. Raises
    OSError.
    """
    for series_uid, found in _by_series(images_of(instances)).items():
        target = kept_header_path(found[0].study_uid, series_uid, folder)
        if target.is_file() and any(one.removed_at is not None for one in found):
            continue
        (read,) = read_by_planning(found)
        source = folder.absolute(read.path)
        try:
            header = header_without_bulk(source)
        except UnparseableInstance as error:
            log.warning("header_not_kept", study_uid=found[0].study_uid, series_uid=series_uid, reason=str(error))
            continue
        _write_synced(target, header)


def _write_synced(target: Path, contents: bytes) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = target.with_suffix(".part")
    with written.open("wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())
    written.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
