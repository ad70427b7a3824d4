"""Destination profiles: which objects a viewer or archive gets, and in which form. The one table of what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from dicom_node.results import codes

__all__ = ["PROFILES", "Profile", "ProfileDefinition", "ReportForm", "profile_without"]


class Profile(Enum):
    """The viewer or archive that results are shaped for."""

    AIR = "air"
    OHIF = "ohif"


@dataclass(frozen=True)
class ReportForm:
    """How a report is laid out (PS3.16 TID 1500).

    `unseen_in_groups`: a measurement group for what was not seen, else the container Qualitative Evaluations.
    `image_references`: a group names the images that its segment was drawn on, else their series. `axis_coordinates`:
    long and short axis have their lines on the image.
    """

    title: Code
    unseen_in_groups: bool
    image_library: bool
    image_references: bool
    axis_coordinates: bool


@dataclass(frozen=True)
class ProfileDefinition:
    """What a profile means.

    `sop_class_uids`: of the objects that it wants. `omit_empty_frames`: whether a SEG leaves out frames without a
    marked pixel. `report`: the form of a report; `drawn_report`: of one whose every finding has a contour.
    """

    sop_class_uids: frozenset[str]
    omit_empty_frames: bool
    report: ReportForm
    drawn_report: ReportForm


_OBJECTS = frozenset({str(SegmentationStorage), str(Comprehensive3DSRStorage)})
_STRICT = ReportForm(
    codes.IMAGING_MEASUREMENT_REPORT,
    unseen_in_groups=True,
    image_library=True,
    image_references=True,
    axis_coordinates=True,
)

PROFILES: dict[Profile, ProfileDefinition] = {
    Profile.AIR: ProfileDefinition(_OBJECTS, omit_empty_frames=True, report=_STRICT, drawn_report=_STRICT),
    Profile.OHIF: ProfileDefinition(
        _OBJECTS,
        omit_empty_frames=False,  # OHIF issue 2833
        # A report so titled opens in OHIF 3.13.2 as text, a line for each content item; a reference to an image is
        # a line without sense, and the series is one line instead of one for every slice.
        report=ReportForm(
            codes.ONCOLOGY_MEASUREMENT_REPORT,
            unseen_in_groups=True,
            image_library=False,
            image_references=False,
            axis_coordinates=False,
        ),
        # It draws the contours of a report so titled, and crashes on a group that has none. It expects no coordinates
        # beneath a number.
        drawn_report=ReportForm(
            codes.IMAGING_MEASUREMENT_REPORT,
            unseen_in_groups=False,
            image_library=True,
            image_references=True,
            axis_coordinates=False,
        ),
    ),
}


def profile_without(sop_class_uid: str) -> Profile | None:
    """A profile for an archive that takes no objects of a SOP class, or None where every profile needs them."""
    wanting = (profile for profile, meaning in PROFILES.items() if sop_class_uid not in meaning.sop_class_uids)
    return next(wanting, None)
