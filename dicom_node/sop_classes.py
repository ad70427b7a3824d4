"""Which SOP classes hold images and how, which hold none, and which the node writes (PS3.4 B.5): once, for all."""

from __future__ import annotations

from enum import Enum

from pydicom import uid

__all__ = ["WRITTEN_CLASSES", "ImageKind", "holds_images", "image_kind"]


class ImageKind(Enum):
    """How the images of a SOP class make a stack of slices."""

    SLICE = "an instance is a slice"
    MULTI_FRAME = "an instance is a volume, a frame is a slice"
    PROJECTION = "an instance stands for itself"


WRITTEN_CLASSES: frozenset[str] = frozenset({uid.SegmentationStorage, uid.Comprehensive3DSRStorage})
"""What the node writes. None of them holds images, so no result can be read as if it were a patient's."""

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

_ROOT = "1.2.840.10008.5.1.4.1.1"

# Families: whatever the standard adds to one of them later holds no image either.
_FAMILIES_WITHOUT_IMAGES = (
    f"{_ROOT}.9.",  # waveforms
    f"{_ROOT}.11.",  # presentation states
    f"{_ROOT}.66.",  # registration, fiducials, segmentation, surface, tractography
    f"{_ROOT}.68.",  # surface scans
    f"{_ROOT}.78.",  # ophthalmic measurements
    f"{_ROOT}.79.",  # macular grid report
    f"{_ROOT}.80.",  # visual field measurements
    f"{_ROOT}.88.",  # structured reports, key object selection
    f"{_ROOT}.90.",  # content assessment
    f"{_ROOT}.91.",  # microscopy annotations
    f"{_ROOT}.104.",  # encapsulated documents
    f"{_ROOT}.200.",  # procedure protocols
    "1.2.840.10008.5.1.4.34.",  # radiotherapy instructions
)
_CLASSES_WITHOUT_IMAGES = frozenset(
    {
        uid.RawDataStorage,
        uid.BasicStructuredDisplayStorage,
        uid.RealWorldValueMappingStorage,
        uid.MRSpectroscopyStorage,
        uid.StereometricRelationshipStorage,
        uid.OphthalmicOpticalCoherenceTomographyBscanVolumeAnalysisStorage,
        # Radiotherapy: dose, structure set, plans, records and the like. RT images (.1, .23, .24) are images.
        *(f"{_ROOT}.481.{number}" for number in (*range(2, 23), 25)),
    }
)


def image_kind(sop_class_uid: str) -> ImageKind | None:
    """How images of a SOP class are read, or None where the node does not read them."""
    return _KINDS.get(sop_class_uid)


def holds_images(sop_class_uid: str) -> bool:
    """Whether instances of a SOP class may be images of a patient, also such as the node does not read.

    False only for classes that are known to hold none: a private or unknown class counts as images, so that what it
    brings is kept and named.
    """
    return sop_class_uid not in _CLASSES_WITHOUT_IMAGES and not sop_class_uid.startswith(_FAMILIES_WITHOUT_IMAGES)
