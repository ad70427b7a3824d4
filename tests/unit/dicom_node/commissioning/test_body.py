"""The synthetic body: its marks lie where they say, by the node's own geometry too, and nothing else is as bright."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.commissioning.body import MARKS, Body, make_body
from dicom_node.commissioning.placement import side_of
from dicom_node.volumes.load import load_series
from tests.unit.dicom_node.commissioning.loading import WHEN

STACKS = ("axial", "oblique", "tilted gantry")


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Body:
    return make_body(tmp_path_factory.mktemp("body"), "run", WHEN)


def test_no_turned_or_mirrored_copy_of_the_marks_lies_on_itself() -> None:
    points = np.array([mark.centre for mark in MARKS])
    for signs in np.ndindex(2, 2, 2):
        turned = points * (1 - 2 * np.array(signs))
        apart = np.linalg.norm(turned[:, None] - points[None], axis=2).min(axis=1)
        assert apart.max() > 10 or not any(signs), signs


@pytest.mark.parametrize("name", STACKS)
def test_marks_lie_where_they_say_by_the_nodes_own_geometry(body: Body, name: str) -> None:
    (series,) = [one for one in body.series if one.name == name]
    (volume,) = load_series(series.files).parts
    assert volume.geometry is not None and volume.unit is not None
    bright = np.argwhere(volume.values > 2500)
    centres = volume.geometry.centres(bright)
    assert len(bright) == series.marked_pixels
    for mark in MARKS:
        own = centres[mark.holds(centres)]
        expected = series.points(mark)
        assert len(own) == len(expected) > 30
        np.testing.assert_allclose(np.sort(own, axis=0), np.sort(expected, axis=0), atol=1e-3)
        # The first pixels' centres and steps of up to 8 mm: the middle of what is drawn is that of the mark.
        np.testing.assert_allclose(own.mean(axis=0), mark.centre, atol=1.5)
    extents = volume.geometry.slice_extents_mm
    assert extents is not None and series.voxel_mm3 == pytest.approx(extents[0] * 7.5, rel=1e-5)


def test_tilted_slices_lie_above_each_other_along_the_table_and_oblique_ones_along_their_normal(body: Body) -> None:
    for series in body.series[:3]:
        placements = [image.placement for image in series.images]
        step = placements[1].position - placements[0].position
        across = np.linalg.norm(np.cross(step / np.linalg.norm(step), placements[0].normal))
        assert across == pytest.approx(np.sin(np.radians(14)) if series.name == "tilted gantry" else 0, abs=1e-5)
    oblique = body.series[1].images[0].placement
    assert all(np.abs(axis).max() < 0.99 for axis in (oblique.along, oblique.down, oblique.normal))


def test_the_projection_shows_each_mark_by_itself_on_its_side(body: Body) -> None:
    (image,) = body.series[3].images
    stored = dcmread(image.path)
    assert list(stored.PatientOrientation) == ["L", "F"]
    drawn = [tuple(pixel) for pixels in image.marked.values() for pixel in pixels.tolist()]
    assert len(drawn) == len(set(drawn)) == int((stored.pixel_array > 3600).sum())
    assert image.marked["left"][:, 1].mean() > 90 > image.marked["right 1"][:, 1].mean()
    assert image.marked["feet"][:, 0].mean() > 40 > image.marked["head 2"][:, 0].mean()


def test_every_image_says_that_it_is_a_test_of_nobody_and_a_run_is_its_own_study(body: Body, tmp_path: Path) -> None:
    other = make_body(tmp_path, "another run", WHEN)
    uids = [{dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in one.files} for one in (body, other)]
    assert len(uids[0]) == 63 and not uids[0] & uids[1] and body.study_uid != other.study_uid
    for path in body.files:
        header = dcmread(path, stop_before_pixels=True)
        assert (header.PatientName, header.PatientID) == ("COMMISSIONING^MEDSEG", "MEDSEG-COMMISSIONING")
        assert header.BurnedInAnnotation == "NO" and header.QualityControlImage == "YES"
        assert header.SeriesDescription.startswith("TEST") and "Not a patient" in header.ImageComments


def test_the_same_run_makes_the_same_bytes(body: Body, tmp_path: Path) -> None:
    again = make_body(tmp_path, "run", WHEN)
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in body.files]


@pytest.mark.service("dicom3tools")
def test_dciodvfy_has_no_complaint(body: Body) -> None:
    for series in body.series:
        done = subprocess.run(["dciodvfy", series.files[0]], capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        assert lines == [] and "Image" in done.stderr


@pytest.mark.parametrize(
    ("direction", "letters"),
    [((5, 0, 0), "L"), ((-5, 1, 0), "R"), ((0, -1, 0), "A"), ((3, 0, 4), "HL"), ((0, 4, -5), "FP"), ((0, 0, 0), "")],
)
def test_a_direction_has_its_letters(direction: tuple[float, float, float], letters: str) -> None:
    assert side_of(np.array(direction, dtype=float)) == letters


def test_dates_are_those_of_the_run(tmp_path: Path) -> None:
    body = make_body(tmp_path, "x", datetime(2027, 2, 3, 4, 5, 6))
    assert dcmread(body.files[0]).StudyDate == "20270203"
