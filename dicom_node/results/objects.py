"""All objects of a profile, in order: what is referenced before what references it, each read back once written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pydicom
import structlog
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.results.captures import build_captures
from dicom_node.results.document import build_document
from dicom_node.results.figures import figures
from dicom_node.results.finding import ReadPart, ResultContext
from dicom_node.results.gate import check_companion, check_report, check_segmentation
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.key_objects import build_key_objects
from dicom_node.results.mask_file import mask_file_name, write_masks
from dicom_node.results.overlay import write_overlay
from dicom_node.results.page import Figure
from dicom_node.results.presentation_state import build_presentation_state
from dicom_node.results.profiles import PROFILES, ResultKind, Wishes, kinds_of
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation

__all__ = ["MadeObject", "make_objects"]

T = TypeVar("T")

_log = structlog.get_logger()

_CARRIES_THE_ANSWER = frozenset({ResultKind.REPORT, ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES})
"""Without them nobody would read what was answered; what else cannot be written is left out, and they say so."""


@dataclass(frozen=True)
class MadeObject:
    """An object that lies on the disk. `part`: ordinal of the part that it is of; None: of the whole job.

    `references`: SOP Instance UIDs of our own objects that it refers to.
    """

    sop_instance_uid: str
    sop_class_uid: str
    kind: ResultKind
    part: int | None
    path: Path
    references: tuple[str, ...] = ()
    series_uid: str = ""


def make_objects(
    parts: Sequence[ReadPart],
    identity: ResultIdentity,
    wishes: Sequence[Wishes],
    folder: Path,
    context: ResultContext,
    notes: list[str],
    *,
    only: Collection[ResultKind] | None = None,
    report: Path | None = None,
) -> list[MadeObject]:
    """Write the objects of `context.profile` that destinations with these `wishes` get, and a picture of each part.

    The first part's SEG is seg.dcm and its picture overlay.png, those of others seg-2.dcm, overlay-2.png and so on.
    `notes`: what the answer says beside itself; an object that cannot be written adds one. Raises ResultRefused when an
    object fails its check, or the one that carries the answer cannot be written.

    `only`: of these kinds and no others. `report`: the file of the report that stands, where none is to be made.
    """
    seen = any(part.findings for part in parts)
    kinds = frozenset().union(*(kinds_of(context.profile, one, seen=seen) for one in wishes))
    kinds = kinds if only is None else kinds & frozenset(only)
    making = _Making(parts, identity, kinds, folder, context, notes)
    making.make(None if report is None else pydicom.dcmread(report))
    return making.made


class _Making:
    """The objects of one job and profile as they come."""

    def __init__(
        self,
        parts: Sequence[ReadPart],
        identity: ResultIdentity,
        kinds: frozenset[ResultKind],
        folder: Path,
        context: ResultContext,
        notes: list[str],
    ) -> None:
        self._parts, self._identity, self._kinds = parts, identity, kinds
        self._folder, self._context, self._notes = folder, context, notes
        self.made: list[MadeObject] = []

    def make(self, report: Dataset | None) -> None:
        segmentations = [self._segmentation(part) for part in self._parts]
        for part in self._parts:
            picture = self._folder / _file_name("overlay", part.ordinal, "png")
            write_overlay(part, picture, self._context.terms)
            masks = [finding.mask for finding in part.findings]
            slices, rows, columns = part.volume.values.shape[:3]
            write_masks(self._folder / mask_file_name(part.ordinal), masks, (slices, rows, columns))
        if ResultKind.REPORT in self._kinds:
            report = self._report(segmentations)
        if ResultKind.PRESENTATION_STATE in self._kinds:
            for part in self._parts:
                self._companion(
                    ResultKind.PRESENTATION_STATE,
                    lambda part=part: build_presentation_state(part, self._context, self._identity),  # type: ignore[misc]
                    _file_name("presentation-state", part.ordinal, "dcm"),
                    part.ordinal,
                )
        for kind in (ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES):
            if kind in self._kinds:
                self._captures(kind)
        if ResultKind.KEY_OBJECTS in self._kinds:
            self._companion(
                ResultKind.KEY_OBJECTS, lambda: build_key_objects(self._parts, self._context), "key-objects.dcm"
            )
        if ResultKind.DOCUMENT in self._kinds:
            self._companion(
                ResultKind.DOCUMENT,
                lambda: build_document(self._parts, self._context, self._identity, self._notes, report, self._figures),
                "document.dcm",
                references=() if report is None else (str(report.SOPInstanceUID),),
            )

    @cached_property
    def _figures(self) -> list[Figure]:
        """The pictures of captures and document, drawn once."""
        return list(figures(self._parts))

    def _segmentation(self, part: ReadPart) -> Dataset | None:
        if ResultKind.SEGMENTATION not in self._kinds:
            return None
        if part.volume.geometry is None and not PROFILES[self._context.profile].projections_segmented:
            return None
        segmentation = self._built(
            ResultKind.SEGMENTATION, lambda: build_segmentation(part, self._context), part.ordinal
        )
        if segmentation is not None:
            path = self._folder / _file_name("seg", part.ordinal, "dcm")
            save(segmentation, path, self._identity)
            check_segmentation(path, part, self._identity)
            self._add(ResultKind.SEGMENTATION, segmentation, path, part.ordinal)
        return segmentation

    def _report(self, segmentations: Sequence[Dataset | None]) -> Dataset | None:
        report = self._built(
            ResultKind.REPORT, lambda: build_report(self._parts, segmentations, self._context, self._notes)
        )
        if report is not None:
            path = self._folder / "sr.dcm"
            save(report, path, self._identity)
            check_report(path, self._parts, self._identity)
            references = tuple(str(one.SOPInstanceUID) for one in segmentations if one is not None)
            self._add(ResultKind.REPORT, report, path, None, references)
        return report

    def _captures(self, kind: ResultKind) -> None:
        single = kind is ResultKind.CAPTURE_IMAGES
        captures = self._built(
            kind,
            lambda: build_captures(
                self._parts, self._context, self._identity, self._notes, single_images=single, drawn=self._figures
            ),
        )
        for number, capture in enumerate(captures or ()):
            path = self._folder / _file_name("capture-image" if single else "capture", number, "dcm")
            self._save_companion(kind, capture, path, None, ())

    def _companion(
        self,
        kind: ResultKind,
        build: Callable[[], Dataset | None],
        name: str,
        part: int | None = None,
        references: tuple[str, ...] = (),
    ) -> None:
        dataset = self._built(kind, build, part)
        if dataset is not None:
            self._save_companion(kind, dataset, self._folder / name, part, references)

    def _save_companion(
        self, kind: ResultKind, dataset: Dataset, path: Path, part: int | None, references: tuple[str, ...]
    ) -> None:
        save(dataset, path, self._identity)
        check_companion(path, kind, self._parts, self._identity, references)
        self._add(kind, dataset, path, part, references)

    def _built(self, kind: ResultKind, build: Callable[[], T], part: int | None = None) -> T | None:
        """What a writer returns; None where it cannot write, which a note then says."""
        try:
            return build()
        except ResultRefused:
            raise
        except Exception as error:  # the writers' moods are not a closed set, and the answer is worth having
            _log.exception("object_not_written", kind=kind.value, part=part)
            if kind in _CARRIES_THE_ANSWER:
                raise ResultRefused(
                    f"no {kind.value} can be written for this series ({type(error).__name__}); tell us"
                ) from error
            where = f" of part {part + 1}" if part else ""
            lost = "; the masks are not delivered" if kind is ResultKind.SEGMENTATION else ""
            note = f"No {_NAMES[kind]}{where} could be written ({type(error).__name__}){lost}."
            if note not in self._notes:
                self._notes.append(note)
            return None

    def _add(
        self, kind: ResultKind, dataset: Dataset, path: Path, part: int | None, references: tuple[str, ...] = ()
    ) -> None:
        uids = str(dataset.SOPInstanceUID), str(dataset.SOPClassUID)
        series_uid = str(dataset.SeriesInstanceUID)
        self.made.append(MadeObject(*uids, kind, part, path, references, series_uid))


_NAMES = {
    ResultKind.SEGMENTATION: "segmentation",
    ResultKind.PRESENTATION_STATE: "presentation state",
    ResultKind.KEY_OBJECTS: "key object selection",
    ResultKind.DOCUMENT: "document",
}


def _file_name(stem: str, ordinal: int, suffix: str) -> str:
    return f"{stem}-{ordinal + 1}.{suffix}" if ordinal else f"{stem}.{suffix}"
