"""Orthanc takes captures, documents, key objects and presentation states, and gives the same bytes and pixels back."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import LABELS
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext
from dicom_node.results.identity import own_texts, result_identity
from dicom_node.results.measurement import measure
from dicom_node.results.objects import make_objects
from dicom_node.results.profiles import ADDED_KINDS, Profile, ResultKind, Wishes
from dicom_node.volumes.load import load_series
from tests.corpus.kinds import KINDS
from tests.services import Orthanc

NAMES = ("CT, axial", "MR, oblique", "Enhanced MR, measures per frame", "PET, a slope per slice", "CR", "ES")
WISHES = (Wishes(also=tuple(ADDED_KINDS)), Wishes(single_images=True))


@pytest.mark.parametrize("name", NAMES)
def test_orthanc_keeps_and_renders_every_companion(name: str, orthanc: Orthanc, tmp_path: Path) -> None:
    kind = next(one for one in KINDS if one.name == name)
    (tmp_path / "source").mkdir()
    volume = load_series(kind.write(tmp_path / "source").files).parts[0]
    mask = np.zeros(volume.values.shape[:3], dtype=bool)
    mask[:, 5:15, 5:20] = True
    finding = Finding("liver", LABELS["liver"], 0.9, mask, "liver 1", derived_uid(name), measure(volume, mask))
    part = ReadPart(0, volume, (ReadAnswer("Where is the liver?", "Here.", (finding,), (LABELS["spleen"],)),))
    context = ResultContext(
        object_key=f"companions {name}",
        created=datetime(2026, 1, 2, 3, 4, 5),
        algorithm_name="test",
        algorithm_version="1",
        weights_digest="ab" * 32,
        terms="research use only",
        protocol="test 1",
        station_ae_title="MEDSEG",
        profile=Profile.PLAIN_PACS,
    )
    identity = result_identity(volume.identity, own_texts(part.answers))
    made = make_objects([part], identity, WISHES, tmp_path, context, notes := [])
    assert notes == []
    assert {one.kind for one in made} == {ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES, *ADDED_KINDS}
    for one in made:
        content = one.path.read_bytes()
        stored = orthanc.post("/instances", content)
        assert stored["Status"] == "Success"
        assert orthanc.get_bytes(f"/instances/{stored['ID']}/file") == content
        if one.kind in (ResultKind.CAPTURE, ResultKind.CAPTURE_IMAGES):
            rendered = Image.open(io.BytesIO(orthanc.get_bytes(f"/instances/{stored['ID']}/frames/0/preview")))
            pixels = pydicom.dcmread(one.path).pixel_array.reshape(-1, 1280, 1024, 3)
            assert np.array_equal(np.asarray(rendered.convert("RGB")), pixels[0])
        if one.kind is ResultKind.DOCUMENT:
            assert orthanc.get_bytes(f"/instances/{stored['ID']}/pdf").startswith(b"%PDF-")
