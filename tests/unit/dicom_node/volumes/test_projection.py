"""Which pixel spacing an image without patient geometry has, and where it was measured."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicom_node.volumes.load import load_series
from dicom_node.volumes.projection import ProjectedSpacing, SpacingBasis, projected_spacing

DETECTOR = [0.2, 0.15]


def header(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("values", "mm", "basis"),
    [
        ({"ImagerPixelSpacing": DETECTOR}, (0.2, 0.15), SpacingBasis.DETECTOR),
        ({"ImagerPixelSpacing": DETECTOR, "PixelSpacing": [0.2, 0.15]}, (0.2, 0.15), SpacingBasis.DETECTOR),
        ({"ImagerPixelSpacing": DETECTOR, "PixelSpacing": [0.2, "0.1500001"]}, (0.2, 0.1500001), SpacingBasis.DETECTOR),
        ({"ImagerPixelSpacing": DETECTOR, "PixelSpacing": [0.16, 0.12]}, (0.16, 0.12), SpacingBasis.CALIBRATED),
        (
            {"ImagerPixelSpacing": DETECTOR, "PixelSpacing": DETECTOR, "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.2, 0.15),
            SpacingBasis.CALIBRATED,
        ),
        (
            {"ImagerPixelSpacing": DETECTOR, "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.12),
            SpacingBasis.ESTIMATED,
        ),
        (
            {
                "ImagerPixelSpacing": DETECTOR,
                "PixelSpacing": DETECTOR,
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.16, 0.12),
            SpacingBasis.ESTIMATED,
        ),
        ({"NominalScannedPixelSpacing": DETECTOR, "PixelSpacing": DETECTOR}, (0.2, 0.15), SpacingBasis.DETECTOR),
        ({"PixelSpacing": [0.3, 0.3]}, (0.3, 0.3), SpacingBasis.UNSTATED),
    ],
)
def test_spacing_and_basis(values: dict, mm: tuple[float, float], basis: SpacingBasis) -> None:
    found = projected_spacing(header(**values))
    assert found is not None and found.basis is basis
    assert found.mm == pytest.approx(mm, abs=1e-6)


@pytest.mark.parametrize(
    "values",
    [{}, {"PixelSpacing": [0, 0]}, {"PixelSpacing": "0.3"}, {"EstimatedRadiographicMagnificationFactor": 1.2},
     {"ImagerPixelSpacing": [-1, 0.2]}],
)  # fmt: skip
def test_what_is_no_spacing(values: dict) -> None:
    assert projected_spacing(header(**values)) is None


def test_one_ultrasound_region_in_centimetres_measures_in_the_patient() -> None:
    region = header(PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.02, PhysicalDeltaY=0.03)
    one, two = header(SequenceOfUltrasoundRegions=[region]), header(SequenceOfUltrasoundRegions=[region, region])
    assert projected_spacing(one) == ProjectedSpacing((pytest.approx(0.3), pytest.approx(0.2)), SpacingBasis.PATIENT)
    assert projected_spacing(two) is None


@pytest.mark.parametrize(
    ("file", "mm", "basis"),
    [
        ("highdicom/data/test_files/dx_image.dcm", (1.2, 1.2012), SpacingBasis.DETECTOR),
        ("pydicom/src/pydicom/data/test_files/dicomdirtests/77654033/CR1/6154", (0.1, 0.1), SpacingBasis.DETECTOR),
        ("cornerstone3D/packages/dicomImageLoader/testImages/TestPattern_RGB.dcm", (1, 1), SpacingBasis.UNSTATED),
        ("pydicom/src/pydicom/data/test_files/image_dfl.dcm", None, None),
        ("highdicom/data/test_files/ct_image.dcm", (0.66147, 0.66147), SpacingBasis.PATIENT),
    ],
)
def test_real_images(shared_data, file, mm, basis) -> None:
    (volume,) = load_series([shared_data / "dicom" / file]).parts
    assert volume.spacing_basis is basis
    assert volume.pixel_spacing_mm == (mm if mm is None else pytest.approx(mm, abs=1e-4))
