"""The images of the clinical questions, from DICOM: the command medseg-r with what inference cannot read by itself."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError
from dicom_node.results.nifti import affine_of, read_header
from dicom_node.results.stored_segmentation import read_segments
from dicom_node.volumes.display import DisplayView, display_view
from dicom_node.volumes.load import SeriesVolume, load_series
from inference.errors import InferenceError
from inference.evaluation.clinic.questions import ClinicImage, LoadedImage
from workflows.reading import slice_stack

__all__ = ["load_image", "main"]


def load_image(folder: Path, image: ClinicImage) -> LoadedImage:
    """Read an image as the node would give it to a predictor, and its reference masks on the same grid.

    `folder`: with the layout of ../shared/data/dicom. Raises `InferenceError` where it is not there or not as it was.
    """
    path = folder / image.path
    if not path.exists():
        raise InferenceError(f"{path} is not there: --images names the folder dicom of the project's shared data")
    files = [path] if path.is_file() else [path / name for name in image.files] or sorted(path.iterdir())
    try:
        volume = load_series(files).parts[0]
        view = display_view(volume)
        references = _references(folder / image.reference, volume, view) if image.reference else {}
    except DicomNodeError as error:
        raise InferenceError(f"{path} cannot be read: {error}") from error
    return LoadedImage(slice_stack(volume, view), references)


def main() -> None:
    """Run the command line of MedSeg-R, with `evaluate --clinic`."""
    from inference import cli

    cli.clinic_loader = lambda folder: partial(load_image, folder)
    cli.main()


def _references(path: Path, volume: SeriesVolume, view: DisplayView) -> Mapping[str, NDArray[np.bool_]]:
    """Masks by their value or label, bool `slices rows columns` in display orientation."""
    if path.suffix == ".dcm":
        masks = _segments(path, volume)
    else:
        labels = _label_volume(path, volume)
        masks = {str(value): labels == value for value in np.unique(labels) if value}
    return {name: np.ascontiguousarray(view.apply(mask)) for name, mask in masks.items()}


def _segments(path: Path, volume: SeriesVolume) -> dict[str, NDArray[np.bool_]]:
    assert volume.geometry is not None
    masks = {}
    for segment in read_segments(path):
        masks[segment.label] = np.zeros(volume.values.shape[:3], dtype=np.bool_)
        indices = np.rint(volume.geometry.indices(segment.points)).astype(np.int64)
        masks[segment.label][tuple(indices.T)] = True
    return masks


def _label_volume(path: Path, volume: SeriesVolume) -> NDArray[np.uint8]:
    """A volume of labels (NIfTI) on the grid of a series: each voxel has the label that is nearest to it."""
    content = gzip.decompress(path.read_bytes())
    header = read_header(content)
    if header.affine is None:
        raise InferenceError(f"{path} does not say where it lies")
    stored = np.frombuffer(content, header.dtype, offset=header.offset, count=int(np.prod(header.shape)))
    labels = stored.reshape(header.shape).astype(np.uint8)
    across = np.linalg.inv(header.affine) @ affine_of(volume)  # from column, row, slice to those of the labels
    slices, rows, columns = np.indices(volume.values.shape[:3], dtype=np.float32)
    places = [
        np.rint(line[0] * columns + line[1] * rows + line[2] * slices + line[3]).astype(np.int64) for line in across[:3]
    ]
    limits = labels.shape[::-1]
    bounds = list(zip(places, limits, strict=True))
    inside = np.logical_and.reduce([(place >= 0) & (place < limit) for place, limit in bounds])
    column, row, number = (np.clip(place, 0, limit - 1) for place, limit in bounds)
    return np.where(inside, labels[number, row, column], 0).astype(np.uint8)
