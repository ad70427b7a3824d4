"""Destination profiles: which objects a viewer or archive gets, and in which form. The one table of what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydicom import uid
from pydicom.sr.coding import Code

from dicom_node.results import codes

__all__ = [
    "ADDED_KINDS", "PROFILES", "SOP_CLASSES", "Profile", "ProfileDefinition", "ReportForm", "ResultKind",
    "WhenNothingSeen", "Wishes", "kinds_of", "profile_without",
]  # fmt: skip


class ResultKind(Enum):
    """What a result object is, in the short name that people use for it; rows of the database keep the value."""

    SEGMENTATION = "SEG"
    REPORT = "SR"
    CAPTURE = "SC"  # one multi-frame secondary capture
    CAPTURE_IMAGES = "SC-IMAGES"  # the same as single images
    DOCUMENT = "PDF"
    KEY_OBJECTS = "KO"
    PRESENTATION_STATE = "PR"
    REJECTION_NOTE = "REJECTION"


class Profile(Enum):
    """The viewer or archive that results are shaped for."""

    OHIF = "ohif"
    AIR = "air"
    PLAIN_PACS = "plain-pacs"
    SLICER = "slicer"


class WhenNothingSeen(Enum):
    """What of a profile's objects is sent when no question marked anything.

    REPORT: the report alone; of a profile without one, its capture. ALL: whatever the profile has. NOTHING: none.
    """

    REPORT = "report"
    ALL = "all"
    NOTHING = "nothing"


ADDED_KINDS = frozenset({ResultKind.DOCUMENT, ResultKind.KEY_OBJECTS, ResultKind.PRESENTATION_STATE})
"""What a destination may have beside the objects of its profile."""


@dataclass(frozen=True)
class Wishes:
    """What one destination wants otherwise than its profile has it.

    `also`: of ADDED_KINDS. `single_images`: captures as images of one frame, for an archive that shows no others.
    """

    also: tuple[ResultKind, ...] = ()
    single_images: bool = False
    when_nothing_seen: WhenNothingSeen = WhenNothingSeen.REPORT

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {
            "also": [kind.value for kind in self.also],
            "single_images": self.single_images,
            "when_nothing_seen": self.when_nothing_seen.value,
        }

    @staticmethod
    def from_json(entry: dict[str, Any]) -> Wishes:
        """The inverse of `as_json`; what is missing is as by default."""
        return Wishes(
            also=tuple(ResultKind(kind) for kind in entry.get("also", ())),
            single_images=entry.get("single_images", False),
            when_nothing_seen=WhenNothingSeen(entry.get("when_nothing_seen", WhenNothingSeen.REPORT.value)),
        )


@dataclass(frozen=True)
class ReportForm:
    """How a report is laid out (PS3.16 TID 1500).

    `unseen_in_groups`: a measurement group for what was not seen, else the container Qualitative Evaluations.
    `image_references`: a group names the images that its segment was drawn on, else their series. `axis_coordinates`:
    long and short axis have their lines on the image. `texts_first`: terms, questions and answers stand before all else
    and not after who observed what. `sides_in_meanings`: a finding's meaning says its side, for readers of meanings
    alone. `algorithm_in_groups`: each group says which algorithm it is from (TID 4019). `most_measurements`: so many of
    a finding stand in its group, beside the confidence, and further ones become comments; None: all.
    """

    title: Code
    unseen_in_groups: bool
    image_library: bool
    image_references: bool
    axis_coordinates: bool
    texts_first: bool
    sides_in_meanings: bool
    algorithm_in_groups: bool
    most_measurements: int | None = None


@dataclass(frozen=True)
class ProfileDefinition:
    """What a profile means.

    `kinds`: the objects that it has. `omit_empty_frames`: whether a SEG leaves out frames without a marked pixel.
    `projections_segmented`: whether images without patient geometry get a SEG, or contours in the report alone.
    `report`: the form of a report; `drawn_report`: of one whose every finding has a contour.
    """

    kinds: frozenset[ResultKind]
    omit_empty_frames: bool
    projections_segmented: bool
    report: ReportForm
    drawn_report: ReportForm


_SEGMENTED = frozenset({ResultKind.SEGMENTATION, ResultKind.REPORT})
_STRICT = ReportForm(
    codes.IMAGING_MEASUREMENT_REPORT,
    unseen_in_groups=True,
    image_library=True,
    image_references=True,
    axis_coordinates=True,
    texts_first=False,
    sides_in_meanings=False,
    algorithm_in_groups=True,
)

PROFILES: dict[Profile, ProfileDefinition] = {
    Profile.OHIF: ProfileDefinition(
        _SEGMENTED,
        omit_empty_frames=False,  # OHIF issue 2833
        projections_segmented=False,
        # With any title but 126000 a report opens in OHIF 3.13.2 as text, a line for each content item; a reference to
        # an image is a line without sense, and the series is one line instead of one for every slice.
        report=ReportForm(
            codes.AI_RESULT_REPORT,
            unseen_in_groups=True,
            image_library=False,
            image_references=False,
            axis_coordinates=False,
            texts_first=True,
            sides_in_meanings=True,
            algorithm_in_groups=False,
        ),
        # It draws the contours of a report so titled, and crashes on a group that has none. It expects no coordinates
        # beneath a number.
        drawn_report=ReportForm(
            codes.IMAGING_MEASUREMENT_REPORT,
            unseen_in_groups=False,
            image_library=True,
            image_references=True,
            axis_coordinates=False,
            texts_first=True,
            sides_in_meanings=True,
            algorithm_in_groups=False,
            most_measurements=3,  # it has room for five lines, numbers first: more would hide what the contour is
        ),
    ),
    Profile.AIR: ProfileDefinition(
        _SEGMENTED, omit_empty_frames=True, projections_segmented=True, report=_STRICT, drawn_report=_STRICT
    ),
    Profile.SLICER: ProfileDefinition(
        _SEGMENTED,
        omit_empty_frames=True,
        projections_segmented=False,  # dcmqi 1.5.7 refuses a SEG without Plane Orientation (Patient)
        report=_STRICT,
        drawn_report=_STRICT,
    ),
    Profile.PLAIN_PACS: ProfileDefinition(
        frozenset({ResultKind.CAPTURE}),
        omit_empty_frames=True,
        projections_segmented=False,
        report=_STRICT,
        drawn_report=_STRICT,
    ),
}


SOP_CLASSES: Mapping[ResultKind, frozenset[str]] = {
    ResultKind.SEGMENTATION: frozenset({uid.SegmentationStorage}),
    ResultKind.REPORT: frozenset({uid.Comprehensive3DSRStorage}),
    ResultKind.CAPTURE: frozenset({uid.MultiFrameTrueColorSecondaryCaptureImageStorage}),
    ResultKind.CAPTURE_IMAGES: frozenset({uid.SecondaryCaptureImageStorage}),
    ResultKind.DOCUMENT: frozenset({uid.EncapsulatedPDFStorage}),
    ResultKind.KEY_OBJECTS: frozenset({uid.KeyObjectSelectionDocumentStorage}),
    ResultKind.PRESENTATION_STATE: frozenset(
        {uid.GrayscaleSoftcopyPresentationStateStorage, uid.ColorSoftcopyPresentationStateStorage}
    ),
    ResultKind.REJECTION_NOTE: frozenset({uid.KeyObjectSelectionDocumentStorage}),
}
"""Under which SOP classes an object of each kind may be sent."""


def kinds_of(profile: Profile, wishes: Wishes, *, seen: bool) -> frozenset[ResultKind]:
    """The objects that a destination gets; `seen`: whether any question marked anything."""
    kinds = PROFILES[profile].kinds
    if wishes.single_images and ResultKind.CAPTURE in kinds:
        kinds = kinds - {ResultKind.CAPTURE} | {ResultKind.CAPTURE_IMAGES}
    if not seen and wishes.when_nothing_seen is WhenNothingSeen.NOTHING:
        return frozenset()
    if not seen and wishes.when_nothing_seen is WhenNothingSeen.REPORT:
        return frozenset({ResultKind.REPORT}) if ResultKind.REPORT in kinds else kinds
    return kinds | frozenset(wishes.also)


def profile_without(kind: ResultKind) -> Profile:
    """A profile for an archive that takes no objects of a kind."""
    return next(profile for profile, meaning in PROFILES.items() if kind not in meaning.kinds)
