"""Presentation states draw each finding where its pixels are, on the right image and frame, in its own colour."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_node.errors import ResultRefused
from dicom_node.results.colours import cielab_of
from dicom_node.results.gate import check_companion
from dicom_node.results.presentation_state import build_presentation_state
from dicom_node.results.profiles import ResultKind
from dicom_node.results.saving import save
from tests.unit.dicom_node.results.checkers import errors_of_dciodvfy, identity_of, installed
from tests.unit.dicom_node.results.companions import COMPANION_KINDS, marked, phantom
from tests.unit.dicom_node.results.loading import only_part


def saved(part, context, path: Path) -> Dataset:
    save(build_presentation_state(part, context, identity_of([part])), path, identity_of([part]))
    check_companion(path, ResultKind.PRESENTATION_STATE, [part], identity_of([part]))
    return pydicom.dcmread(path)


def filled(points: list[float], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in a polygon that counts from the corner of the first pixel, eight times finer."""
    fine = Image.new("1", (shape[1] * 8, shape[0] * 8))
    ImageDraw.Draw(fine).polygon([value * 8 - 0.5 for value in points], fill=1)
    return np.asarray(fine)[4::8, 4::8]


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("name", COMPANION_KINDS)
def test_every_kind_of_image_has_a_presentation_state(name, context, read, tmp_path) -> None:
    part = marked(phantom(name, tmp_path), read)
    state = saved(part, context(), tmp_path / "state.dcm")
    assert errors_of_dciodvfy(tmp_path / "state.dcm") == []
    checked = subprocess.run(
        [installed("/usr/bin/dcmpschk"), tmp_path / "state.dcm"], capture_output=True, text=True, check=False
    )
    if state.SOPClassUID == "1.2.840.10008.5.1.4.1.1.11.1":  # dcmpschk knows no other class
        assert checked.returncode == 0 and "rror" not in checked.stderr + checked.stdout, checked
    else:
        assert part.volume.is_color and state.SOPClassUID == "1.2.840.10008.5.1.4.1.1.11.2" and state.ICCProfile
    sources = [(one.header.SOPInstanceUID, one.frame_number) for one in part.volume.slices]
    drawn = {number: np.zeros(part.volume.values.shape[:3], dtype=bool) for number in (1, 2)}
    for item in state.GraphicAnnotationSequence:
        if item.GraphicLayer == "STATE":
            assert "RESEARCH USE ONLY" in item.TextObjectSequence[0].UnformattedTextValue
            continue
        number = int(item.GraphicLayer.removeprefix("FINDING "))
        (image,) = item.ReferencedImageSequence
        index = sources.index((image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")))
        assert part.findings[number - 1].label[1:] in item.TextObjectSequence[0].UnformattedTextValue
        for graphic in item.GraphicObjectSequence:
            assert (graphic.GraphicType, graphic.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
            assert graphic.NumberOfGraphicPoints * 2 == len(graphic.GraphicData)
            drawn[number][index] |= filled(list(graphic.GraphicData), drawn[number].shape[1:])
    for number, finding in enumerate(part.findings, start=1):
        assert np.array_equal(drawn[number], finding.mask)
        layer = state.GraphicLayerSequence[number]
        assert list(layer.GraphicLayerRecommendedDisplayCIELabValue) == list(cielab_of(finding.concept.label).value)


def test_windows_and_rescale_are_the_images_own(box_series, context, read, tmp_path) -> None:
    def windowed(index: int, header: Dataset) -> None:
        header.WindowCenter, header.WindowWidth = [40, 300], [300, 1500]
        header.WindowCenterWidthExplanation = ["SOFT", "BONE"]

    part = marked(only_part(box_series(change=windowed).files), read)
    state = saved(part, context(), tmp_path / "state.dcm")
    (voi,) = state.SoftcopyVOILUTSequence
    first = voi.WindowCenter, voi.WindowWidth, voi.WindowCenterWidthExplanation
    assert first == (40, 300, "SOFT")  # of several the first: DCMTK opens no state with more
    assert "ReferencedImageSequence" not in voi
    assert (state.RescaleSlope, state.RescaleIntercept, state.PresentationLUTShape) == (1, -1024, "IDENTITY")
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [32, 24]


@pytest.mark.service("dcmtk")
def test_dcmtk_draws_a_slice_whose_source_has_several_windows(box_series, context, read, tmp_path) -> None:
    def windowed(index: int, header: Dataset) -> None:
        header.WindowCenter, header.WindowWidth = [40, 300], [300, 1500]

    made = box_series(change=windowed)
    part = marked(only_part(made.files), read)
    state = saved(part, context(), tmp_path / "state.dcm")
    (one,) = state.ReferencedSeriesSequence
    shown = one.ReferencedImageSequence[0].ReferencedSOPInstanceUID
    image = next(path for path in made.files if pydicom.dcmread(path).SOPInstanceUID == shown)
    drawn = subprocess.run(
        [installed("/usr/bin/dcmp2pgm"), "-p", tmp_path / "state.dcm", image, tmp_path / "drawn.pgm"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert drawn.returncode == 0 and (tmp_path / "drawn.pgm").read_bytes()[:2] == b"P5", drawn.stderr


def test_where_rescales_differ_windows_are_of_stored_values(context, read, tmp_path) -> None:
    volume = phantom("PET, a slope per slice", tmp_path)
    for item in volume.slices:
        item.header.WindowCenter, item.header.WindowWidth = 100, 50
    state = saved(marked(volume, read), context(), tmp_path / "state.dcm")
    assert "RescaleSlope" not in state
    for voi in state.SoftcopyVOILUTSequence:
        (image,) = voi.ReferencedImageSequence
        header = next(
            one.header for one in volume.slices if one.header.SOPInstanceUID == image.ReferencedSOPInstanceUID
        )
        centre = float(header.RescaleSlope) * float(voi.WindowCenter) + float(header.RescaleIntercept)
        assert (centre, float(header.RescaleSlope) * float(voi.WindowWidth)) == pytest.approx((100, 50))


def test_monochrome1_is_shown_turned_round(context, read, tmp_path) -> None:
    state = saved(marked(phantom("DX, MONOCHROME1", tmp_path), read), context(), tmp_path / "state.dcm")
    assert state.PresentationLUTShape == "INVERSE"


def test_nothing_seen_has_no_presentation_state(box_series, context, read) -> None:
    part = read(only_part(box_series().files))
    assert build_presentation_state(part, context(), identity_of([part])) is None


def test_the_same_state_twice_is_the_same_bytes(context, read, tmp_path) -> None:
    part = marked(phantom("ES", tmp_path), read)  # in colour: its profile of colours has a date
    for name in ("one", "two"):
        saved(part, context(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_gate_refuses_a_state_that_leaves_a_marked_slice_out(box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    state = saved(part, context(), tmp_path / "state.dcm")
    images = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    gone = images.pop(0).ReferencedSOPInstanceUID
    state.GraphicAnnotationSequence = [
        item
        for item in state.GraphicAnnotationSequence
        if gone not in [image.ReferencedSOPInstanceUID for image in item.get("ReferencedImageSequence", [])]
    ]
    state.save_as(tmp_path / "state.dcm")
    with pytest.raises(ResultRefused, match="1 images are not named"):
        check_companion(tmp_path / "state.dcm", ResultKind.PRESENTATION_STATE, [part], identity_of([part]))


@pytest.mark.parametrize("undefined", [False, True])
def test_the_gate_refuses_a_state_that_draws_on_a_strange_image(box_series, context, read, tmp_path, undefined) -> None:
    part = marked(only_part(box_series().files), read)
    state = saved(part, context(), tmp_path / "state.dcm")
    state["GraphicAnnotationSequence"].is_undefined_length = undefined
    item = state.GraphicAnnotationSequence[-1]
    item.is_undefined_length_sequence_item = undefined
    state.save_as(tmp_path / "state.dcm")
    check_companion(tmp_path / "state.dcm", ResultKind.PRESENTATION_STATE, [part], identity_of([part]))
    item.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    state.save_as(tmp_path / "state.dcm")
    with pytest.raises(ResultRefused, match=r"not of its job, 1\.2\.3"):
        check_companion(tmp_path / "state.dcm", ResultKind.PRESENTATION_STATE, [part], identity_of([part]))


@pytest.mark.filterwarnings("ignore:.*end of file:UserWarning")
def test_the_gate_refuses_a_state_that_is_cut_off(box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    saved(part, context(), tmp_path / "state.dcm")
    whole = (tmp_path / "state.dcm").read_bytes()
    (tmp_path / "state.dcm").write_bytes(whole[:-100])
    with pytest.raises(ResultRefused, match="cut off"):
        check_companion(tmp_path / "state.dcm", ResultKind.PRESENTATION_STATE, [part], identity_of([part]))


def test_findings_count_their_pixels_once(box_series, read) -> None:
    part = marked(only_part(box_series().files), read)
    finding = part.findings[0]
    counted = finding.mask.sum(axis=(1, 2))
    assert finding.pixels_by_slice.tolist() == counted.tolist() and finding.largest_slice == int(counted.argmax())
    assert finding.pixels_by_slice is finding.pixels_by_slice
