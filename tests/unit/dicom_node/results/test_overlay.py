"""The picture shows the mask where it is, in the image's true shape, and its words stay on the paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_node.results.finding import ReadPart
from dicom_node.results.overlay import draw_finding, draw_tag, write_overlay
from tests.unit.dicom_node.results.loading import only_part

WIDTH = 768


def drawn(part: ReadPart, folder: Path) -> np.ndarray:
    write_overlay(part, folder / "overlay.png")
    return np.asarray(Image.open(folder / "overlay.png").convert("RGB")).astype(int)


def coloured(pixels: np.ndarray) -> np.ndarray:
    return np.ptp(pixels, axis=2) > 60


def test_the_fullest_slice_in_its_true_shape(box_series, read, tmp_path) -> None:
    def flat(index: int, header: Dataset) -> None:
        header.PixelSpacing = [1.6, 0.7]

    volume = only_part(box_series(change=flat).files)
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[2, 4:8, 4:8] = True
    mask[6, 4:12, 4:20] = True
    pixels = drawn(read(volume, mask), tmp_path)
    tall = (24 * 1.6) / (32 * 0.7)  # higher than wide: 960 high, in the middle of the paper
    height, width = 960, 960 / tall
    left = (WIDTH - width) / 2
    assert pixels.shape[1] == WIDTH and pixels.shape[0] > height  # the legend stands beneath
    contour = coloured(pixels)[:height]
    rows = np.flatnonzero(contour.sum(axis=1) > 150)  # the tag above it is narrower
    assert rows.min() == pytest.approx(height * 4 / 24, abs=3)
    assert rows.max() == pytest.approx(height * 12 / 24, abs=3)
    columns = np.flatnonzero(contour.any(axis=0))
    assert columns.min() == pytest.approx(left + width * 4 / 32, abs=3)
    assert columns.max() == pytest.approx(left + width * 20 / 32, abs=3)
    assert coloured(pixels)[height:].any()  # swatch, phrase, confidence


def test_nothing_seen_has_no_colour(box_series, read, tmp_path) -> None:
    assert not coloured(drawn(read(only_part(box_series().files)), tmp_path)).any()


@pytest.mark.parametrize("zoom", [1, 12])
def test_large_and_small_images_make_pictures_of_one_size(shared_data, read, tmp_path, zoom) -> None:
    file = shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"
    volume = only_part([file])
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 40:80, 60:120] = True
    volume = dataclasses.replace(volume, values=np.kron(volume.values, np.ones((1, zoom, zoom), dtype=np.float32)))
    pixels = drawn(read(volume, np.kron(mask, np.ones((1, zoom, zoom))) > 0), tmp_path)
    height = round(WIDTH * 169 * 1.2 / (211 * 1.201199999999))
    assert pixels.shape[1] == WIDTH and height < pixels.shape[0] < height + 250
    rows = np.flatnonzero(coloured(pixels)[:height].sum(axis=1) > 150)
    assert (rows.min(), rows.max()) == pytest.approx((height * 40 / 169, height * 80 / 169), abs=3)


def test_a_single_pixel_of_a_large_image_is_seen(shared_data, read, tmp_path) -> None:
    volume = only_part([shared_data / "dicom/highdicom/data/test_files/dx_image.dcm"])
    volume = dataclasses.replace(volume, values=np.kron(volume.values, np.ones((1, 12, 12), dtype=np.float32)))
    mask = np.zeros(volume.values.shape, dtype=bool)
    mask[0, 1000, 1000] = True
    pixels = drawn(read(volume, mask), tmp_path)
    around = pixels[round(1000 / 12 * 3.636) - 30 :, round(1000 / 12 * 3.64) - 30 :][:60, :60]
    assert coloured(around).sum() > 300  # a ring


def test_terms_of_the_weights_stand_on_the_picture(box_series, read, tmp_path) -> None:
    volume = only_part(box_series().files)
    plain = drawn(read(volume), tmp_path)
    write_overlay(read(volume), tmp_path / "marked.png", "research use only")
    marked = np.asarray(Image.open(tmp_path / "marked.png").convert("RGB")).astype(int)
    assert marked.shape[0] > plain.shape[0]
    assert coloured(marked)[plain.shape[0] - 16 :].any()


@pytest.mark.timeout(60)  # it did not end within minutes
@pytest.mark.parametrize("letters", ["x", "肝"])
def test_an_answer_of_64_kilobytes_without_a_space_is_shown_in_part_and_at_once(
    box_series, read, tmp_path, letters
) -> None:
    part = read(only_part(box_series().files))
    drawn(part, tmp_path)  # what is done once for a process, as reading a font
    (answer,) = part.answers
    endless = dataclasses.replace(answer, text=letters * (64 * 1024 // len(letters.encode())), question="y" * 65536)
    pixels = drawn(dataclasses.replace(part, answers=(endless,)), tmp_path)
    assert pixels.shape[0] < 960 + 40 * 24


@pytest.mark.parametrize(("row", "column"), [(300, 300), (4, 4), (508, 506)])
def test_a_few_voxels_have_a_ring_and_their_label_beside_it(row, column) -> None:
    picture = Image.new("RGB", (768, 768), "#404040")
    mask = np.zeros((512, 512), dtype=bool)
    mask[row : row + 3, column : column + 3] = True
    spot = draw_finding(picture, mask, "#ff695a")
    assert spot is not None and spot.ring > 12
    assert abs(spot.row - (row + 1.5) * 1.5) <= 1 and abs(spot.column - (column + 1.5) * 1.5) <= 1
    vivid = coloured(np.asarray(picture).astype(int))
    rows, columns = np.indices(vivid.shape)
    away = np.hypot(rows - spot.row, columns - spot.column)
    assert not vivid[(away > 12) & (away < spot.ring - 4)].any()  # what lies around it can be seen
    assert vivid[abs(away - spot.ring) < 1.5].mean() > 0.8
    draw_tag(ImageDraw.Draw(picture), picture.size, spot, "polyp 1", "#00ff00")
    pixels = np.asarray(picture).astype(int)
    letters = (pixels[..., 1] > 200) & (pixels[..., 0] < 60)
    assert letters.sum() > 100 and not letters[away < spot.ring + 2].any()


def test_specks_far_from_each_other_have_a_ring_each() -> None:
    picture = Image.new("RGB", (768, 768), "#404040")
    mask = np.zeros((512, 512), dtype=bool)
    mask[100:102, 100:102] = mask[300:304, 400:404] = True
    spot = draw_finding(picture, mask, "#ff695a")
    assert spot is not None and (spot.column, spot.row) == (603, 453)  # the larger one has the label
    vivid = coloured(np.asarray(picture).astype(int))
    for row, column in ((151, 151), (453, 603)):
        assert vivid[row, column - spot.ring - 1 : column - spot.ring + 2].any()
        assert vivid[row + spot.ring - 1 : row + spot.ring + 2, column].any()
    mask[:50, :50] = True  # this can be found
    alone = draw_finding(Image.new("RGB", (768, 768)), mask, "#ff695a")
    assert alone is not None and alone.ring == 0


def test_a_larger_finding_has_no_ring() -> None:
    mask = np.zeros((512, 512), dtype=bool)
    mask[100:103, 100:120] = True  # 30 pixels of the picture wide
    spot = draw_finding(Image.new("RGB", (768, 768)), mask, "#ff695a")
    assert spot is not None and (spot.row, spot.ring) == (150, 0)
