"""Compare: where other bytes came of images that were read, whether they hold the same; then nothing is read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from dicom_node.volumes.same_content import difference
from workflows.data_folder import DataFolder
from workflows.state.records import Instance, Study
from workflows.state.repository import Repository

__all__ = ["Compared", "compare_with_read"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Compared:
    """A study's instances, and how many of its images came again in other bytes that hold the same."""

    instances: list[Instance]
    same: int = 0

    @property
    def told(self) -> str:
        return f"{self.same} images came again in another encoding and hold the same" if self.same else ""


def compare_with_read(
    study: Study, instances: list[Instance], repository: Repository, folder: DataFolder
) -> Compared | None:
    """Compare what came with what jobs read, for images of which both files are there; None: the study has moved on.

    What holds the same stays known by the bytes that were read, so that jobs and their results stand. Running twice
    changes nothing: the files that were read are removed once that is recorded.
    """
    pending = [one for one in instances if one.read_path is not None]
    if not pending:
        return Compared(instances)
    others = _different(pending, folder)
    uids = {one.sop_instance_uid for one in pending}
    if not repository.record_compared(study.study_uid, study.generation, uids - others, others):
        return None
    for one in pending:
        if one.read_path is not None:
            folder.absolute(one.read_path).unlink(missing_ok=True)
    log.info("images_compared", study_uid=study.study_uid, same=len(uids - others), different=len(others))
    return Compared(repository.instances(study.study_uid), len(uids - others))


def _different(pending: Sequence[Instance], folder: DataFolder) -> set[str]:
    """SOP Instance UIDs of images that are not what was read; of a series that has one, all: it is read anew anyway."""
    different: set[str] = set()
    series: set[str] = set()
    for one in pending:
        assert one.read_path is not None
        if one.series_uid not in series:
            try:
                told = difference(folder.absolute(one.read_path), folder.absolute(one.path))
            except FileNotFoundError:
                told = "the file that was read, which is gone"
            if not told:
                continue
            series.add(one.series_uid)
            log.info("image_differs", study_uid=one.study_uid, sop_instance_uid=one.sop_instance_uid, attribute=told)
        different.add(one.sop_instance_uid)
    return different | {one.sop_instance_uid for one in pending if one.series_uid in series}
