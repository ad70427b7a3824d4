"""NIfTI pairs: imagesTr/ with labelsTr/, or NAME.nii.gz beside NAME_mask.nii.gz, and a labels.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.medseg_qa.sources.folders import read_settings
from inference.medseg_qa.sources.pixels import labelled_slices, split_labels
from inference.medseg_qa.sources.types import Pixels, Problem, Skip, SourceImage

__all__ = ["NiftiSource", "open_nifti"]

_CT_WINDOW_HU = (-160.0, 240.0)


def open_nifti(directory: Path) -> NiftiSource | None:
    """The source of a folder of NIfTI pairs, or None."""
    pairs = _pairs(directory)
    return NiftiSource(directory, pairs) if pairs else None


def _pairs(directory: Path) -> list[tuple[Path, Path]]:
    if (directory / "imagesTr").is_dir():
        images = sorted((directory / "imagesTr").glob("*.nii*"))
        return [(path, directory / "labelsTr" / path.name) for path in images]
    masks = sorted(directory.glob("*_mask.nii*"))
    return [(path.with_name(path.name.replace("_mask.nii", ".nii")), path) for path in masks]


class NiftiSource:
    """Axial slices of NIfTI volumes, turned so that anterior is up and the patient's left on the image's right."""

    def __init__(self, directory: Path, pairs: list[tuple[Path, Path]]) -> None:
        self._directory = directory
        self._pairs = pairs
        self._settings = read_settings(directory)

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[SourceImage | Skip]:
        for image, mask in self._pairs:
            try:
                yield from self._slices(image, mask)
            except Skip as skip:
                yield skip

    def _slices(self, image: Path, mask: Path) -> Iterator[SourceImage]:
        settings, labels = self._settings, self._settings["labels"]
        name = image.name.removesuffix(".gz").removesuffix(".nii")
        values, spacing = _canonical(image)
        marked, _ = _canonical(mask)
        if values.shape != marked.shape:
            raise Skip(Problem.SIZE_MISMATCH, f"{name}: image {values.shape}, mask {marked.shape}")
        grey = _windowed(values, settings["modality"])
        for k in labelled_slices(marked, labels):
            pixels = Pixels(_displayed(grey[:, :, k]), split_labels(_displayed(marked[:, :, k]), labels, strict=False))
            yield SourceImage(
                id=f"{name}_slice_{k:03d}",
                dataset=str(settings.get("dataset", self._directory.name)),
                group=str(settings.get("groups", {}).get(name, name)),
                split=settings.get("splits", {}).get(name),
                modality=settings["modality"],
                source=f"{image.name} slice {k}",
                licence=str(settings.get("licence", "")),
                load=lambda pixels=pixels: pixels,  # type: ignore[misc]
                spacing_mm=(spacing[1], spacing[0]),
                orientation="radiological",
                laterality=settings.get("lateralities", {}).get(name),
                searched=tuple(labels.values()),
            )


def _canonical(path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
    import nibabel

    if not path.is_file():
        raise Skip(Problem.MISSING_FILE, path.name)
    try:
        volume = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
        values = np.asarray(volume.dataobj)
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise Skip(Problem.BROKEN_IMAGE, f"{path.name}: {error}") from error
    x, y, z = volume.header.get_zooms()[:3]
    return values, (float(x), float(y), float(z))


def _windowed(values: NDArray[Any], modality: str) -> NDArray[np.uint8]:
    low, high = _CT_WINDOW_HU if modality == "CT" else tuple(np.percentile(values, (0.5, 99.5)))
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.asarray(scaled, dtype=np.uint8)


def _displayed(plane: NDArray[Any]) -> NDArray[Any]:
    """A canonical plane (first axis to the right, second to anterior) as rows and columns of the display."""
    return np.ascontiguousarray(plane[::-1, ::-1].T)
