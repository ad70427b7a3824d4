"""Headers for planning: read from a study's files, or from what was kept of each series when its images were removed.

Kept is one header a series, of the file that planning reads; the rows still tell how many instances there were, and of
which classes. So `protocols replay` sees what the planner saw.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.study import SeriesHeader, StudyHeader, read_study_header
from dicom_node.storage.kept_header import header_without_bulk
from workflows.data_folder import DataFolder
from workflows.state.records import Instance
from workflows.steps.inputs import images_of

__all__ = ["keep_headers", "kept_header_path", "read_by_planning", "study_header_of"]

log = structlog.get_logger()


def kept_header_path(study_uid: str, series_uid: str, folder: DataFolder) -> Path:
    """Where the header of a series is kept."""
    return folder.headers / study_uid / f"{series_uid}.dcm"


def study_header_of(instances: Sequence[Instance], folder: DataFolder) -> StudyHeader:
    """The study's headers; a series that holds images beside other objects is known by its images.

    `instances`: of one study; those that were removed are known by the kept header of their series. Raises
    UnparseableInstance and OSError.
    """
    chosen = _by_series(instances)
    paths = {
        uid: [kept_header_path(found[0].study_uid, uid, folder)]
        if any(one.removed_at is not None for one in found)
        else [folder.absolute(one.path) for one in found]
        for uid, found in chosen.items()
    }
    sources = sorted({one.calling_ae_title for found in chosen.values() for one in found})
    header = read_study_header(paths, sources=sources)
    ordered = [chosen[uid] for uid in sorted(chosen)]  # as the header has its series
    return replace(header, series=tuple(map(_as_received, header.series, ordered)))


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


def _as_received(series: SeriesHeader, instances: Sequence[Instance]) -> SeriesHeader:
    """A series' header with what only all of its instances tell."""
    if all(one.removed_at is None for one in instances):
        return series
    classes = tuple(sorted({one.sop_class_uid for one in instances}))
    return replace(series, instances=len(instances), sop_class_uids=classes)


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
