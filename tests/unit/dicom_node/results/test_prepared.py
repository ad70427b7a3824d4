"""Items that we encode are written as pydicom writes them, in the character set of the job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.headers.identity import SourceIdentity
from dicom_node.identifiers import derived_uid
from dicom_node.results.companion import identified
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.prepared import ItemEncoder, prepared_sequence
from dicom_node.results.saving import save

POINTS = np.array([[0.1, 2.0], [3.5, 4.25], [0.1, 2.0]])
STATE = "1.2.840.10008.5.1.4.1.1.11.1"


def by_pydicom(text: str) -> Dataset:
    item, image, graphic, note = Dataset(), Dataset(), Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840", "1.2.34"
    image.ReferencedFrameNumber = 7
    note.UnformattedTextValue = text
    graphic.GraphicAnnotationUnits, graphic.GraphicDimensions, graphic.NumberOfGraphicPoints = "PIXEL", 2, 3
    graphic.GraphicData, graphic.GraphicType = [float(value) for value in POINTS.ravel()], "POLYLINE"
    item.ReferencedImageSequence, item.GraphicLayer = [image], "FINDING 1"
    item.TextObjectSequence, item.GraphicObjectSequence = [note], [graphic]
    return item


@pytest.mark.parametrize("character_set", [None, b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 144"])
@pytest.mark.parametrize("text", ["Liver", "Größe der Leber", "печень", "肝"])
def test_an_encoded_item_is_the_one_that_pydicom_writes(tmp_path: Path, character_set: bytes, text: str) -> None:
    identity = ResultIdentity(SourceIdentity(character_set, ()), character_set)
    encoder = ItemEncoder(identity)
    item = encoder.item(
        GraphicLayer="FINDING 1",  # in whatever order
        GraphicObjectSequence=[
            encoder.item(
                GraphicData=POINTS,
                GraphicType="POLYLINE",
                GraphicAnnotationUnits="PIXEL",
                GraphicDimensions=2,
                NumberOfGraphicPoints=3,
            )
        ],
        TextObjectSequence=[encoder.item(UnformattedTextValue=text)],
        ReferencedImageSequence=[
            encoder.item(ReferencedSOPInstanceUID="1.2.34", ReferencedSOPClassUID="1.2.840", ReferencedFrameNumber="7")
        ],
    )
    prepared = prepared_sequence("GraphicAnnotationSequence", [item, item])
    ours, theirs = (identified(STATE, derived_uid("state")) for _ in range(2))
    ours[prepared.tag] = prepared
    theirs.GraphicAnnotationSequence = [by_pydicom(text), by_pydicom(text)]
    for dataset, name in ((ours, "ours.dcm"), (theirs, "theirs.dcm")):
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = derived_uid("series")
        save(dataset, tmp_path / name, identity)
    assert (tmp_path / "ours.dcm").read_bytes() == (tmp_path / "theirs.dcm").read_bytes()
    assert len(pydicom.dcmread(tmp_path / "ours.dcm").GraphicAnnotationSequence) == 2
    assert ours.get_item(prepared.tag) is prepared  # the data set still has it
