"""A series read as one stack of slices in modality units, with its place in the patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.coding import Code

from dicom_node.errors import VolumeRefusal, VolumeRefused, without_values
from dicom_node.identifiers import SeriesUID, StudyUID
from dicom_node.sop_classes import ImageKind, image_kind
from dicom_node.volumes.geometry import Plane, arrange
from dicom_node.volumes.pixels import is_color, stored_frames
from dicom_node.volumes.planes import Rescale, instance_plane, instance_rescale, number_of_frames, numbers
from dicom_node.volumes.projection import SpacingBasis, projected_spacing

__all__ = ["HOUNSFIELD", "SeriesVolume", "load_series"]

HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
_BECQUEREL_PER_ML = Code("Bq/ml", "UCUM", "Becquerels/milliliter")


@dataclass(frozen=True)
class SeriesVolume:
    """One series as voxels with their geometry.

    `values`: float32 `slices rows columns` in modality units (HU for CT), or uint8 `slices rows columns 3` RGB. Slices
    ascend along row direction x column direction. MONOCHROME1 is turned round within `stored_range`, so that high is
    bright in every grey stack; `inverted` says so, and `unit` is then None.
    `geometry`: slice, row, column indices to patient coordinates in mm; None for images without patient geometry
    (CR, DX, MG, US, endoscopy, fundus, secondary capture), which come alone: a stack of one slice.
    `pixel_spacing_mm`: between rows, between columns, or None. `spacing_basis`: where that was measured, None without
    one. `slice_spacing_known`: False for a single slice whose thickness nobody wrote down. `unit`: of `values`, coded,
    where calibrated. `stored_range`: what BitsStored and PixelRepresentation allow, mapped through the rescale; with a
    rescale per slice, the lowest low and lowest high.
    `sources`: headers without pixels, one per slice in the order of `values`, or one multi-frame instance with
    `frame_numbers` (from 1) per slice.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    geometry: hd.VolumeGeometry | None
    pixel_spacing_mm: tuple[float, float] | None
    spacing_basis: SpacingBasis | None
    slice_spacing_known: bool
    sources: tuple[Dataset, ...]
    frame_numbers: tuple[int, ...] | None
    modality: str
    unit: Code | None
    stored_range: tuple[float, float]
    inverted: bool
    study_uid: StudyUID
    series_uid: SeriesUID

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between slices, rows and columns, mm; None where any of them is not known."""
        if self.geometry is None or not self.slice_spacing_known:
            return None
        slices, rows, columns = self.geometry.spacing
        return float(slices), float(rows), float(columns)

    @property
    def is_color(self) -> bool:
        return self.values.ndim == 4


@dataclass(frozen=True)
class _Slice:
    """One slice of the stack: which file, which frame (from 0, or None), how to rescale it."""

    path: Path
    header: Dataset
    frame: int | None
    rescale: Rescale


def load_series(paths: Sequence[Path]) -> SeriesVolume:
    """Read the files of one series as one volume.

    Headers are read and checked first; pixels then come one slice at a time into one array. Raises VolumeRefused, whose
    `reason` says which rule the series breaks (PS3.3 C.7.6.1 to C.7.6.3, C.7.6.16).
    """
    if not paths:
        raise VolumeRefused(VolumeRefusal.NO_IMAGES, "the series has no files")
    headers = [_read_header(path) for path in paths]
    kind = _common_kind(headers)
    _require_one_series(headers)
    _require_images_to_read(headers)
    _require_one_shape(headers)
    if kind is ImageKind.PROJECTION:
        return _load_projection(paths, headers)
    if kind is ImageKind.MULTI_FRAME:
        return _load_multi_frame(paths, headers)
    slices = [_Slice(path, header, None, instance_rescale(header)) for path, header in zip(paths, headers, strict=True)]
    return _load_stack(slices, [instance_plane(header) for header in headers])


def _read_header(path: Path) -> Dataset:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if not header.get("SOPClassUID") or not header.get("SeriesInstanceUID"):
            raise InvalidDicomError("no SOP Class UID or Series Instance UID")
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, NotImplementedError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not the file
            raise
        why = without_values(error)
        raise VolumeRefused(VolumeRefusal.NO_IMAGES, f"{path.name} is no DICOM image: {why}") from error
    return header


def _common_kind(headers: Sequence[Dataset]) -> ImageKind:
    classes = sorted({str(header.SOPClassUID) for header in headers})
    if len(classes) > 1:
        names = ", ".join(pydicom.uid.UID(uid).name for uid in classes[:3])
        raise VolumeRefused(VolumeRefusal.MIXED_SOP_CLASSES, f"{len(classes)} SOP classes: {names}")
    kind = image_kind(classes[0])
    if kind is None:
        raise VolumeRefused(
            VolumeRefusal.UNSUPPORTED_SOP_CLASS, f"{pydicom.uid.UID(classes[0]).name} is no image this node reads"
        )
    return kind


def _require_one_series(headers: Sequence[Dataset]) -> None:
    series = {str(header.SeriesInstanceUID) for header in headers}
    if len(series) > 1:
        raise VolumeRefused(VolumeRefusal.MULTIPLE_VOLUMES, f"files of {len(series)} series were given as one")


def _require_images_to_read(headers: Sequence[Dataset]) -> None:
    for header in headers:
        image_type = [str(value).upper() for value in header.get("ImageType") or []]
        if "LOCALIZER" in image_type:
            raise VolumeRefused(
                VolumeRefusal.LOCALIZER, f"instance {header.SOPInstanceUID} is a localizer, not read as a volume"
            )
        if "MOSAIC" in image_type:
            raise VolumeRefused(
                VolumeRefusal.MOSAIC,
                f"instance {header.SOPInstanceUID} holds many slices tiled into one image; convert it to slices first",
            )


def _require_one_shape(headers: Sequence[Dataset]) -> None:
    shapes: dict[tuple[int, int, bool, bool], str] = {}
    for header in headers:
        if not header.get("Rows") or not header.get("Columns"):
            raise VolumeRefused(VolumeRefusal.NO_PIXEL_DATA, f"instance {header.SOPInstanceUID} has no rows or columns")
        inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
        shapes.setdefault((int(header.Rows), int(header.Columns), is_color(header), inverted), header.SOPInstanceUID)
    if len(shapes) > 1:
        seen = "; ".join(f"{rows} x {columns}, e.g. {uid}" for (rows, columns, *_), uid in list(shapes.items())[:3])
        raise VolumeRefused(VolumeRefusal.MIXED_SHAPES, seen)


def _load_multi_frame(paths: Sequence[Path], headers: Sequence[Dataset]) -> SeriesVolume:
    if len(headers) > 1:
        raise VolumeRefused(
            VolumeRefusal.MULTIPLE_VOLUMES,
            f"{len(headers)} multi-frame instances in one series, each a volume of its own",
        )
    frames = range(number_of_frames(headers[0]))
    slices = [_Slice(paths[0], headers[0], frame, instance_rescale(headers[0], frame)) for frame in frames]
    return _load_stack(slices, [instance_plane(headers[0], frame) for frame in frames])


def _load_stack(slices: Sequence[_Slice], planes: Sequence[Plane]) -> SeriesVolume:
    header = slices[0].header
    arrangement = arrange(planes, int(header.Rows), int(header.Columns))
    ordered = [slices[index] for index in arrangement.order]
    spacing = arrangement.geometry.pixel_spacing
    multi_frame = ordered[0].frame is not None
    return _filled(
        ordered,
        geometry=arrangement.geometry,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        spacing_basis=SpacingBasis.PATIENT,
        slice_spacing_known=arrangement.slice_spacing_known,
        sources=(header,) if multi_frame else tuple(item.header for item in ordered),
        frame_numbers=tuple(item.frame + 1 for item in ordered if item.frame is not None) if multi_frame else None,
    )


def _load_projection(paths: Sequence[Path], headers: Sequence[Dataset]) -> SeriesVolume:
    """A single image. Several share no geometry, so no stack of them could be told apart in one SEG."""
    if len(headers) > 1:
        raise VolumeRefused(
            VolumeRefusal.MULTIPLE_VOLUMES,
            f"{len(headers)} images without a common geometry (views, projections); ask them one by one",
        )
    if number_of_frames(headers[0]) > 1:
        raise VolumeRefused(VolumeRefusal.CINE, f"{number_of_frames(headers[0])} frames over time, not over space")
    only = _Slice(paths[0], headers[0], None, instance_rescale(headers[0]))
    spacing = projected_spacing(headers[0])
    return _filled(
        [only],
        geometry=None,
        pixel_spacing_mm=spacing.mm if spacing is not None else None,
        spacing_basis=spacing.basis if spacing is not None else None,
        slice_spacing_known=False,
        sources=(headers[0],),
        frame_numbers=None,
    )


def _filled(
    ordered: Sequence[_Slice],
    *,
    geometry: hd.VolumeGeometry | None,
    pixel_spacing_mm: tuple[float, float] | None,
    spacing_basis: SpacingBasis | None,
    slice_spacing_known: bool,
    sources: tuple[Dataset, ...],
    frame_numbers: tuple[int, ...] | None,
) -> SeriesVolume:
    header = ordered[0].header
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    stored_range = (0.0, 255.0) if is_color(header) else _stored_range(ordered)
    values = _read_values(ordered)
    if inverted:
        np.subtract(np.float32(sum(stored_range)), values, out=values, casting="unsafe")
    return SeriesVolume(
        values=values,
        geometry=geometry,
        pixel_spacing_mm=pixel_spacing_mm,
        spacing_basis=spacing_basis,
        slice_spacing_known=slice_spacing_known,
        sources=sources,
        frame_numbers=frame_numbers,
        modality=str(header.get("Modality") or ""),
        unit=None if inverted else _unit(header, ordered[0].rescale),
        stored_range=stored_range,
        inverted=inverted,
        study_uid=StudyUID(str(header.StudyInstanceUID)),
        series_uid=SeriesUID(str(header.SeriesInstanceUID)),
    )


def _read_values(ordered: Sequence[_Slice]) -> NDArray[np.float32] | NDArray[np.uint8]:
    header = ordered[0].header
    shape = (len(ordered), int(header.Rows), int(header.Columns))
    values: NDArray[np.float32] | NDArray[np.uint8]
    values = np.empty((*shape, 3), np.uint8) if is_color(header) else np.empty(shape, np.float32)
    for index, (item, stored) in enumerate(zip(ordered, _frames(ordered), strict=True)):
        if stored.shape != values.shape[1:]:
            raise VolumeRefused(
                VolumeRefusal.UNDECODABLE_PIXEL_DATA,
                f"instance {item.header.SOPInstanceUID} decoded to {stored.shape}, its header says {values.shape[1:]}",
            )
        values[index] = stored
        if not is_color(header):
            values[index] *= np.float32(item.rescale.slope)
            values[index] += np.float32(item.rescale.intercept)
    return values


def _frames(ordered: Sequence[_Slice]) -> Iterator[NDArray[np.generic]]:
    if ordered[0].frame is not None:
        yield from stored_frames(ordered[0].path, [item.frame for item in ordered if item.frame is not None])
        return
    for item in ordered:
        yield from stored_frames(item.path)


def _stored_range(ordered: Sequence[_Slice]) -> tuple[float, float]:
    lows, highs = [], []
    for item in ordered:
        bits = numbers(item.header, "BitsStored") or numbers(item.header, "BitsAllocated") or (16.0,)
        signed = numbers(item.header, "PixelRepresentation") == (1.0,)
        low, high = (-(2.0 ** (bits[0] - 1)), 2.0 ** (bits[0] - 1) - 1) if signed else (0.0, 2.0 ** bits[0] - 1)
        ends = [end * item.rescale.slope + item.rescale.intercept for end in (low, high)]
        lows.append(min(ends))
        highs.append(max(ends))
    return min(lows), min(highs)


def _unit(header: Dataset, rescale: Rescale) -> Code | None:
    modality = header.get("Modality")
    if modality == "CT" and rescale.type in ("", "HU"):
        return HOUNSFIELD
    if modality == "PT" and header.get("Units") == "BQML":
        return _BECQUEREL_PER_ML
    return None
