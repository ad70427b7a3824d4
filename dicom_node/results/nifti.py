"""Images and masks as NIfTI, for researchers: the voxels as they are, and the affine of a true grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ExportRefused
from dicom_node.results.finding import ReadPart
from dicom_node.volumes.load import SeriesVolume

__all__ = ["affine_of", "write_nifti"]

_RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OFF = 0.02
"""Share of a step by which a slice may leave the grid of the affine; decimals of positions take less."""
_INSTEAD = "ask without --export nifti: the SEG has every slice's own place"


def affine_of(volume: SeriesVolume) -> NDArray[np.float64]:
    """The affine `4 4` from voxel (column, row, slice) to mm, RAS.

    Raises ExportRefused where the slices lie on no grid of boxes, or nobody knows where.
    """
    geometry, name = volume.geometry, volume.name or "the series"
    if geometry is None:
        raise ExportRefused(f"{name} has no place in the patient, and NIfTI needs one; ask without --export nifti")
    count = len(geometry.positions)
    if count > 1:
        step = (geometry.positions[-1] - geometry.positions[0]) / (count - 1)
        length = float(np.linalg.norm(step))
        expected = geometry.positions[0] + np.outer(np.arange(count), step)
        off = float(np.linalg.norm(geometry.positions - expected, axis=1).max())
        sideways = float(np.linalg.norm(step - geometry.normal * float(step @ geometry.normal)))
        if off > _OFF * length:
            raise ExportRefused(f"{name} has gaps of several widths, and NIfTI has one for all slices; {_INSTEAD}")
        if sideways > _OFF * length:
            raise ExportRefused(f"{name} has a tilted gantry, and voxels of NIfTI are boxes; {_INSTEAD}")
    elif geometry.slice_extents_mm is None:
        raise ExportRefused(f"{name} is one slice without a thickness, and voxels of NIfTI have one; {_INSTEAD}")
    else:
        step = geometry.normal * float(geometry.slice_extents_mm[0])
    between_rows, between_columns = geometry.pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = geometry.right * between_columns, geometry.down * between_rows
    affine[:3, 2], affine[:3, 3] = step, geometry.positions[0]
    return np.asarray(_RAS_OF_LPS @ affine, dtype=np.float64)


def write_nifti(parts: Sequence[ReadPart], folder: Path) -> list[Path]:
    """Write image-N.nii.gz for each part, in modality units, and mask-N-LABEL.nii.gz for each of its findings.

    N counts parts from 1. A label that comes twice in a part gets -2 and so on. The same input gives the same bytes.
    Raises ExportRefused as `affine_of`, before anything is written.
    """
    affines = [affine_of(part.volume) for part in parts]
    written = []
    for part, affine in zip(parts, affines, strict=True):
        number = part.ordinal + 1
        written.append(_save(_voxels(part.volume.values), affine, folder / f"image-{number}.nii.gz"))
        for name, mask in _masks(part):
            path = folder / f"mask-{number}-{name}.nii.gz"
            written.append(_save(_voxels(mask.astype(np.uint8)), affine, path))
    return written


def _masks(part: ReadPart) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    used: dict[str, int] = {}
    for finding in part.findings:
        name = re.sub(r"[^a-z0-9]+", "-", finding.concept.label.casefold()).strip("-")
        used[name] = used.get(name, 0) + 1
        yield (name if used[name] == 1 else f"{name}-{used[name]}"), finding.mask


def _voxels(values: NDArray[Any]) -> NDArray[Any]:
    """`slices rows columns [3]` -> `columns rows slices`, the colours of a voxel as one value."""
    if values.ndim == 4:
        values = np.ascontiguousarray(values).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def _save(voxels: NDArray[Any], affine: NDArray[np.float64], path: Path) -> Path:
    image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units(xyz="mm")
    temporary = path.with_name(f"partial-{path.name}")
    nibabel.save(image, temporary)
    temporary.replace(path)
    return path
