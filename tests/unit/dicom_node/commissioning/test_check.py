"""What an archive does to the body is told, each kind of it: mirrored, dropped, changed, moved, lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_node.commissioning.check import BodyVerdict, check_body, read_returned
from dicom_node.commissioning.page import PageFacts, write_page
from dicom_node.errors import ResultRefused
from dicom_node.results.profiles import Profile, ResultKind
from tests.unit.dicom_node.commissioning.loading import ReadBody, read_body

Returned = dict[str, Dataset]
pytestmark = pytest.mark.slow  # four series are read


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> ReadBody:
    return read_body(tmp_path_factory.mktemp("sent"), Profile.AIR)


def verdict_after(sent: ReadBody, change: Callable[[Returned], None]) -> BodyVerdict:
    returned = read_returned(sent.files)
    change(returned)
    return check_body(sent.body, sent.results, returned)


def of_series(returned: Returned, sent: ReadBody, number: int, modality: str) -> list[Dataset]:
    """The instances of one modality that are of the body's series `number`."""
    series = sent.body.series[number]
    if modality in ("CT", "CR"):
        return [returned[image.sop_instance_uid] for image in series.images if image.sop_instance_uid in returned]
    own = {result.path for result in sent.results if result.series == series.name}
    return [one for one in returned.values() if one.Modality == modality and Path(one.filename) in own]


def objects_of(verdict: BodyVerdict, number: int) -> dict[str, tuple[bool, str]]:
    return {one.what: (one.ok, one.detail) for one in verdict.series[number].objects}


@pytest.mark.parametrize("profile", [Profile.AIR, Profile.OHIF])
def test_what_comes_back_as_it_was_is_all_right_mark_by_mark(sent: ReadBody, profile: Profile, tmp_path: Path) -> None:
    verdict = verdict_after(sent if profile is Profile.AIR else read_body(tmp_path, profile), lambda _: None)
    assert verdict.ok and verdict.strays == 0 and len(verdict.series) == 4
    for series in verdict.series:
        assert len(series.marks) == 8
        for mark in series.marks:
            assert all(off is not None and off < 1e-3 for off in mark.off.values()), mark
            assert {"in_images", "by_images"} <= set(mark.off)
            assert (mark.side, mark.slices) == (mark.true_side, mark.true_slices) and mark.side and mark.slices
    assert all(set(mark.off) == {"in_images", "by_positions", "by_images"} for mark in verdict.series[0].marks)
    sides = {mark.mark: mark.side for mark in verdict.series[1].marks}
    assert [sides[name] for name in ("left", "right 1", "head 2", "front", "feet")] == ["L", "R", "H", "A", "F"]


def test_volumes_are_those_that_are_known(sent: ReadBody) -> None:
    said = objects_of(verdict_after(sent, lambda _: None), 0)["SR"][1]
    assert "volume 81.9 ml, known 81.9 ml" in said  # 1365 voxels of 60 mm3


def test_mirrored_pixels_are_told_mark_by_mark(sent: ReadBody) -> None:
    def mirror(returned: Returned) -> None:
        for image in of_series(returned, sent, 0, "CT"):
            image.PixelData = np.ascontiguousarray(image.pixel_array[:, ::-1]).tobytes()

    verdict = verdict_after(sent, mirror)
    assert not verdict.ok and [series.ok for series in verdict.series[1:]] == [True] * 3
    assert "Pixel Data is another in 16 of 16" in objects_of(verdict, 0)["images"][1]
    wrong = {mark.mark for mark in verdict.series[0].marks if not mark.ok}
    assert {"left", "right 1", "right 2", "feet"} <= wrong and "head 2" not in wrong


def test_a_mirrored_seg_is_told_by_positions_and_by_images(sent: ReadBody) -> None:
    def mirror(returned: Returned) -> None:
        (segmentation,) = of_series(returned, sent, 1, "SEG")
        flipped = np.packbits(segmentation.pixel_array[:, :, ::-1].ravel(), bitorder="little")
        segmentation.PixelData = flipped.tobytes()

    verdict = verdict_after(sent, mirror)
    marks = {mark.mark: mark for mark in verdict.series[1].marks}
    assert not marks["left"].ok and marks["left"].off["in_images"] == pytest.approx(0)
    for way in ("by_positions", "by_images"):
        off = marks["left"].off[way]
        assert off is None or off > 5
    assert objects_of(verdict, 1)["SEG"][0] is False


def test_images_turned_over_in_their_header_are_told_by_reference(sent: ReadBody) -> None:
    def turn(returned: Returned) -> None:
        for image in of_series(returned, sent, 2, "CT"):
            image.ImageOrientationPatient = [-1, 0, 0, *image.ImageOrientationPatient[3:]]

    verdict = verdict_after(sent, turn)
    assert "Image Orientation (Patient) is another in 20 of 20" in objects_of(verdict, 2)["images"][1]
    left = next(mark for mark in verdict.series[2].marks if mark.mark == "left")
    assert not left.ok and left.off["by_positions"] == pytest.approx(0, abs=1e-3)
    assert left.off["by_images"] is None or left.off["by_images"] > 5


def test_a_dropped_image_is_told(sent: ReadBody) -> None:
    def drop(returned: Returned) -> None:
        image = next(image for image in sent.body.series[0].images if "left" in image.marked)
        del returned[image.sop_instance_uid]

    verdict = verdict_after(sent, drop)
    assert "1 of 16 images did not come back" in objects_of(verdict, 0)["images"][1]
    assert "marked pixels lie on images that did not come back" in objects_of(verdict, 0)["SEG"][1]
    left = next(mark for mark in verdict.series[0].marks if mark.mark == "left")
    assert not left.ok and left.off["in_images"] == pytest.approx(8, abs=3)


def test_a_dropped_frame_of_the_seg_is_told(sent: ReadBody) -> None:
    def drop(returned: Returned) -> None:
        (segmentation,) = of_series(returned, sent, 0, "SEG")
        values = segmentation.pixel_array.copy()
        marked = [index for index, frame in enumerate(values) if frame.any()]
        values[marked[0]] = 0
        segmentation.PixelData = np.packbits(values.ravel(), bitorder="little").tobytes()

    lost = [mark for mark in verdict_after(sent, drop).series[0].marks if not mark.ok]
    assert lost and len(lost) < 8
    for mark in lost:
        assert mark.slices != mark.true_slices
        assert mark.off["in_images"] == 0 and mark.off["by_positions"] == mark.off["by_images"] == pytest.approx(
            8, abs=3
        )


def test_a_changed_uid_is_told_as_lost_and_as_a_stray(sent: ReadBody) -> None:
    def change(returned: Returned) -> None:
        (segmentation,) = of_series(returned, sent, 0, "SEG")
        del returned[segmentation.SOPInstanceUID]
        segmentation.SOPInstanceUID = generate_uid()
        returned[segmentation.SOPInstanceUID] = segmentation

    verdict = verdict_after(sent, change)
    assert verdict.strays == 1 and objects_of(verdict, 0)["SEG"] == (False, "did not come back")
    assert not any(mark.ok for mark in verdict.series[0].marks)
    assert "that it refers to did not come back" in objects_of(verdict, 0)["SR"][1]


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("StudyInstanceUID", "1.2.3", "Study Instance UID"),
        ("FrameOfReferenceUID", "1.2.3", "Frame of Reference UID"),
        ("PatientID", "SOMEBODY", "Patient ID"),
        ("PixelSpacing", [2.5, 3.0], "Pixel Spacing"),
        ("RescaleIntercept", "0", "Rescale Intercept"),
    ],
)
def test_a_changed_attribute_that_matters_is_told(sent: ReadBody, keyword: str, value: object, told: str) -> None:
    def change(returned: Returned) -> None:
        for image in of_series(returned, sent, 0, "CT"):
            setattr(image, keyword, value)

    verdict = verdict_after(sent, change)
    assert not verdict.ok and f"{told} is another in 16 of 16" in objects_of(verdict, 0)["images"][1]


def test_what_an_archive_may_change_is_noted_and_nothing_else(sent: ReadBody) -> None:
    def change(returned: Returned) -> None:
        for one in returned.values():
            one.InstitutionName = "St. Elsewhere"
            one.add_new((0x0009, 0x0010), "LO", "PACS")
            one.PatientComments = one.get("PatientComments") or ""
            if "PixelSpacing" in one:
                one.PixelSpacing = [f"{value:.6f}" for value in one.PixelSpacing]

    verdict = verdict_after(sent, change)
    assert verdict.ok
    assert objects_of(verdict, 0)["images"][1].endswith("the archive changed Institution Name")


def test_a_volume_that_is_not_the_known_one_is_told(sent: ReadBody) -> None:
    def change(returned: Returned) -> None:
        (report,) = of_series(returned, sent, 0, "SR")
        for item in report.iterall():
            if item.keyword == "NumericValue" and item.value == pytest.approx(81.9, abs=0.05):
                item.value = "90"

    good, said = objects_of(verdict_after(sent, change), 0)["SR"]
    assert not good and "volume 90.0 ml, known 81.9 ml" in said


def test_what_was_refused_is_told_with_what_the_archive_said(sent: ReadBody) -> None:
    returned = read_returned(sent.files)
    lost = next(one for one in sent.results if one.kind is ResultKind.SEGMENTATION)
    results = [replace(one, refusal="status 0x0122") if one is lost else one for one in sent.results]
    for uid in [uid for uid, one in returned.items() if Path(one.filename) == lost.path]:
        del returned[uid]
    verdict = check_body(sent.body, results, returned)
    assert objects_of(verdict, 0)["SEG"] == (False, "the archive did not take it: status 0x0122")


def test_an_empty_archive_gives_a_verdict_and_a_page(sent: ReadBody, tmp_path: Path) -> None:
    verdict = check_body(sent.body, sent.results, {})
    assert not verdict.ok and not any(series.ok for series in verdict.series)
    write_page(tmp_path / "page.pdf", sent.body, verdict, {}, {}, PageFacts("Nothing", (), "It stays."))
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_is_one_and_the_same_bytes_twice(sent: ReadBody, tmp_path: Path) -> None:
    import pypdfium2

    returned = read_returned(sent.files)
    verdict = check_body(sent.body, sent.results, returned)
    segmentations = {
        series.name: of_series(returned, sent, number, "SEG") for number, series in enumerate(sent.body.series)
    }
    facts = PageFacts("Commissioning of archive pacs", (("Archive", "ORTHANC@pacs:4242"),), "The study was removed.")
    for name in ("one.pdf", "two.pdf"):
        write_page(tmp_path / name, sent.body, verdict, segmentations, returned, facts)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()
    with pypdfium2.PdfDocument(tmp_path / "one.pdf") as document:
        assert len(document) == 1
        text = document[0].get_textpage().get_text_range()
    assert "All marks came back" in text and text.count("right 2") >= 4 and "known 81.9 ml" in text


def test_without_masks_nothing_is_said_of_marks_that_was_not_checked(tmp_path: Path) -> None:
    import pypdfium2

    sent = read_body(tmp_path, Profile.PLAIN_PACS)
    returned = read_returned(sent.files)
    verdict = check_body(sent.body, sent.results, returned)
    assert verdict.ok and verdict.told == "Images and pictures came back"
    assert "in this profile the marks are checked in the images; that pictures came back" in verdict.unchecked
    captures = {series.name: of_series(returned, sent, at, "OT") for at, series in enumerate(sent.body.series)}
    facts = PageFacts("Commissioning of archive pacs", (), "The study was removed.")
    write_page(tmp_path / "page.pdf", sent.body, verdict, captures, returned, facts)
    with pypdfium2.PdfDocument(tmp_path / "page.pdf") as document:
        first, second = (page.get_textpage().get_text_range() for page in document)
        pictures = [one.get_bounds() for one in document[1].get_objects() if isinstance(one, pypdfium2.PdfImage)]
    assert "Images and pictures came back" in first and "All marks" not in first + second
    assert "look at them" in " ".join(first.split()) and "look at them" in " ".join(second.split())
    assert len(pictures) == 4 and all(right - left > 220 for left, _, right, _ in pictures)  # 8 cm wide or more


def test_a_series_without_masks_among_others_is_named(sent: ReadBody) -> None:
    verdict = verdict_after(sent, lambda _: None)
    assert (verdict.told, verdict.unchecked) == ("All marks came back", "")
    bare = tuple(replace(mark, off={"in_images": 0.0}) for mark in verdict.series[3].marks)
    some = BodyVerdict((*verdict.series[:3], replace(verdict.series[3], marks=bare)), 0)
    assert some.told == "Images, marks and pictures came back"
    assert some.unchecked.startswith("Not checked: of projection the marks")


def test_what_is_no_dicom_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_text("an error page")
    with pytest.raises(ResultRefused, match=r"the archive gave x\.dcm"):
        read_returned([tmp_path / "x.dcm"])
