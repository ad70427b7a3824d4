"""Which SOP classes are read as volumes, and how."""

from __future__ import annotations

from enum import Enum

from pydicom import uid

__all__ = ["ImageKind", "image_kind"]


class ImageKind(Enum):
    """How the images of a SOP class make a stack of slices."""

    SLICE = "an instance is a slice"
    MULTI_FRAME = "an instance is a volume, a frame is a slice"
    PROJECTION = "an instance stands for itself"


_KINDS: dict[str, ImageKind] = {
    **dict.fromkeys(
        (uid.CTImageStorage, uid.MRImageStorage, uid.PositronEmissionTomographyImageStorage),
        ImageKind.SLICE,
    ),
    **dict.fromkeys(
        (
            uid.EnhancedCTImageStorage,
            uid.EnhancedMRImageStorage,
            uid.EnhancedPETImageStorage,
            uid.LegacyConvertedEnhancedCTImageStorage,
            uid.LegacyConvertedEnhancedMRImageStorage,
            uid.LegacyConvertedEnhancedPETImageStorage,
        ),
        ImageKind.MULTI_FRAME,
    ),
    **dict.fromkeys(
        (
            uid.ComputedRadiographyImageStorage,
            uid.DigitalXRayImageStorageForPresentation,
            uid.DigitalXRayImageStorageForProcessing,
            uid.DigitalMammographyXRayImageStorageForPresentation,
            uid.DigitalMammographyXRayImageStorageForProcessing,
            uid.XRayAngiographicImageStorage,
            uid.XRayRadiofluoroscopicImageStorage,
            uid.UltrasoundImageStorage,
            uid.UltrasoundMultiFrameImageStorage,
            uid.VLEndoscopicImageStorage,
            uid.VideoEndoscopicImageStorage,
            uid.VLPhotographicImageStorage,
            uid.OphthalmicPhotography8BitImageStorage,
            uid.OphthalmicPhotography16BitImageStorage,
            uid.SecondaryCaptureImageStorage,
            uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
            uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
            uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        ),
        ImageKind.PROJECTION,
    ),
}


def image_kind(sop_class_uid: str) -> ImageKind | None:
    """How to read images of a SOP class (PS3.4 B.5), or None where the node does not."""
    return _KINDS.get(sop_class_uid)
