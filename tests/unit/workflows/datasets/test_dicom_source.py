"""DICOM series with DICOM SEG become MedSeg-QA images: binary, fractional, label maps; slices and radiographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_node.results.stored_segmentation import read_segments
from inference.medseg_qa.builder import BuildOptions, build
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import Skip, SourceImage, open_source
from workflows.datasets.dicom_source import open_dicom

LABELMAPS = ("sparse-labelmap-noppv.dcm", "sparse-labelmap-ppv5.dcm")


def write_seg(path: Path, sources: list[pydicom.Dataset], mask: NDArray[np.uint8], kind: str) -> None:
    """A SEG of liver (1) and spleen (2) by highdicom; `mask`: label values, `slices rows columns`."""
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=code.meaning,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=code,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, code in enumerate((codes.SCT.Liver, codes.SCT.Spleen), start=1)
    ]
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    ).save_as(path)


def images_of(directory: Path) -> dict[str, SourceImage]:
    source = open_dicom(directory)
    assert source is not None
    return {item.id.rsplit("_slice_")[1]: item for item in source if isinstance(item, SourceImage)}


def test_a_real_seg_lands_on_its_series(shared_data: Path) -> None:
    source = open_dicom(shared_data / "dicom" / "highdicom" / "data" / "test_files")
    assert source is not None
    found = list(source)
    images = [item for item in found if isinstance(item, SourceImage)]
    assert images and all(image.modality == "CT" and image.orientation == "radiological" for image in images)
    assert images[0].spacing_mm == pytest.approx((0.661468, 0.661468))
    assert images[0].load().masks["first segment"].sum() == 1832
    refused = [str(item) for item in found if isinstance(item, Skip)]
    assert any("TILED_FULL" in reason and "slide" in reason for reason in refused)


@pytest.mark.parametrize("name", LABELMAPS)
def test_a_real_label_map_lands_on_its_series(shared_data: Path, tmp_path: Path, name: str) -> None:
    folder = shared_data / "dicom" / "dcmqi" / "data" / "segmentations"
    shutil.copytree(folder / "24x38x3" / "image", tmp_path / "image")
    shutil.copy(folder / name, tmp_path)
    images = images_of(tmp_path)
    frames = pydicom.dcmread(folder / name).pixel_array
    assert sorted(int(image.load().masks["liver"].sum()) for image in images.values()) == sorted(
        int((frame == 1).sum()) for frame in frames if (frame == 1).any()
    )
    assert all(set(image.load().masks) == {"liver"} for image in images.values())


def test_a_label_map_says_what_a_binary_seg_says(shared_data: Path, tmp_path: Path) -> None:
    series = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())
    sources = sorted((pydicom.dcmread(path) for path in series), key=lambda item: float(item.ImagePositionPatient[2]))
    mask = np.zeros((len(sources), sources[0].Rows, sources[0].Columns), dtype=np.uint8)
    mask[3:6, 220:240, 230:260] = 1
    mask[5:9, 250:270, 210:225] = 2
    found = {}
    for kind in ("BINARY", "LABELMAP"):
        folder = tmp_path / kind
        folder.mkdir()
        for path in series:
            shutil.copy(path, folder)
        write_seg(folder / "seg.dcm", sources, mask, kind)
        found[kind] = images_of(folder)
    assert list(found["BINARY"]) == list(found["LABELMAP"]) and len(found["BINARY"]) == 6
    for k, image in found["BINARY"].items():
        expected, got = image.load(), found["LABELMAP"][k].load()
        assert set(expected.masks) == set(got.masks)
        assert all(np.array_equal(expected.masks[label], got.masks[label]) for label in expected.masks)
    assert found["BINARY"]["003"].load().masks["liver"].sum() == 600


def test_a_seg_on_a_radiograph_lands_without_geometry(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "dicom" / "highdicom" / "data" / "test_files" / "dx_image.dcm"
    source = pydicom.dcmread(path)
    source.ImageLaterality = "L"
    source.save_as(tmp_path / "dx.dcm")
    mask = np.zeros((1, source.Rows, source.Columns), dtype=np.uint8)
    mask[0, 10:20, 30:60] = 1
    write_seg(tmp_path / "seg.dcm", [source], mask, "BINARY")
    (image,) = images_of(tmp_path).values()
    assert (image.modality, image.orientation, image.laterality) == ("DX", "image", "L")
    assert np.array_equal(image.load().masks["liver"], mask[0] == 1)


def test_a_fractional_seg_counts_from_one_half(shared_data: Path) -> None:
    path = shared_data / "dicom" / "highdicom" / "data" / "test_files" / "seg_image_ct_true_fractional.dcm"
    stored = pydicom.dcmread(path)
    (segment,) = read_segments(path)
    frames = stored.pixel_array
    assert len(segment.points) == int((frames >= stored.MaximumFractionalValue / 2).sum()) < int((frames > 0).sum())


def test_a_set_is_built_without_uids(shared_data: Path, tmp_path: Path) -> None:
    directory = shared_data / "dicom" / "highdicom" / "data" / "test_files"
    report = build(
        open_source(directory, (open_dicom,)), tmp_path / "set", BuildOptions(allow_unknown_labels=True)
    )  # fmt: skip
    assert report.pairs >= 1 and report.skipped
    text = (tmp_path / "set" / "records.jsonl").read_text()
    assert "1.3.6.1.4.1" not in text
    assert all(record.targets[0].area_mm2 for record in read_records(tmp_path / "set"))


def test_a_folder_without_seg_is_no_source(tmp_path: Path) -> None:
    assert open_dicom(tmp_path) is None
