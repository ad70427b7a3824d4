"""A node with reading protocols in a folder of its own, and the pages over it."""

from __future__ import annotations

import io
from pathlib import Path

from fastapi.testclient import TestClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from tests.scene import scene_node
from workflows.bootstrap import Node
from workflows.web.access import Person, Role
from workflows.web.app import create_app

from .conftest import OpenDoor

__all__ = ["ABDOMEN", "OFF", "client_of", "ct", "rules_node"]

ABDOMEN = r"""
name: abdomen
version: "2"
title: Organs of the upper abdomen
priority: 70
when:
  age: {at_least: 18, if_missing: true}
series:
  where:
    modality: CT
    slice_thickness: {at_most: 5}
    description: {pattern: '\babd'}
  prefer: [original, thin]
  take: 1
questions:
  - id: liver
    text: Where is the liver?
    findings: liver
    follow_ups:
      - {ask: 'How large is it?', if_seen: liver, if_larger_than: {ml: 1500}}
examples:
  - title: a CT of the abdomen
    match: true
    series: [{Modality: CT, SeriesDescription: Abdomen, SliceThickness: 2}]
"""
OFF = """
name: heart
version: "1"
title: Heart in MR
off: the weights have not learned <b>it</b>
series: {where: {modality: MR}}
questions: [{id: heart, text: "Where is the heart?", findings: heart}]
"""


def rules_node(folder: Path, **files: str) -> Node:
    """A node whose protocols are these files, taken into service."""
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for name, text in files.items():
        (rules / f"{name}.yaml").write_text(text)
    node = scene_node(folder / "data", protocols={"directory": str(rules)})
    if files:
        node.load_protocols()
    return node


def client_of(node: Node, role: Role = Role.ADMINISTRATOR) -> TestClient:
    """A client of the pages."""
    person = Person(account="op", name="Test^Op", role=role, csrf="token")
    return TestClient(create_app(node, OpenDoor(person)), base_url="http://127.0.0.1")


def ct(deflated: bool = False, **values: object) -> bytes:
    """A CT image, without pixels."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=["image"])
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    image.Modality, image.SeriesDescription, image.SliceThickness = "CT", "Abdomen 2.0", 2
    image.ImageType, image.PatientName, image.PatientID = ["ORIGINAL", "PRIMARY", "AXIAL"], "PHANTOM^One", "4711"
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    written = io.BytesIO()
    image.save_as(written, enforce_file_format=True)
    return written.getvalue()
