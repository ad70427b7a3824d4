"""The images of the clinical questions, read from the shared data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.errors import InferenceError
from inference.evaluation.clinic.questions import read_images
from workflows.datasets.clinic import load_image


def test_every_image_is_there_and_its_places_lie_on_it(shared_data: Path) -> None:
    for image in read_images().values():
        loaded = load_image(shared_data / "dicom", image)
        shape = loaded.stack.values.shape[:3]
        for place in image.present.values():
            assert all(box[1] < shape[0] and box[3] < shape[1] and box[5] < shape[2] for box in place.boxes)
            assert not place.reference or loaded.references[place.reference].any()
        assert all(mask.shape == shape for mask in loaded.references.values())


def test_a_reference_lies_where_its_organ_is(shared_data: Path) -> None:
    loaded = load_image(shared_data / "dicom", read_images()["abdomen"])
    aorta, liver = loaded.references["52"], loaded.references["5"]
    values = loaded.stack.values
    assert 100 < np.median(values[aorta]) < 250, "contrast in the aorta"
    assert 60 < np.median(values[liver]) < 160 and values[liver].std() < 60
    assert liver.nonzero()[2].mean() < aorta.nonzero()[2].mean(), "the patient's right is on the picture's left"


def test_a_folder_without_the_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="--images"):
        load_image(tmp_path, read_images()["abdomen"])
