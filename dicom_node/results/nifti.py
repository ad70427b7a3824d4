"""Images and masks as NIfTI: files for researchers, with the voxels as they are and the affine of a true grid.

The page that draws has its volumes and masks from here too (`nifti_stream.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ExportRefused, MaskRefused, without_values
from dicom_node.results.finding import ReadPart
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import SeriesVolume

__all__ = ["NiftiHeader", "affine_of", "header_of", "read_header", "stack_affine", "write_nifti"]

_RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OFF = 0.02
"""Share of a step by which a slice may leave the grid of the affine; decimals of positions take less."""
_INSTEAD = "ask without --export nifti: the SEG has every slice's own place"


def affine_of(volume: SeriesVolume) -> NDArray[np.float64]:
    """The affine `4 4` from voxel (column, row, slice) to mm, RAS. Raises ExportRefused as `stack_affine`."""
    return stack_affine(volume.geometry, volume.name)


def stack_affine(geometry: StackGeometry | None, name: str, instead: str = _INSTEAD) -> NDArray[np.float64]:
    """The affine `4 4` from voxel (column, row, slice) to mm, RAS, of a stack.

    `name`: of the part, or "". `instead`: what a refusal tells to do. Raises ExportRefused where the slices lie on no
    grid of boxes, or nobody knows where.
    """
    name = name or "the series"
    if geometry is None:
        raise ExportRefused(f"{name} has no place in the patient, and NIfTI needs one; {instead}")
    count = len(geometry.positions)
    if count > 1:
        step = (geometry.positions[-1] - geometry.positions[0]) / (count - 1)
        length = float(np.linalg.norm(step))
        expected = geometry.positions[0] + np.outer(np.arange(count), step)
        off = float(np.linalg.norm(geometry.positions - expected, axis=1).max())
        sideways = float(np.linalg.norm(step - geometry.normal * float(step @ geometry.normal)))
        if off > _OFF * length:
            raise ExportRefused(f"{name} has gaps of several widths, and NIfTI has one for all slices; {instead}")
        if sideways > _OFF * length:
            raise ExportRefused(f"{name} has a tilted gantry, and voxels of NIfTI are boxes; {instead}")
    elif geometry.slice_extents_mm is None:
        raise ExportRefused(f"{name} is one slice without a thickness, and voxels of NIfTI have one; {instead}")
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


# --- Headers, for files that are streamed -----------------------------------------------------------------------------


def header_of(shape: tuple[int, int, int], affine: NDArray[np.float64], dtype: type[np.generic]) -> bytes:
    """The first 352 bytes of a NIfTI-1 file of voxels `slices rows columns`; they follow slice by slice, row by row.

    `affine`: from voxel (column, row, slice) to mm, RAS; it stands in sform and qform.
    """
    slices, rows, columns = shape
    header: Any = nibabel.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_shape((columns, rows, slices))
    header.set_data_dtype(dtype)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units(xyz="mm")
    header.set_slope_inter(1.0, 0.0)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytes(header.binaryblock) + bytes(4)


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI-1 header says. `shape`: `slices rows columns`. `affine`: as in `header_of`; None: it has none.

    `dtype`: of a stored voxel. `scaled`: whether stored values are to be multiplied or moved. `offset`: of the voxels.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    dtype: np.dtype[Any]
    scaled: bool
    offset: int


def read_header(content: bytes) -> NiftiHeader:
    """Read the first 348 bytes of a file. Raises MaskRefused where they are no NIfTI-1 header of one file."""
    try:
        header: Any = nibabel.Nifti1Header(content[:348], check=False)  # type: ignore[no-untyped-call]
        shape = tuple(int(length) for length in header.get_data_shape())
        placed = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
        affine = np.asarray(header.get_best_affine(), dtype=np.float64) if placed else None
        slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
        found = NiftiHeader(
            shape=(*reversed(shape[:3]), *(length for length in shape[3:] if length != 1)),
            affine=affine,
            dtype=header.get_data_dtype(),
            scaled=bool(np.isfinite(slope)) and slope != 0 and (slope, inter) != (1.0, 0.0),
            offset=int(header["vox_offset"]),
        )
    except (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError, ValueError, OverflowError,
            ArithmeticError, KeyError) as error:  # fmt: skip
        raise MaskRefused(f"it is no NIfTI file ({without_values(error)}): send a mask as .nii.gz") from error
    if bytes(header["magic"]) not in (b"n+1", b"n+1\0") or int(header["sizeof_hdr"]) != 348:
        raise MaskRefused("it is no NIfTI-1 file in one piece: send a mask as .nii.gz")
    return found
