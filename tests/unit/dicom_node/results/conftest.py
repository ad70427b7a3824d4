"""Answers about a volume, as the model would give them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import LABELS
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.measurement import measure
from dicom_node.results.profiles import Profile
from dicom_node.volumes.load import SeriesVolume
from tests.unit.dicom_node.results.loading import only_part


@pytest.fixture
def context() -> Callable[..., ResultContext]:
    def make(profile: Profile = Profile.AIR, **changes: object) -> ResultContext:
        values: dict[str, object] = {
            "object_key": "job 1",
            "created": datetime(2026, 1, 2, 3, 4, 5),
            "algorithm_name": "MedSeg-R tiny",
            "algorithm_version": "0.1.0",
            "weights_digest": "ab" * 32,
            "terms": "research use only",
            "protocol": "abdomen 1",
            "station_ae_title": "MEDSEG",
            "profile": profile,
        }
        return ResultContext(**(values | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def read() -> Callable[..., ReadPart]:
    """A part whose one answer has a finding per mask, labelled in turn, and a spleen looked for and not seen."""

    def make(
        volume: SeriesVolume,
        *masks: np.ndarray,
        labels: tuple[str, ...] = ("liver", "kidney left", "kidney right"),
        ordinal: int = 0,
    ) -> ReadPart:
        findings = tuple(
            Finding(
                phrase=label,
                concept=LABELS[label],
                confidence=0.875,
                mask=mask,
                tracking_id=f"{label} {number}",
                tracking_uid=derived_uid("tracking", str(ordinal), str(number)),
                measurements=measure(volume, mask) if mask.shape == volume.values.shape[:3] else (),
            )
            for number, (label, mask) in enumerate(zip(labels, masks, strict=False), start=1)
        )
        answer = ReadAnswer("Where is the liver?", "The liver is <p> here </p> [SEG].", findings, (LABELS["spleen"],))
        return ReadPart(ordinal, volume, (answer,))

    return make


def blob(shape: tuple[int, ...], number: int = 0) -> np.ndarray:
    """A mask that no flip, turn or shift leaves as it is."""
    mask = np.zeros(shape, dtype=bool)
    slices, rows, columns = shape
    start = slices // 4
    stop = max(start + 1, slices // 2)
    mask[start:stop, rows // 5 : rows // 3, columns // 4 + number : columns // 2] = True
    mask[start, rows // 3 : rows // 2 + number, columns // 4 + number] = True
    return mask


@pytest.fixture
def blob_in() -> Callable[..., np.ndarray]:
    return blob


DICOM = "dicom"
SOURCES = {
    "totalseg": "totalseg_ct_dicom/example_ct_dicom",
    "oblique": "dcm_qa_decubitus/In/HFP/2_t1_fl2d_sag",
    "multi-frame": "dcmqi/data/segmentations/23x38x3/multiframe/mf.dcm",
    "single slice": "highdicom/data/test_files/ct_image.dcm",
    "x-ray": "highdicom/data/test_files/dx_image.dcm",
    "computed radiograph": "pydicom/src/pydicom/data/test_files/dicomdirtests/77654033/CR1/6154",
    "ultrasound": "pydicom/src/pydicom/data/test_files/examples_palette.dcm",
    "russian": "pydicom/src/pydicom/data/charset_files/chrRuss.dcm",
    "japanese": "pydicom/src/pydicom/data/charset_files/chrH31.dcm",
    "pet": "suyash/testdata/1.dcm",
}


@functools.cache
def loaded(path: Path) -> SeriesVolume:
    return only_part([path] if path.is_file() else sorted(path.iterdir()))


@pytest.fixture(params=SOURCES)
def real_volume(request: pytest.FixtureRequest, shared_data: Path) -> SeriesVolume:
    return loaded(shared_data / DICOM / SOURCES[request.param])
