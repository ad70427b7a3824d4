"""Corrections: a mask that a person drew, or that came in as a SEG, becomes a file and a row."""

from __future__ import annotations

import hashlib
import os
import uuid
from datetime import datetime
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.identifiers import StudyUID
from dicom_node.results.mask_file import read_masks, write_masks
from workflows.data_folder import DataFolder
from workflows.state.repository import Repository
from workflows.state.reviewing import Correction

__all__ = ["correction_mask", "keep_correction"]

log = structlog.get_logger()


def keep_correction(
    mask: NDArray[np.bool_],
    place: tuple[str, str, int],
    made_by: str,
    made_at: datetime,
    repository: Repository,
    folder: DataFolder,
    proposal: str | None = None,
) -> Correction | None:
    """Write a mask, bool `slices rows columns` on the source grid, to disk, then record it. None: the study is gone.

    `place`: study, key of the job, and part. `made_by`: the account, or who a SEG names. `proposal`: SOP Instance UID
    of the SEG that it came in with. The same mask of the same part twice is one correction.
    """
    study_uid, job_key, part = place
    path, digest = _written(mask, folder.reviews / study_uid, f"{job_key}/{part}")
    correction = Correction(
        study_uid=StudyUID(study_uid),
        digest=digest,
        job_key=job_key,
        part=part,
        path=folder.relative(path),
        made_by=made_by,
        made_at=made_at,
        voxels=int(np.count_nonzero(mask)),
        proposal=proposal,
    )
    if not repository.save_correction(correction):
        path.unlink(missing_ok=True)
        return None
    log.info("correction_kept", study_uid=study_uid, job_key=job_key, part=part, digest=digest[:16])
    return correction


def correction_mask(correction: Correction, folder: DataFolder) -> NDArray[np.bool_]:
    """The mask of a correction, bool `slices rows columns` on its part's source grid.

    Raises ResultRefused where its file is damaged, FileNotFoundError where it is gone.
    """
    (mask,) = read_masks(folder.absolute(correction.path))
    return mask


def _written(mask: NDArray[np.bool_], of_study: Path, about: str) -> tuple[Path, str]:
    """The file of a mask, flushed to disk before it gets its name, and its sha256, which is its name."""
    of_study.mkdir(parents=True, exist_ok=True, mode=0o700)
    slices, rows, columns = mask.shape
    draft = of_study / f".{uuid.uuid4().hex}.npz"
    try:
        write_masks(draft, [mask], (slices, rows, columns), about)
        draft.chmod(0o600)
        with draft.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        path = of_study / f"{digest}.npz"
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _flush(of_study)
    return path, digest


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
