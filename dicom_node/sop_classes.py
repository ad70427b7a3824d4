"""Which SOP classes hold images and how, which hold none, and which the node writes (PS3.4 B.5): once, for all."""

from __future__ import annotations

from enum import Enum

from pydicom import uid

__all__ = [
    "SEGMENTATION_CLASSES", "WRITTEN_CLASSES", "ImageKind", "Picture", "holds_images", "image_kind", "ordinary_class",
    "picture_of",
]  # fmt: skip


class ImageKind(Enum):
    """How the images of a SOP class make a stack of slices."""

    SLICE = "an instance is a slice"
    MULTI_FRAME = "an instance holds volumes, a frame is a slice"
    TOMOGRAM = "an instance is a volume where its frames have places, else frames of their own"
    IMAGE = "an instance stands for itself; its frames lie over time or over views"
    CAPTURE = "a picture of something, by itself"


WRITTEN_CLASSES: frozenset[str] = frozenset(
    {
        uid.SegmentationStorage,
        uid.Comprehensive3DSRStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        uid.SecondaryCaptureImageStorage,
        uid.EncapsulatedPDFStorage,
        uid.KeyObjectSelectionDocumentStorage,
        uid.GrayscaleSoftcopyPresentationStateStorage,
        uid.ColorSoftcopyPresentationStateStorage,
    }
)
"""What the node writes. Secondary captures alone hold images: ours are known by their manufacturer and never read."""

SEGMENTATION_CLASSES: frozenset[str] = frozenset({uid.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation, and Label Map Segmentation (Supplement 243), for which pydicom has no name yet."""

_ULTRASOUND_RETIRED = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")
_NUCLEAR_RETIRED = "1.2.840.10008.5.1.4.1.1.5"
_VL_RETIRED = ("1.2.840.10008.5.1.4.1.1.77.1", "1.2.840.10008.5.1.4.1.1.77.2")
_XA_BIPLANE_RETIRED = "1.2.840.10008.5.1.4.1.1.12.3"

_KINDS: dict[str, ImageKind] = {
    **dict.fromkeys(
        (uid.CTImageStorage, uid.MRImageStorage, uid.PositronEmissionTomographyImageStorage),
        ImageKind.SLICE,
    ),
    **dict.fromkeys(
        (
            uid.EnhancedCTImageStorage,
            uid.EnhancedMRImageStorage,
            uid.EnhancedMRColorImageStorage,
            uid.EnhancedPETImageStorage,
            uid.LegacyConvertedEnhancedCTImageStorage,
            uid.LegacyConvertedEnhancedMRImageStorage,
            uid.LegacyConvertedEnhancedPETImageStorage,
            uid.ParametricMapStorage,
        ),
        ImageKind.MULTI_FRAME,
    ),
    **dict.fromkeys(
        (
            uid.OphthalmicTomographyImageStorage,
            uid.WideFieldOphthalmicPhotography3DCoordinatesImageStorage,
            uid.EnhancedUSVolumeStorage,
            uid.XRay3DAngiographicImageStorage,
            uid.XRay3DCraniofacialImageStorage,
            uid.BreastTomosynthesisImageStorage,
        ),
        ImageKind.TOMOGRAM,
    ),
    **dict.fromkeys(
        (
            uid.ComputedRadiographyImageStorage,
            uid.DigitalXRayImageStorageForPresentation,
            uid.DigitalXRayImageStorageForProcessing,
            uid.DigitalMammographyXRayImageStorageForPresentation,
            uid.DigitalMammographyXRayImageStorageForProcessing,
            uid.DigitalIntraOralXRayImageStorageForPresentation,
            uid.DigitalIntraOralXRayImageStorageForProcessing,
            uid.BreastProjectionXRayImageStorageForPresentation,
            uid.BreastProjectionXRayImageStorageForProcessing,
            uid.XRayAngiographicImageStorage,
            uid.EnhancedXAImageStorage,
            _XA_BIPLANE_RETIRED,
            uid.XRayRadiofluoroscopicImageStorage,
            uid.EnhancedXRFImageStorage,
            uid.RTImageStorage,
            uid.NuclearMedicineImageStorage,
            _NUCLEAR_RETIRED,
            uid.UltrasoundImageStorage,
            uid.UltrasoundMultiFrameImageStorage,
            *_ULTRASOUND_RETIRED,
            uid.IntravascularOpticalCoherenceTomographyImageStorageForPresentation,
            uid.IntravascularOpticalCoherenceTomographyImageStorageForProcessing,
            uid.VLEndoscopicImageStorage,
            uid.VideoEndoscopicImageStorage,
            uid.VLMicroscopicImageStorage,
            uid.VideoMicroscopicImageStorage,
            uid.VLPhotographicImageStorage,
            uid.VideoPhotographicImageStorage,
            uid.DermoscopicPhotographyImageStorage,
            *_VL_RETIRED,
            uid.OphthalmicPhotography8BitImageStorage,
            uid.OphthalmicPhotography16BitImageStorage,
            uid.WideFieldOphthalmicPhotographyStereographicProjectionImageStorage,
        ),
        ImageKind.IMAGE,
    ),
    **dict.fromkeys(
        (
            uid.SecondaryCaptureImageStorage,
            uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
            uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
            uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
            uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        ),
        ImageKind.CAPTURE,
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


class Picture(Enum):
    """What a picture shows: a section through the body, a projection, an echo, or what a camera sees."""

    SECTION = "section"
    PROJECTION = "projection"
    SONOGRAM = "sonogram"
    PHOTOGRAPH = "photograph"


_PICTURES_OF_CLASSES: dict[str, Picture] = {
    uid.ParametricMapStorage: Picture.SECTION,
    uid.OphthalmicTomographyImageStorage: Picture.SECTION,
    uid.XRay3DAngiographicImageStorage: Picture.SECTION,
    uid.XRay3DCraniofacialImageStorage: Picture.SECTION,
    uid.BreastTomosynthesisImageStorage: Picture.SECTION,
}
_PICTURES_OF_MODALITIES = {
    **dict.fromkeys(("CT", "MR", "PT", "OPT"), Picture.SECTION),
    **dict.fromkeys(("CR", "DX", "MG", "XA", "RF", "IO", "PX", "RG", "RTIMAGE", "NM"), Picture.PROJECTION),
    **dict.fromkeys(("US", "IVUS"), Picture.SONOGRAM),
    **dict.fromkeys(("ES", "GM", "OP", "XC", "SM", "DMS"), Picture.PHOTOGRAPH),
}


def picture_of(sop_class_uid: str, modality: str) -> Picture | None:
    """What the images of a SOP class show, else what those of a modality (PS3.3 C.7.3.1.1.1) do; None: not known."""
    return _PICTURES_OF_CLASSES.get(sop_class_uid) or _PICTURES_OF_MODALITIES.get(modality)


_ORDINARY_CLASSES: dict[str, str] = {
    "CR": uid.ComputedRadiographyImageStorage,
    "CT": uid.CTImageStorage,
    "DMS": uid.DermoscopicPhotographyImageStorage,
    "DOC": uid.EncapsulatedPDFStorage,
    "DX": uid.DigitalXRayImageStorageForPresentation,
    "ES": uid.VLEndoscopicImageStorage,
    "GM": uid.VLMicroscopicImageStorage,
    "IO": uid.DigitalIntraOralXRayImageStorageForPresentation,
    "IVUS": uid.UltrasoundMultiFrameImageStorage,
    "KO": uid.KeyObjectSelectionDocumentStorage,
    "MG": uid.DigitalMammographyXRayImageStorageForPresentation,
    "MR": uid.MRImageStorage,
    "NM": uid.NuclearMedicineImageStorage,
    "OP": uid.OphthalmicPhotography8BitImageStorage,
    "OPT": uid.OphthalmicTomographyImageStorage,
    "OT": uid.SecondaryCaptureImageStorage,
    "PR": uid.GrayscaleSoftcopyPresentationStateStorage,
    "PT": uid.PositronEmissionTomographyImageStorage,
    "PX": uid.DigitalXRayImageStorageForPresentation,
    "REG": uid.SpatialRegistrationStorage,
    "RF": uid.XRayRadiofluoroscopicImageStorage,
    "RTDOSE": uid.RTDoseStorage,
    "RTIMAGE": uid.RTImageStorage,
    "RTPLAN": uid.RTPlanStorage,
    "RTSTRUCT": uid.RTStructureSetStorage,
    "SC": uid.SecondaryCaptureImageStorage,
    "SEG": uid.SegmentationStorage,
    "SM": uid.VLWholeSlideMicroscopyImageStorage,
    "SR": uid.EnhancedSRStorage,
    "US": uid.UltrasoundImageStorage,
    "XA": uid.XRayAngiographicImageStorage,
    "XC": uid.VLPhotographicImageStorage,
}


def ordinary_class(modality: str) -> str:
    """The SOP class that most objects of a modality (PS3.3 C.7.3.1.1.1) have; "" where none is usual."""
    return str(_ORDINARY_CLASSES.get(modality.upper(), ""))
