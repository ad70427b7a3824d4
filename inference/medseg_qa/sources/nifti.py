"""NIfTI pairs: imagesTr/ with labelsTr/, or NAME.nii.gz beside NAME_mask.nii.gz, and a labels.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.sources.folders import read_settings
from inference.medseg_qa.sources.pixels import labelled_slices, pictured, split_labels
from inference.medseg_qa.sources.types import Problem, Skip, SourceImage
from inference.pictures import is_fixed_window, view_of

__all__ = ["NiftiSource", "open_nifti"]


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
    """Axial slices of NIfTI volumes, turned so that anterior is up and the patient's left on the image's right.

    They are the pictures that a model is shown when it answers (`inference/pictures.py`), in the `window` of
    labels.json where it names one.
    """

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
        shown = np.stack([_displayed(values[:, :, k]) for k in range(values.shape[2])]).astype(np.float32)
        windows = {} if "window" not in settings else {settings["modality"]: _window(settings["window"])}
        view = view_of(shown, settings["modality"], windows)
        for k in labelled_slices(marked, labels):
            masks = split_labels(_displayed(marked[:, :, k]), labels, strict=False)
            pixels = pictured(view, shown[k], masks)
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
                window=view.limits if is_fixed_window(settings["modality"], windows) else None,
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


def _window(stated: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in stated)
    except (TypeError, ValueError) as error:
        raise SourceError(f"labels.json: window is {stated!r}; give two numbers such as [-1024, 1100]") from error
    if not low < high:
        raise SourceError(f"labels.json: window is {stated!r}; the second number must be the greater")
    return low, high


def _displayed(plane: NDArray[Any]) -> NDArray[Any]:
    """A canonical plane (first axis to the right, second to anterior) as rows and columns of the display."""
    return np.ascontiguousarray(plane[::-1, ::-1].T)
