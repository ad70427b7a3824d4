"""ImageContext: what the headers of a part say beside its pixels, for the gate and for what can be measured."""

from __future__ import annotations

import numpy as np

from dicom_node.headers.body_regions import body_regions
from dicom_node.headers.elements import text, texts
from dicom_node.headers.study import patient_age_years
from dicom_node.sop_classes import Picture, picture_of
from dicom_node.volumes.display import DisplayView, displayed_affine, displayed_sides
from dicom_node.volumes.geometry import StackGeometry
from dicom_node.volumes.load import SeriesVolume
from dicom_node.volumes.projection import SpacingBasis
from inference.interface import ImageContext, ImageKind, Plane, Region

__all__ = ["image_context"]

_PLANES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)
_STRAIGHT = 0.9
"""Cosine: slices that are turned by more than 26 degrees are oblique. A gantry is tilted by at most 30."""
_IN_THE_PATIENT = (SpacingBasis.PATIENT, SpacingBasis.CALIBRATED)
_KINDS = {
    Picture.SECTION: ImageKind.SECTION,
    Picture.PROJECTION: ImageKind.PROJECTION,
    Picture.SONOGRAM: ImageKind.SONOGRAM,
    Picture.PHOTOGRAPH: ImageKind.PHOTOGRAPH,
}
_SEXES = frozenset({"M", "F", "O"})


def image_context(volume: SeriesVolume, view: DisplayView) -> ImageContext:
    """What is known of a part as `view` shows it; whatever the headers leave out is unknown, nothing is guessed."""
    header = volume.source
    kind = _kind(volume)
    regions = body_regions(header, from_inside=kind is ImageKind.PHOTOGRAPH)
    affine = displayed_affine(volume, view)
    sex = text(header, "PatientSex").upper()
    return ImageContext(
        regions=frozenset(map(Region, regions.regions)),
        contradicted=regions.contradicted,
        perhaps_of=frozenset(map(Region, regions.by_body_part_alone)),
        plane=None if volume.geometry is None else _plane(volume.geometry),
        kind=kind,
        letters=displayed_sides(volume, view),
        affine=None if affine is None else tuple(tuple(float(value) for value in row) for row in affine),
        calibrated=affine is not None if volume.geometry is not None else volume.spacing_basis in _IN_THE_PATIENT,
        age_years=patient_age_years(header),
        sex=sex if sex in _SEXES else "",
    )


def _kind(volume: SeriesVolume) -> ImageKind | None:
    """By SOP class, else by modality; a scout of a CT is a projection though its class is that of slices."""
    header = volume.source
    picture = picture_of(text(header, "SOPClassUID"), volume.modality)
    if picture is Picture.SECTION and volume.modality == "CT" and "LOCALIZER" in texts(header, "ImageType")[2:3]:
        picture = Picture.PROJECTION
    return None if picture is None else _KINDS[picture]


def _plane(geometry: StackGeometry) -> Plane:
    normal = np.abs(geometry.normal)
    axis = int(np.argmax(normal))
    return _PLANES[axis] if normal[axis] >= _STRAIGHT else Plane.OBLIQUE
