"""A radiologist before the pages of a node: signs in, opens a study, gives verdicts; and what the archive has then."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, Page, expect
from pydicom.dataset import Dataset

from dicom_node.commissioning.body import Body, BodyImage, BodySeries, make_body
from dicom_node.headers.rejection import RejectionCode, rejection_note
from dicom_node.results.equipment import MANUFACTURER
from tests.unit.workflows.web.drawing_page import DrawingPage

if TYPE_CHECKING:
    from tests.e2e.conftest import Hospital

__all__ = [
    "PASSWORD", "PATIENCE_MS", "Desk", "StudyDrawing", "edited_elsewhere", "errors_of", "findings_of", "objects_of",
    "of_series", "phantom", "points_of", "taken_back", "uids_of", "verified",
]  # fmt: skip

PASSWORD = "a-long-Password-1"
PATIENCE_MS = 30_000


def phantom(folder: Path, patient: str, series: Sequence[str] = ()) -> Body:
    """The commissioning body as another maker's scanner would send it; `series`: names of those that it sends."""
    body = make_body(folder, f"review of {patient}", datetime(2026, 11, 1, 8, tzinfo=UTC))
    kept = tuple(one for one in body.series if not series or one.name in series)
    for path in (file for one in kept for file in one.files):
        dataset = pydicom.dcmread(path)
        dataset.Manufacturer, dataset.ManufacturerModelName = "PHANTOM Scanners", "One"
        dataset.PatientName, dataset.PatientID = f"PHANTOM^{patient}", f"P-{patient}"
        dataset.save_as(path)
    return replace(body, series=kept)


class StudyDrawing(DrawingPage):
    """Drawing on the study page itself."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.evaluate(
            """async () => {
                const { drawing } = await import("/static/drawing.js");
                const { bus } = await import("/static/page.js");
                Object.assign(window, { drawing, told: [] });
                bus.addEventListener("corrected", ({ detail }) => window.told.push(detail));
            }"""
        )
        page.wait_for_function("() => drawing.mask")

    def begin(self, place: str) -> None:
        """Correct this finding from nothing."""
        if self.page.input_value("[data-part=finding]") != place:
            self.choose("finding", place)
        self.page.wait_for_function("(place) => drawing.target.place === place", arg=place)
        self.choose("start", "empty")
        self.page.wait_for_function("() => drawing.target.start === 'empty' && drawing.mask.count === 0")

    def marked(self) -> NDArray[np.int64]:
        """What is drawn, `voxels 3`: slice, row, column of the source grid."""
        flat, (columns, rows, slices) = self.page.evaluate(
            "() => [[...drawing.mask.voxels.keys()].filter((i) => drawing.mask.voxels[i]), drawing.mask.dims]"
        )
        return np.stack(np.unravel_index(np.array(flat, dtype=np.int64), (slices, rows, columns)), axis=1)


class Desk:
    """One person at one browser of their own."""

    def __init__(self, browser: Browser, hospital: Hospital, account: str) -> None:
        self.hospital, self.account = hospital, account
        self.page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.set_default_timeout(PATIENCE_MS)

    def sign_in(self) -> None:
        """With account and password, on the keyboard, wherever the page asks for them."""
        if self.page.url == "about:blank":
            self.page.goto(self.hospital.node.pages)
        expect(self.page.locator("input[name=account]")).to_be_focused()
        self.page.keyboard.type(self.account)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(".who")

    def open(self, study_uid: str) -> dict[str, Any]:
        """The study's page; its model."""
        self.page.goto(f"{self.hospital.node.pages}/studies/{study_uid}")
        return self.shown()

    def shown(self) -> dict[str, Any]:
        """The model of the study that is shown, once its picture is there."""
        expect(self.page.locator("#stage")).to_have_attribute("data-drawn", _SOME, timeout=PATIENCE_MS)
        self.page.wait_for_selector("html[data-ready]", timeout=PATIENCE_MS)
        return dict(self.page.evaluate("async () => (await import('/static/study.js')).study"))

    def go_to(self, place: str, series: int) -> None:
        """Select a finding by the keyboard alone."""
        for _ in range(series + 1):
            if self.page.locator(f'.finding.on[data-place="{place}"]').is_visible():
                return
            before = self.page.locator(".finding.on").get_attribute("data-place")
            self.page.keyboard.press("ArrowRight")
            self.page.wait_for_function(
                "(before) => document.querySelector('.finding.on')?.dataset.place !== before", arg=before
            )
        raise AssertionError("the keyboard does not reach the finding")

    def sign(self) -> None:
        self.page.keyboard.press("Control+Enter")
        expect(self.page.locator("#review-told")).to_contain_text("Signed", timeout=PATIENCE_MS)

    def saved(self) -> None:
        """Wait until the node has what was said."""
        expect(self.page.locator("#review-told")).to_contain_text("A draft of", timeout=PATIENCE_MS)

    def ask(self, question: str) -> Locator:
        """Ask, and wait for the preliminary answer; its card."""
        self.page.locator("#ask-text").fill(question)
        self.page.keyboard.press("Enter")
        card = self.page.locator("#asked .question").filter(has_text=question)
        expect(card.locator(".badge")).to_have_text("preliminary", timeout=2 * PATIENCE_MS)
        return card

    def close(self) -> None:
        self.page.context.close()
        assert self.errors == []


_SOME = re.compile(r"\d+")


# --- What lies in the archive -----------------------------------------------------------------------------------------


def objects_of(hospital: Hospital, study_uid: str) -> list[Dataset]:
    """All objects of ours that the archive has of the study."""
    study = hospital.api.studies.lookup(study_uid)
    found = []
    for identifier in hospital.api.studies.get_series_ids(study) if study else ():
        if hospital.api.series.get(identifier).main_dicom_tags.get("Manufacturer") == MANUFACTURER:
            found += [hospital.read(one) for one in hospital.api.series.get_instances_ids(identifier)]
    return found


def uids_of(hospital: Hospital, study_uid: str) -> set[str]:
    """What of ours the archive has of a study."""
    return {str(one.SOPInstanceUID) for one in objects_of(hospital, study_uid)}


def taken_back(hospital: Hospital, study_uid: str) -> list[str]:
    """What the rejection notes in the archive name, as often as they name it; all for quality reasons."""
    notes = [rejection_note(one) for one in objects_of(hospital, study_uid) if one.Modality == "KO"]
    assert all(note is not None and note.code is RejectionCode.QUALITY for note in notes)
    return [one.sop_instance_uid for note in notes if note is not None for one in note.references]


def verified(objects: Sequence[Dataset]) -> list[Dataset]:
    return [one for one in objects if one.get("VerificationFlag") == "VERIFIED"]


def of_series(objects: Sequence[Dataset], series: BodySeries) -> list[Dataset]:
    """Those that refer to a series."""

    def names(dataset: Dataset) -> bool:
        return any(str(element.value) == series.series_uid for element in dataset.iterall() if element.VR == "UI")

    return [one for one in objects if names(one)]


def findings_of(study: dict[str, Any], series: BodySeries) -> list[str]:
    """The places of a series' findings."""
    return [
        finding["place"]
        for job in study["jobs"]
        if job["series_uid"] == series.series_uid
        for answer in job["answers"]
        for finding in answer["findings"]
    ]


def planes_of(series: BodySeries) -> list[BodyImage]:
    """The images of a series along its normal, as its grid counts them."""
    images = [image for image in series.images if image.placement is not None]
    assert images[0].placement and images[-1].placement
    corner = images[0].placement.centres(np.array([[0, 0], [0, 1], [1, 0]]))
    normal = np.cross(corner[1] - corner[0], corner[2] - corner[0])
    last = images[-1].placement.centres(np.zeros((1, 2), dtype=np.int64))[0]
    return images if (last - corner[0]) @ normal > 0 else images[::-1]


def points_of(series: BodySeries, voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Centres of voxels (slice, row, column) in mm LPS, from how the body was placed, not from what the node reads."""
    planes = [image.placement for image in planes_of(series) if image.placement is not None]
    return np.concatenate([planes[n].centres(voxels[voxels[:, 0] == n][:, 1:]) for n in np.unique(voxels[:, 0])])


def errors_of(dataset: Dataset) -> list[str]:
    """What dciodvfy calls an error in an object."""
    checked = subprocess.run(["dciodvfy", str(dataset.filename)], capture_output=True, text=True, timeout=60)
    return [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]


def edited_elsewhere(own: Dataset, series: BodySeries, folder: Path) -> tuple[Path, NDArray[np.int64]]:
    """A SEG as a viewer saves it once a person has redrawn ours: its file, and its voxels (slice, row, column).

    Made by highdicom. It keeps the tracking UID of our segment, and has a person as author.
    """
    planes = planes_of(series)
    images = [pydicom.dcmread(image.path) for image in planes]
    mask = np.zeros((len(images), images[0].Rows, images[0].Columns), dtype=np.uint8)
    mask[3:6, 8:20, 10:25] = 1
    mask[4, 9, 11] = 0
    segment = own.SegmentSequence[0]
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Redrawn",
        segmented_property_category=hd.sr.CodedConcept.from_dataset(segment.SegmentedPropertyCategoryCodeSequence[0]),
        segmented_property_type=hd.sr.CodedConcept.from_dataset(segment.SegmentedPropertyTypeCodeSequence[0]),
        algorithm_type="MANUAL",
        tracking_uid=segment.TrackingUID,
        tracking_id="redrawn",
    )
    made = hd.seg.Segmentation(
        source_images=images, pixel_array=mask, segmentation_type="BINARY", segment_descriptions=[description],
        series_instance_uid=hd.UID(), series_number=900, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="PHANTOM Viewers", manufacturer_model_name="Two", software_versions="2", device_serial_number="2",
        content_creator_name="PHANTOM^Elsewhere",
    )  # fmt: skip
    made.save_as(folder / "elsewhere.dcm")
    return folder / "elsewhere.dcm", np.argwhere(mask)
