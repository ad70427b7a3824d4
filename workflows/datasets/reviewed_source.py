"""MedSeg-QA from a node's own reviews: what a reader accepted or corrected, and nothing that says whose images it is.

    medseg-qa build --images reviewed:medseg-node.toml --out SET

A mask is taken where the last written review of its study accepted it, or drew it. Of identifiers only keyed hashes are
told (HMAC-SHA256 with a key that stays in the node's data folder): of the patient, so that a patient stays on one side
of the splits, and of the job. There are no UIDs, no dates, no texts of the header; images that carry writing, or may,
are left out. What pixels themselves show of a face stays: a set for others than the hospital needs a look at that.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import text, texts
from dicom_node.results.mask_file import read_masks
from dicom_node.volumes.load import SeriesVolume, load_series
from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.sources import Problem, Skip, SourceImage
from workflows.bootstrap import Node, repository_to_read
from workflows.data_folder import DataFolder
from workflows.datasets.dicom_source import SliceNaming, slices_of
from workflows.errors import WorkflowError
from workflows.settings import load_settings
from workflows.state.auditing import AuditAction, AuditEvent
from workflows.state.records import Job
from workflows.state.repository import Repository
from workflows.state.reviewing import FindingVerdict, Review, VerdictKind
from workflows.steps.agreement import count_reviews, masks_of
from workflows.steps.inputs import images_of, inputs_of

__all__ = ["LICENCE", "ReviewedSource", "open_reviewed"]

log = structlog.get_logger()

LICENCE = "the hospital's own; not for others without its consent"
_PREFIX = "reviewed:"
_KEY_FILE = "dataset.key"
_MAY_CARRY_WRITING = frozenset({"US", "IVUS", "XC", "ES", "GM", "SM", "OT", "SC", "DOC", "XA", "RF"})
"""Modalities whose images often have a name burned in: taken only where the header says that they have none."""


def open_reviewed(directory: Path) -> ReviewedSource | None:
    """The source that `reviewed:CONFIG` names, or None for any other name. Raises SourceError.

    That the images of reviews are taken out, and by whom, is recorded in the node's audit.
    """
    named = str(directory)
    if not named.startswith(_PREFIX):
        return None
    config = named.removeprefix(_PREFIX)
    try:
        settings = load_settings(Path(config) if config else None)
        repository_to_read(settings)
        node = Node(settings)
        count_reviews(node.repository, node.folder)
        source = ReviewedSource(node.repository, node.folder, dataset_key(node.folder))
        node.repository.record_event(
            AuditEvent(
                _who(),
                AuditAction.EXPORT,
                "reviewed masks for MedSeg-QA",
                address=socket.gethostname(),
                counts={"studies": len(source)},
                details={"anonymized": True},
            )
        )
    except WorkflowError as error:
        raise SourceError(f"{named}: {error}") from error
    return source


def _who() -> str:
    """The user of the operating system, and who became that user by sudo."""
    user, through = getpass.getuser(), os.environ.get("SUDO_USER", "")
    return f"{through} as {user}" if through and through != user else user


def dataset_key(folder: DataFolder) -> bytes:
    """The key of the hashes, made where there is none: who lacks it cannot try patient ids until a hash fits."""
    path = folder.root / _KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(path.read_text())
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return bytes.fromhex(path.read_text())


@dataclass
class _Reviewed:
    """What of one part of a job may be taught: masks by label, and the labels of which nothing can be said."""

    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)

    def add(self, label: str, mask: NDArray[np.bool_]) -> None:
        before = self.masks.get(label)
        self.masks[label] = mask if before is None else before | mask

    @property
    def searched(self) -> tuple[str, ...]:
        """Labels of which a slice without a mask says that they are not there."""
        return tuple(sorted((set(self.masks) | self.absent) - self.unsure))

    @property
    def taken(self) -> Mapping[str, NDArray[np.bool_]]:
        """The masks that are whole: one of which a part is unsure teaches that the rest is not there."""
        return {label: mask for label, mask in self.masks.items() if label not in self.unsure}


class ReviewedSource:
    """Slices with masks that a reader accepted or drew, in display orientation."""

    def __init__(self, repository: Repository, folder: DataFolder, key: bytes) -> None:
        self._repository, self._folder, self._key = repository, folder, key
        self._reviews = repository.last_written_reviews()

    def __len__(self) -> int:
        return len(self._reviews)

    def __iter__(self) -> Iterator[SourceImage | Skip]:
        for review in self._reviews:
            keys = review.job_keys
            for job_key in sorted(keys):
                try:
                    yield from self._images(review, self._repository.job(job_key))
                except Skip as skip:
                    log.warning("left_out", study_uid=review.study_uid, reason=skip.detail)
                    yield skip
                except (DicomNodeError, LookupError, OSError) as error:
                    log.warning("left_out", study_uid=review.study_uid, reason=type(error).__name__)
                    yield Skip(Problem.BROKEN_IMAGE, f"{self._hash(job_key)}: {type(error).__name__}")

    def _images(self, review: Review, job: Job) -> Iterator[SourceImage | Skip]:
        name = self._hash(job.job_key)
        parts = self._reviewed(review, job)
        if not any(part.taken for part in parts.values()):
            return
        instances = images_of(self._repository.instances(job.study_uid), job.series_uid)
        if inputs_of(instances) != tuple(job.inputs):
            raise Skip(Problem.MISSING_FILE, f"{name}: its images were removed, replaced or purged; they are not taken")
        series = load_series([self._folder.absolute(instance.path) for instance in instances], job.frames)
        for number, part in sorted(parts.items()):
            volume = series.parts[number]
            if reason := writing_on(volume):
                yield Skip(Problem.BROKEN_IMAGE, f"{name}: {reason}")
                continue
            if any(mask.shape != volume.values.shape[:3] for mask in part.taken.values()):
                yield Skip(Problem.SIZE_MISMATCH, f"{name}: a mask lies on another grid than its series")
                continue
            naming = SliceNaming(
                name=name,
                number=number,
                dataset="reviewed",
                group=self._hash(text(volume.source, "PatientID") or job.study_uid),
                source="results that a reader accepted or corrected",
                licence=LICENCE,
                searched=part.searched,
            )
            yield from slices_of(volume, dict(part.taken), naming)

    def _reviewed(self, review: Review, job: Job) -> dict[int, _Reviewed]:
        """What a review says of each part of a job."""
        masks = masks_of(job, self._repository, self._folder)
        parts: dict[int, _Reviewed] = {part.ordinal: _Reviewed() for part in job.parts}
        verdicts = {
            (one.place.answer, one.place.finding): one for one in review.verdicts if one.place.job_key == job.job_key
        }
        for number, answer in enumerate(job.answers):
            for place, finding in enumerate(answer.findings):
                part = parts[answer.part]
                self._judge(part, job, verdicts.get((number, place)), finding.label, masks[number, place])
        for missed in (one for one in review.missed if one.job_key == job.job_key):
            part = parts[job.answers[missed.answer].part]
            if missed.correction is None:
                part.unsure.add(missed.label)
            else:
                part.add(missed.label, self._drawn(job, missed.correction))
        return parts

    def _judge(
        self, part: _Reviewed, job: Job, verdict: FindingVerdict | None, label: str, mask: NDArray[np.bool_]
    ) -> None:
        if verdict is None:
            part.unsure.add(label)
            return
        rightly = verdict.label or label
        match verdict.kind:
            case VerdictKind.ACCEPT:
                part.add(label, mask)
            case VerdictKind.NOT_THERE:
                part.absent.add(label)
            case VerdictKind.OUTLINE | VerdictKind.NAME if verdict.correction is not None:
                part.add(rightly, self._drawn(job, verdict.correction))
            case VerdictKind.NAME if verdict.label is not None:
                part.add(verdict.label, mask)
            case VerdictKind.OUTLINE | VerdictKind.NAME:
                part.unsure |= {label, rightly}

    def _drawn(self, job: Job, digest: str) -> NDArray[np.bool_]:
        (mask,) = read_masks(self._folder.reviews / job.study_uid / f"{digest}.npz")
        return mask

    def _hash(self, named: str) -> str:
        return hmac.new(self._key, named.encode(), hashlib.sha256).hexdigest()[:16]


def writing_on(volume: SeriesVolume) -> str:
    """Why an image may show writing, a patient's name perhaps; "" where it does not (PS3.3 C.7.6.1, C.8.6)."""
    stated = text(volume.source, "BurnedInAnnotation").upper()
    if stated == "YES":
        return "its header says that something is burned into its pixels"
    secondary = "SECONDARY" in (value.upper() for value in texts(volume.source, "ImageType"))
    derived = secondary or bool(text(volume.source, "ConversionType"))
    if stated != "NO" and (volume.modality in _MAY_CARRY_WRITING or derived):
        return f"{volume.modality} images may show writing, and its header does not say that this one does not"
    return ""
