"""Hygiene: which series are not asked unless a protocol wants them, and why. Pure.

A derived image is not a reformat for that: scanners and archives call a CT DERIVED that was reconstructed iteratively,
compressed or sent again. A reformat says so by a value of Image Type, or is a CT that no gantry could have taken so.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dicom_node.headers.study import SeriesHeader
from dicom_node.sop_classes import SEGMENTATION_CLASSES, WRITTEN_CLASSES, holds_images, image_kind
from dicom_node.sop_classes import ImageKind as Storage
from workflows.protocols.paths import path_values
from workflows.protocols.schema import ImageKind

__all__ = ["NO_IMAGES", "Unasked", "is_image_series", "unasked"]

Unasked = tuple["ImageKind | None", str]
"""A kind that a protocol may include (None: that is never asked), and the reason in one clause."""

# Modalities (PS3.3 C.7.3.1.1.1) whose instances hold no image to ask about. The SOP class is asked too: a modality is
# a free text that some systems fill in wrongly.
NO_IMAGES = frozenset(
    {"ANN", "AU", "DOC", "ECG", "EPS", "FID", "HD", "KO", "M3D", "PLAN", "PR", "REG", "RESP", "RTDOSE", "RTPLAN"}
    | {"RTRECORD", "RTSTRUCT", "RWV", "SEG", "SMR", "SR", "STAIN", "TEXTUREMAP"}
)
_OWN = "MedSeg Node"  # dicom_node.results.equipment.MANUFACTURER, which brings highdicom along
_ROOT = "1.2.840.10008.5.1.4.1.1"
_WITHOUT_IMAGES: tuple[tuple[Callable[[str, str], bool], str], ...] = (
    (lambda _, uid: uid in (f"{_ROOT}.88.67", f"{_ROOT}.88.68", f"{_ROOT}.88.73", f"{_ROOT}.88.76"), "a dose report"),
    (lambda modality, uid: modality == "PR" or uid.startswith(f"{_ROOT}.11."), "a presentation state"),
    (lambda modality, uid: modality == "KO" or uid == f"{_ROOT}.88.59", "a selection of key objects"),
    (lambda modality, uid: modality == "SR" or uid.startswith(f"{_ROOT}.88."), "a report"),
    (lambda modality, uid: modality == "SEG" or uid in SEGMENTATION_CLASSES, "a segmentation"),
    (lambda modality, uid: modality == "DOC" or uid.startswith(f"{_ROOT}.104."), "a document"),
)
_REFORMATTED = frozenset({
    "MPR", "CPR", "MIP", "MINIP", "MEANIP", "AIP", "REFORMATTED", "REFORMAT", "RESAMPLED", "PROJECTION",
    "CURVED", "VRT", "SSD", "MPVR", "MPRS", "RENDERED", "RENDERING", "CURVEDPLANAR",
})  # fmt: skip
_CAPTURED = ("SCREEN SAVE", "SCREEN CAPTURE", "SCREENSHOT", "CAPTURE")
_DOSE_TYPES = ("DOSE", "DOSE_INFO", "DOSE INFO", "DOSE REPORT", "CT_SOM5 PROT")
_SECTIONS = frozenset({"CT", "MR", "PT", "NM"})
_LOCALIZER_WORDS = re.compile(
    r"\b(localizers?|localisers?|scouts?|topograms?|topogramm|topo|surview|scanogram|pilots?|loc|3 ?(pl|plane))\b|"
    r"^(mst )?survey\b"
)
# One slice again and again, to see the contrast come (CT): planning as a localizer is.
_TIMING_WORDS = re.compile(
    r"\b((pre )?monitoring|premonitoring|care ?bolus|(test|timing|control) ?bolus|bolus ?(track\w*|tim\w*|test)|"
    r"smart ?prep|sure ?start|tracker|locator)\b"
)
_REFORMAT_WORDS = re.compile(r"\b(mprs?|cpr|mips?|minips?|vrt|ssd|3d ?rendering|volume rendering|cinematic)\b")
_DOSE_WORDS = re.compile(r"\b(dose|radiation) (report|record|summary|info|information)\b|\bpatient protocol\b|"
                         r"\bdosis(bericht|protokoll|report)\b")  # fmt: skip


def is_image_series(series: SeriesHeader) -> bool:
    """Whether a series can hold images to ask about; segmentations, reports and the like never do."""
    return series.modality.upper() not in NO_IMAGES and all(map(holds_images, series.sop_class_uids))


def unasked(series: SeriesHeader) -> tuple[Unasked, ...]:
    """The kinds of images that a series is of; none: a series as any other."""
    return tuple(found for kind in _KINDS if (found := kind(series)) is not None)


def _own_result(series: SeriesHeader) -> Unasked | None:
    """Our manufacturer together with a class that we write: the commissioning body has images of other classes."""
    made_by = path_values(series.attributes, ("Manufacturer",))
    written = not series.sop_class_uids or not WRITTEN_CLASSES.isdisjoint(series.sop_class_uids)
    return (ImageKind.OWN_RESULTS, f"a result of a {_OWN}") if _OWN in made_by and written else None


def _without_images(series: SeriesHeader) -> Unasked | None:
    if is_image_series(series):
        return None
    modality, classes = series.modality.upper(), series.sop_class_uids or ("",)
    told = next((told for is_one, told in _WITHOUT_IMAGES if any(is_one(modality, uid) for uid in classes)), "")
    return None, f"no images: {told or f'modality {series.modality[:16]}'}"


def _capture(series: SeriesHeader) -> Unasked | None:
    values = _image_type(series)
    if _DOSE_WORDS.search(_words(series.series_description)) or not values.isdisjoint(_DOSE_TYPES):
        return ImageKind.CAPTURES, "a dose report"
    kinds = set(map(image_kind, series.sop_class_uids))
    if kinds == {Storage.CAPTURE} or not values.isdisjoint(_CAPTURED):
        return ImageKind.CAPTURES, "a capture of a screen or a scanned page"
    return None


def _localizer(series: SeriesHeader) -> Unasked | None:
    if any("LOCALIZER" in value for value in _image_type(series)):
        return ImageKind.LOCALIZERS, "a localizer"
    modality, said = series.modality.upper(), _words(series.series_description)
    if modality in _SECTIONS and _LOCALIZER_WORDS.search(said):
        return ImageKind.LOCALIZERS, "a localizer by its description"
    if modality == "CT" and _TIMING_WORDS.search(said):
        return ImageKind.LOCALIZERS, "slices that time the contrast, by their description"
    return None


def _reformat(series: SeriesHeader) -> Unasked | None:
    values = _image_type(series)
    if values and "DERIVED" not in values:
        return None
    words = {word for value in values for word in _WORD.findall(value)}
    if found := sorted(words & _REFORMATTED):
        return ImageKind.REFORMATS, f"a reformat: derived, {found[0]}"
    if series.modality.upper() in _SECTIONS and (word := _REFORMAT_WORDS.search(_words(series.series_description))):
        derived = "derived" if values else "no Image Type (0008,0008)"
        return ImageKind.REFORMATS, f"a reformat: {derived}, {word[0].upper()} by its description"
    if values and series.modality.upper() == "CT" and series.plane in ("coronal", "sagittal"):
        return ImageKind.REFORMATS, f"a reformat: derived, {series.plane}"
    return None


_WORD = re.compile(r"[A-Z]+")
_KINDS = (_own_result, _without_images, _capture, _localizer, _reformat)


def _image_type(series: SeriesHeader) -> frozenset[str]:
    return frozenset(value.strip().upper() for value in series.image_type)


def _words(description: str) -> str:
    return re.sub(r"[\W_]+", " ", description[:256].casefold())
