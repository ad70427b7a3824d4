"""The picture shows the mask where it is, in the image's true shape, and its words stay on the paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.results.finding import ReadPart
from dicom_node.results.overlay import write_overlay
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
    spot = pixels[round(1000 / 12 * 3.636) - 6 :, round(1000 / 12 * 3.64) - 6 :][:12, :12]
    assert coloured(spot).any()


def test_terms_of_the_weights_stand_on_the_picture(box_series, read, tmp_path) -> None:
    volume = only_part(box_series().files)
    plain = drawn(read(volume), tmp_path)
    write_overlay(read(volume), tmp_path / "marked.png", "research use only")
    marked = np.asarray(Image.open(tmp_path / "marked.png").convert("RGB")).astype(int)
    assert marked.shape[0] > plain.shape[0]
    assert coloured(marked)[plain.shape[0] - 16 :].any()
