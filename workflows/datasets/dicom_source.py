"""MedSeg-QA from DICOM: series with DICOM SEG, so that reviewed results become training data."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError
from dicom_node.headers.elements import text
from dicom_node.headers.instance import read_identifiers
from dicom_node.results.stored_segmentation import ReadSegment, read_segments
from dicom_node.volumes.display import display_view
from dicom_node.volumes.load import LoadedSeries, SeriesVolume, load_series
from inference.medseg_qa.sources import Problem, Skip, SourceImage, pictured
from inference.pictures import is_fixed_window, view_of

__all__ = ["DicomSegSource", "SliceNaming", "open_dicom", "slices_of"]

_SEG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_TOLERANCE_VOXELS = 0.5
_NAMES = {"nasogastric tube": "nosogastric tube"}
"""Labels that the public data spells otherwise."""


def open_dicom(directory: Path) -> DicomSegSource | None:
    """The source of a folder of DICOM files in which at least one is a SEG, or None."""
    # objects of another class may share a series with its images: the class with most instances is the images'
    classes: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    segmentations: list[Path] = []
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        try:
            found = read_identifiers(path)
        except DicomNodeError:
            continue
        if found.sop_class_uid in _SEG_CLASSES:
            segmentations.append(path)
        else:
            classes[found.series_uid][found.sop_class_uid].append(path)
    series = {uid: max(by_class.values(), key=len) for uid, by_class in classes.items()}
    return DicomSegSource(series, segmentations) if segmentations else None


class DicomSegSource:
    """Slices of series that a SEG was drawn on, in display orientation.

    Patient ID and UIDs stay here: the set holds their hashes, with which patients can still be kept on one side.
    """

    def __init__(self, series: dict[str, list[Path]], segmentations: list[Path]) -> None:
        self._series = series
        self._segmentations = segmentations

    def __len__(self) -> int:
        return len(self._segmentations)

    def __iter__(self) -> Iterator[SourceImage | Skip]:
        for number, path in enumerate(self._segmentations):
            try:
                yield from self._images(path, number)
            except Skip as skip:
                yield skip
            except DicomNodeError as error:
                yield Skip(Problem.BROKEN_IMAGE, f"SEG {number}: {error}")

    def _images(self, path: Path, number: int) -> Iterator[SourceImage]:
        segments = list(read_segments(path))
        if not segments or segments[0].series_uid not in self._series:
            raise Skip(Problem.MISSING_FILE, f"SEG {number}: the series it was drawn on is not in the folder")
        volume = _the_volume(load_series(self._series[segments[0].series_uid]), number)
        masks: dict[str, NDArray[np.bool_]] = {}
        for segment in segments:
            label = _NAMES.get(segment.label, segment.label)
            mask = _on_grid(segment, volume, f"SEG {number} segment {segment.number}")
            masks[label] = masks.get(label, np.zeros_like(mask)) | mask
        name = _hash(segments[0].series_uid)
        naming = SliceNaming(
            name=name,
            number=number,
            dataset="dicom",
            group=_hash(text(volume.source, "PatientID") or name),
            source=f"DICOM series {name}",
            licence="the hospital's own",
            searched=tuple(masks),
        )
        yield from slices_of(volume, masks, naming)


def _the_volume(loaded: LoadedSeries, number: int) -> SeriesVolume:
    """A SEG does not say which of several volumes of its series it was drawn on, so there must be one."""
    if len(loaded.parts) > 1:
        raise Skip(Problem.SIZE_MISMATCH, f"SEG {number}: its series holds {len(loaded.parts)} volumes or images")
    return loaded.parts[0]


def _on_grid(segment: ReadSegment, volume: SeriesVolume, name: str) -> NDArray[np.bool_]:
    """A segment as bool `slices rows columns` of its series; raises Skip if it lies on another grid."""
    if volume.geometry is None or segment.plane is not None:
        plane = np.zeros(volume.values.shape[1:3], dtype=np.bool_) if segment.plane is None else segment.plane
        if volume.geometry is not None or len(segment.points) or plane.shape != volume.values.shape[1:3]:
            raise Skip(Problem.SIZE_MISMATCH, f"{name} lies on another grid than its series")
        return plane[None]
    indices = volume.geometry.indices(segment.points)
    nearest = np.rint(indices).astype(np.int64)
    mask = np.zeros(volume.values.shape[:3], dtype=np.bool_)
    outside = bool(((nearest < 0) | (nearest >= mask.shape)).any())
    if outside or np.abs(indices - nearest).max(initial=0.0) > _TOLERANCE_VOXELS:
        raise Skip(Problem.SIZE_MISMATCH, f"{name} lies on another grid than its series")
    mask[tuple(nearest.T)] = True
    return mask


@dataclass(frozen=True)
class SliceNaming:
    """How slices of a volume are named: none of it says whose they are. `searched`: as `SourceImage` has it."""

    name: str
    number: int
    dataset: str
    group: str
    source: str
    licence: str
    searched: tuple[str, ...]


def slices_of(volume: SeriesVolume, masks: dict[str, NDArray[np.bool_]], naming: SliceNaming) -> Iterator[SourceImage]:
    """The slices of a volume on which something is marked, in display orientation, as a model is shown them.

    `masks`: by label, each bool `slices rows columns` on the volume's grid.
    """
    view = display_view(volume)
    values = view.apply(volume.values)
    pictures = view_of(values, volume.modality, {})
    shown = {label: view.apply(mask) for label, mask in masks.items()}
    spacing = volume.pixel_spacing_mm
    if spacing is not None and view.transpose:
        spacing = (spacing[1], spacing[0])
    marked = np.flatnonzero(np.any([mask.any(axis=(1, 2)) for mask in shown.values()], axis=0))
    for k in (int(index) for index in marked):
        pixels = pictured(pictures, values[k], {label: mask[k] for label, mask in shown.items() if mask[k].any()})
        yield SourceImage(
            id=f"{naming.name}_{naming.number:03d}_slice_{k:03d}",
            dataset=naming.dataset,
            group=naming.group,
            split=None,
            modality=volume.modality,
            source=naming.source,
            licence=naming.licence,
            load=lambda pixels=pixels: pixels,  # type: ignore[misc]
            spacing_mm=spacing,
            orientation=_orientation(volume),
            laterality=_laterality(volume),
            searched=naming.searched,
            window=pictures.limits if is_fixed_window(volume.modality, {}) else None,
        )


def _orientation(volume: SeriesVolume) -> str:
    """`radiological` where the patient's left is on the image's right by the geometry, else `image`."""
    if volume.geometry is None:
        return "image"
    # seen from the side there is no left and right half of the patient
    return "image" if int(np.argmax(np.abs(volume.geometry.normal))) == 0 else "radiological"


def _laterality(volume: SeriesVolume) -> str | None:
    """The paired body part's side as the image or its series states it (PS3.3 C.7.6.1, C.7.3.1)."""
    stated = text(volume.source, "ImageLaterality") or text(volume.source, "Laterality")
    return stated if stated in ("L", "R") else None


def _hash(text: str) -> str:
    return hashlib.sha256(f"medseg-qa/{text}".encode()).hexdigest()[:16]
