"""Showing: single slices of what a job read, with its masks, for pages; fast, bounded in memory, for several threads.

Slices are those of `load_series` on the job's own inputs, so masks lie on them voxel for voxel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from dicom_node.errors import ResultRefused, VolumeRefused
from dicom_node.results.mask_file import BoxedMask, mask_file_name, read_boxed_masks
from dicom_node.results.profiles import ResultKind
from dicom_node.results.stored_masks import masks_of_segmentation, tracking_uids
from dicom_node.showing.cache import BoundedCache
from dicom_node.showing.kept import STACKS_FILE, kept_stacks
from dicom_node.showing.pictures import RawSlice, png_of, raw_slice
from dicom_node.showing.stack import ShownStack, shown_stacks
from dicom_node.showing.windows import Window, full_range, shown_grey
from dicom_node.volumes.load import SeriesVolume, load_series
from workflows.data_folder import DataFolder
from workflows.errors import NotShown
from workflows.state.records import Instance, Job, ResultObject
from workflows.state.repository import Repository
from workflows.state.reviewing import FindingPlace, Review
from workflows.steps.fetch_shown import FetchedImages
from workflows.steps.inputs import images_of, inputs_of, is_intact

__all__ = ["Showing", "corrected_path", "part_findings"]

log = structlog.get_logger()

_STACK_SLICES = 40_000
_RAW_BYTES = 128 * 1024 * 1024
_MASK_BYTES = 128 * 1024 * 1024
_VOLUME_BYTES = 768 * 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Showing:
    """Slices and masks of jobs. One object serves all readers of a process."""

    def __init__(self, repository: Repository, folder: DataFolder, fetched: FetchedImages) -> None:
        self._repository, self._folder, self._fetched = repository, folder, fetched
        self._stacks: BoundedCache[str, tuple[tuple[ShownStack, ...], Mapping[Path, Instance]]] = BoundedCache(
            _STACK_SLICES, lambda known: 1 + sum(len(stack.slices) for stack in known[0])
        )
        self._raw: BoundedCache[tuple[str, int, int], RawSlice] = BoundedCache(_RAW_BYTES, lambda one: len(one.content))
        self._masks: BoundedCache[tuple[Path, int], tuple[BoxedMask, ...]] = BoundedCache(
            _MASK_BYTES, lambda masks: sum(mask.bits.nbytes + 200 for mask in masks)
        )
        self._volumes: BoundedCache[tuple[str, int], SeriesVolume] = BoundedCache(
            _VOLUME_BYTES, lambda volume: volume.values.nbytes
        )
        self._tracked: BoundedCache[str, tuple[str, ...]] = BoundedCache(20_000, lambda uids: 1 + len(uids))
        self._counts: BoundedCache[tuple[Path, int], tuple[NDArray[np.int64], ...]] = BoundedCache(
            64 * 1024 * 1024, lambda counts: sum(one.nbytes for one in counts) + 100
        )

    # --- Images -------------------------------------------------------------------------------------------------------

    def stacks(self, job: Job) -> tuple[ShownStack, ...]:
        """The parts of a job's series. Raises NotShown."""
        return self._known(job)[0]

    def stack(self, job: Job, part: int) -> ShownStack:
        """One of them. Raises NotShown, LookupError where the job has no such part."""
        stacks = self.stacks(job)
        if not 0 <= part < len(stacks):
            raise LookupError(f"the series has {len(stacks)} parts")
        return stacks[part]

    def look_at(self, job: Job) -> None:
        """Look at a job's headers, so that who asks next waits less; what cannot be shown is told to them."""
        with suppress(NotShown):
            self.stacks(job)

    def knows(self, job: Job) -> bool:
        """Whether the headers of a job's series were looked at lately, so that asking costs nothing."""
        return self._stacks.has(job.job_key)

    def values(self, job: Job, part: int, index: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        """A slice in display orientation, as `ShownStack.displayed` has it.

        Raises NotShown where its file is gone, damaged or cannot be read, LookupError for a slice that is none.
        """
        stack = self.stack(job, part)
        if not 0 <= index < len(stack.slices):
            raise LookupError(f"the part has {len(stack.slices)} slices")
        item = stack.slices[index]
        try:
            self._require_intact(job, item.path)
            return stack.displayed(index)
        except FileNotFoundError as error:
            self._repository.suspect(job.study_uid)
            self._stacks.forget(job.job_key)
            raise NotShown("gone", _gone(item.name)) from error
        except OSError as error:
            raise NotShown("gone", f"The file of {item.name} cannot be read: {error.strerror}.") from error
        except VolumeRefused as refused:
            raise NotShown("refused", f"This slice cannot be shown: {refused}.") from refused

    def raw(self, job: Job, part: int, index: int) -> RawSlice:
        """A slice's values for a page that windows them itself. Raises as `values` does."""
        return self._raw.get((job.job_key, part, index), lambda: raw_slice(self.values(job, part, index)))

    def picture(self, job: Job, part: int, index: int, window: Window | None = None) -> bytes:
        """A slice as a PNG in display orientation; `window`: None for the first of its stack. Raises as `values`."""
        return png_of(self.pixels(job, part, index, window))

    def pixels(self, job: Job, part: int, index: int, window: Window | None = None) -> NDArray[np.uint8]:
        """The same as 8-bit `rows columns` grey, or RGB."""
        values = self.values(job, part, index)
        if values.ndim == 3:
            return np.asarray(values, dtype=np.uint8)
        chosen = window or next(iter(self.stack(job, part).windows), None) or full_range(values)
        return shown_grey(np.asarray(values, dtype=np.float32), chosen)

    def volume(self, job: Job, part: int) -> SeriesVolume:
        """A whole part, on its source grid. Raises as `values` does."""
        return self._volumes.get((job.job_key, part), lambda: self._volume(job, part))

    def _volume(self, job: Job, part: int) -> SeriesVolume:
        _, paths = self._known(job)
        self.stack(job, part)
        try:
            for path in paths:
                self._require_intact(job, path)
            return load_series(list(paths), job.frames).parts[part]
        except OSError as error:
            self._repository.suspect(job.study_uid)
            self._stacks.forget(job.job_key)
            raise NotShown("gone", _gone("this series")) from error
        except VolumeRefused as refused:
            raise NotShown("refused", f"The images of this series cannot be shown: {refused}.") from refused

    def _known(self, job: Job) -> tuple[tuple[ShownStack, ...], Mapping[Path, Instance]]:
        return self._stacks.get(job.job_key, lambda: self._plan(job))

    def _plan(self, job: Job) -> tuple[tuple[ShownStack, ...], Mapping[Path, Instance]]:
        paths = self._paths(job)
        try:
            stacks = self._kept(job, paths) or shown_stacks(list(paths), job.frames)
        except FileNotFoundError as error:
            self._repository.suspect(job.study_uid)
            raise NotShown("gone", _gone("this series")) from error
        except OSError as error:
            raise NotShown("gone", f"The images of this series cannot be read: {error.strerror}.") from error
        except VolumeRefused as refused:
            raise NotShown("refused", f"The images of this series cannot be shown: {refused}.") from refused
        read = [part.slices for part in job.parts]
        if read and read != [len(stack.slices) for stack in stacks]:
            raise NotShown(
                "damaged",
                "The images of this series are not those that were read any more: their masks would lie wrong. "
                "`medseg-node reread` reads the study again.",
            )
        return stacks, paths

    def _kept(self, job: Job, paths: Mapping[Path, Instance]) -> tuple[ShownStack, ...] | None:
        """The stacks as they were kept when the job was answered; None: headers say it, and what is wrong with them."""
        files: dict[str, Path] = {one.sop_instance_uid: path for path, one in paths.items()}
        if len(files) < len(paths) or not all(path.is_file() for path in paths):
            return None
        folders = dict.fromkeys(self._path(one).parent for one in self._repository.objects(job.job_key))
        kept = (kept_stacks(folder / STACKS_FILE, files) for folder in folders)
        return next((stacks for stacks in kept if stacks), None)

    def _paths(self, job: Job) -> dict[Path, Instance]:
        """The files that the job read, those that were removed fetched again. Raises NotShown."""
        wanted = set(job.inputs)
        rows = self._repository.series_instances(job.study_uid, job.series_uid)
        instances = [one.as_read for one in images_of(rows) if wanted.issuperset(inputs_of([one.as_read]))]
        if lost := [one for one in instances if one.lost_at is not None]:
            named = f"instance {lost[0].sop_instance_uid}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")
            raise NotShown("gone", _gone(named))
        if len(instances) < len(wanted):
            raise NotShown(
                "gone",
                f"{len(wanted) - len(instances)} of the {len(wanted)} images that were read are not kept here any "
                "more, since others came in their place. `medseg-node reread` reads what is there now.",
            )
        removed = [one for one in instances if one.removed_at is not None]
        again = self._fetched.paths_of(removed) if removed else {}
        return {again.get(one.sop_instance_uid) or self._folder.absolute(one.path): one for one in instances}

    def _require_intact(self, job: Job, path: Path) -> None:
        """Raise NotShown for a file of our store with other bytes than were received; what was fetched is not ours."""
        instance = self._known(job)[1].get(path)
        if instance is None or instance.removed_at is not None or is_intact(instance, self._folder):
            return
        self._repository.suspect(job.study_uid)
        raise NotShown(
            "damaged",
            f"The file of instance {instance.sop_instance_uid} is damaged, and is not shown. It is asked for again "
            "where it came from; if it does not come, send the study again.",
        )

    # --- Masks --------------------------------------------------------------------------------------------------------

    def masks(self, job: Job, objects: tuple[ResultObject, ...], part: int) -> tuple[BoxedMask, ...]:
        """The masks of a part's findings, in their order, on its source grid. Raises NotShown where there are none."""
        try:
            path, stamp = self._mask_file(objects, part)
            return self._masks.get((path, stamp), lambda: self._read_masks(path, job, part))
        except FileNotFoundError as error:
            raise NotShown("gone", "The outlines of this result are not kept here; the archive has them.") from error
        except (ResultRefused, OSError) as error:
            raise NotShown("damaged", f"The outlines of this result cannot be read: {error}.") from error

    def tracking_uids(self, job: Job, objects: tuple[ResultObject, ...]) -> Mapping[int, tuple[str, ...]]:
        """By part, the Tracking UID of each finding, in their order, as its SEG has it; nothing where there is none."""
        found = {}
        for one in objects:
            if one.kind is ResultKind.SEGMENTATION and one.part is not None and one.retraction is None:
                with suppress(ResultRefused):
                    found[one.part] = self._tracked.get(one.sop_instance_uid, lambda one=one: self._uids(one))  # type: ignore[misc]
        return found

    def _uids(self, segmentation: ResultObject) -> tuple[str, ...]:
        return tracking_uids(self._path(segmentation))

    def counts(self, job: Job, objects: tuple[ResultObject, ...], part: int) -> tuple[NDArray[np.int64], ...]:
        """Voxels on each slice, of each finding of a part. Raises as `masks` does."""
        masks = self.masks(job, objects, part)
        key = self._mask_file(objects, part)
        return self._counts.get(key, lambda: tuple(mask.counts() for mask in masks))

    @staticmethod
    def findings(job: Job, part: int) -> list[FindingPlace]:
        """The findings of a part in the order of its masks."""
        return part_findings(job, part)

    def corrected(self, review: Review | None, place: FindingPlace) -> BoxedMask | None:
        """The mask that the current review draws in place of a finding's; None: it does not, or it is not there."""
        verdict = None if review is None else review.verdict_on(place)
        if review is None or verdict is None or verdict.correction is None:
            return None
        path = corrected_path(self._folder, review.study_uid, verdict.correction)
        try:
            found = self._masks.get((path, path.stat().st_mtime_ns), lambda: read_boxed_masks(path))
        except (OSError, ResultRefused):
            log.warning("correction_unreadable", study_uid=review.study_uid, digest=verdict.correction)
            return None
        return found[0] if found else None

    def _mask_file(self, objects: tuple[ResultObject, ...], part: int) -> tuple[Path, int]:
        """The part's file of masks, else its SEG, and when it was written."""
        folders = dict.fromkeys(self._folder.absolute(one.path).parent for one in objects)
        segs = [one for one in objects if one.kind is ResultKind.SEGMENTATION and one.part == part]
        candidates = [*(folder / mask_file_name(part) for folder in folders), *map(self._path, segs)]
        for path in candidates:
            if path.is_file():
                return path, path.stat().st_mtime_ns
        raise FileNotFoundError(mask_file_name(part))

    def _path(self, result: ResultObject) -> Path:
        return self._folder.absolute(result.path)

    def _read_masks(self, path: Path, job: Job, part: int) -> tuple[BoxedMask, ...]:
        if path.suffix == ".npz":
            return read_boxed_masks(path)
        stack = self.stack(job, part)
        places = {(item.sop_instance_uid, item.frame): index for index, item in enumerate(stack.slices)}
        return masks_of_segmentation(path, places, (len(stack.slices), stack.rows, stack.columns))


def part_findings(job: Job, part: int) -> list[FindingPlace]:
    """The findings of a part in the order of its masks: by answer, then by finding."""
    return [
        FindingPlace(job.job_key, number, place)
        for number, answer in enumerate(job.answers)
        if answer.part == part
        for place in range(len(answer.findings))
    ]


def corrected_path(folder: DataFolder, study_uid: str, digest: str) -> Path:
    """Where a corrected mask lies. Raises ValueError for what is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError("a corrected mask is named by its sha256")
    return folder.root / "reviews" / study_uid / f"{digest}.npz"


def _gone(what: str) -> str:
    return (
        f"The file of {what} is gone from the store, or damaged. It is asked for again where it came from; if it does "
        "not come, send the study again."
    )
