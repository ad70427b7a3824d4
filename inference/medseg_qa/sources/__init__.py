"""Sources of images and masks: a manifest, folders of image and mask, NIfTI pairs; other packages may pass in more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.sources.folders import open_folder
from inference.medseg_qa.sources.manifest import open_manifest
from inference.medseg_qa.sources.nifti import open_nifti
from inference.medseg_qa.sources.pixels import pictured
from inference.medseg_qa.sources.types import Pixels, Problem, Skip, Source, SourceImage

__all__ = ["Opener", "Pixels", "Problem", "Skip", "Source", "SourceImage", "open_source", "pictured"]

Opener = Callable[[Path], Source | None]


def open_source(directory: Path, extra: tuple[Opener, ...] = ()) -> Source:
    """The source that fits a folder: a manifest, image and mask folders, NIfTI pairs, or one of `extra`.

    `KIND:NAME`, which is no folder, is for `extra` alone. Raises SourceError if none fits.
    """
    if not directory.is_dir():
        named = (opener(directory) for opener in extra) if ":" in str(directory) else iter(())
        source = next((found for found in named if found is not None), None)
        if source is None:
            raise SourceError(f"{directory} is not a folder")
        return source
    for opener in (open_manifest, open_nifti, open_folder, *extra):
        source = opener(directory)
        if source is not None:
            return source
    raise SourceError(
        f"{directory} holds no manifest.jsonl, no images/ with masks/, no NIfTI pairs and no DICOM series with SEG"
    )
