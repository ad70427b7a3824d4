"""The pictures of docs/protocols.md: the protocols in service, and what a change of one would do over a month.

    python -m tests.rule_pictures docs/images

The studies are headers alone, made up, of patients called PHANTOM; the protocols are those that come with the node.
"""

from __future__ import annotations

import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page
from sqlalchemy.orm import Session

from dicom_node.headers.attributes import KeptSeries, KeptStudy
from dicom_node.headers.study import study_header
from dicom_node.identifiers import derived_uid
from dicom_node.sop_classes import ordinary_class
from tests.scene import scene_node
from tests.unit.workflows.web.drawing_page import chromium, serving
from workflows.bootstrap import Node
from workflows.protocols.matching import match
from workflows.state.kept_headers import keep_headers_of
from workflows.state.states import JobState, StudyState
from workflows.state.tables import JobRow, StudyRow
from workflows.web.access import Person, Role
from workflows.web.app import create_app

# Modality, study description, and its series: description, slice thickness, images, image type.
_AXIAL, _LOCALIZER, _REFORMAT = "ORIGINAL PRIMARY AXIAL", "ORIGINAL PRIMARY LOCALIZER", "DERIVED SECONDARY REFORMATTED"
_SCOUT = ("Topogram", "", 2, _LOCALIZER)
_KINDS = (
    ("CT", "CT Abdomen", 9, (_SCOUT, ("Abdomen portal venous 2.0", "2", 180, _AXIAL), ("Coronal", "3", 90, _REFORMAT))),
    ("CT", "CT Thorax and Abdomen", 6, (_SCOUT, ("Thorax abdomen venous 5.0", "5", 120, _AXIAL))),
    ("CT", "CT Thorax", 6, (_SCOUT, ("Lung 1.0", "1", 320, _AXIAL), ("Mediastinum 3.0", "3", 110, _AXIAL))),
    ("CT", "CT Head", 4, (_SCOUT, ("Head 4.0", "4", 40, _AXIAL))),
    ("CT", "CT liver", 3, (_SCOUT, ("Liver arterial", "2", 90, _AXIAL), ("Liver venous", "", 90, _AXIAL))),
    ("DX", "Chest PA", 9, (("Chest PA", "", 1, "ORIGINAL PRIMARY"),)),
    ("MR", "MR Heart", 2, (("Cine short axis", "8", 250, "ORIGINAL PRIMARY M"),)),
    ("MG", "Screening mammography", 3, (("R CC", "", 1, "ORIGINAL PRIMARY"), ("L CC", "", 1, "ORIGINAL PRIMARY"))),
)  # fmt: skip
EDITED = r"""
name: abdominal-ct
version: "4"
title: Organs and vessels of the upper abdomen in CT, thin slices
priority: 60
when:
  any:
    - procedure: {code: [SCT:818981001, SCT:818982008, SCT:416550000]}
    - description: {pattern: ['\babd', '\boberbauch\b', '\bthorax\b']}
series:
  where:
    modality: CT
    slice_thickness: {at_most: 4}
    instances: {at_least: 10}
  prefer: [original, axial, thin, {phase: portal}]
  take: 1
questions:
  - {id: liver, text: "Where is the liver?", findings: liver}
  - {id: spleen, text: "Where is the spleen?", findings: spleen}
examples:
  - title: a portal venous abdomen
    match: true
    study: {StudyDescription: CT Abdomen}
    series: [{Modality: CT, SeriesDescription: Abdomen venous, SliceThickness: "2", instances: 120}]
  - title: a chest radiograph
    match: false
    series: [{Modality: DX, SeriesDescription: Chest PA}]
"""


class _Door:
    """Lets everybody in as one administrator."""

    async def admit(self, request: object) -> Person:
        return Person("operator", "PHANTOM^Operator", Role.ADMINISTRATOR, "token")


def fill_history(node: Node, studies: int = 420) -> None:
    """Studies of the last month, planned and answered, of which headers and times are kept."""
    chance, now = random.Random(19), datetime.now(UTC).replace(second=0, microsecond=0)
    protocols = node.load_protocols()
    kinds = [kind for kind in _KINDS for _ in range(kind[2])]
    with Session(node.repository._engine) as session, session.begin():
        for number in range(studies):
            at = now - timedelta(minutes=chance.randrange(29 * 1440))
            modality, description, _, series = chance.choice(kinds)
            uid, accession = derived_uid("past", str(number)), f"A-{30000 + number}"
            row = StudyRow(study_uid=uid, state=StudyState.DELIVERED, first_received_at=at, last_received_at=at,
                           changed_at=at, wake_at=at, accession_number=accession)  # fmt: skip
            session.add(row)
            session.flush()
            kept = tuple(
                KeptSeries(
                    {
                        "StudyInstanceUID": (uid,), "SeriesInstanceUID": (derived_uid(uid, name),),
                        "Modality": (modality,), "StudyDescription": (description,), "SeriesDescription": (name,),
                        "ImageType": tuple(kind.split()), "AccessionNumber": (accession,),
                        "PatientAge": (f"{chance.randrange(20, 90):03d}Y",),
                        **({"SliceThickness": (thickness,)} if thickness else {}),
                        **({"ViewPosition": ("PA",)} if modality == "DX" else {}),
                    },
                    (ordinary_class(modality),),
                    images,
                )
                for name, thickness, images, kind in series
            )  # fmt: skip
            planned_from = KeptStudy(kept, ("CT1",), at)
            keep_headers_of(session, row, planned_from, at)
            header = study_header(planned_from)
            images_of = {one.series_uid: one.instances for one in header.series}
            for asked in match(header, protocols).matches:
                name, slices = asked.protocol.name, images_of[asked.series_uid]
                key = derived_uid("job", uid, asked.series_uid, name)
                session.add(JobRow(
                    job_key=key, request_key=key, answer_key=key, study_uid=uid, series_uid=asked.series_uid,
                    generation=1, protocol=name, protocol_version=asked.protocol.version,
                    questions=[one.as_json() for one in asked.protocol.questions], inputs=[], model={}, destinations=[],
                    parts=[{"slices": slices}], model_s=0.03 * slices * len(asked.protocol.questions),
                    state=JobState.DELIVERED, created_at=at, changed_at=at, wake_at=at, turn_at=at, ready_at=at,
                ))  # fmt: skip


def take(images: Path) -> None:
    """`rules.png` and `difference.png`."""
    with tempfile.TemporaryDirectory() as name:
        node = scene_node(Path(name) / "data")
        fill_history(node)
        edited = Path(name) / "abdominal-ct.yaml"
        edited.write_text(EDITED, encoding="utf-8")
        with serving(create_app(node, _Door())) as address, chromium() as browser:
            page = browser.new_page(viewport={"width": 1366, "height": 768}, base_url=address, locale="en-GB")
            page.on("pageerror", lambda error: print("error in the page:", error))
            page.goto("/rules")
            page.evaluate("document.querySelector('main > p.sub').remove()")  # it names a folder of this machine
            page.screenshot(path=images / "rules.png")
            _difference(page, edited)
            page.screenshot(path=images / "difference.png")
        node.repository.close()


def _difference(page: Page, edited: Path) -> None:
    page.goto("/rules/change")
    page.set_input_files("input[type=file]", str(edited))
    page.click("#upload button")
    page.wait_for_selector("#result .figures", timeout=120_000)
    page.set_viewport_size({"width": 1366, "height": 1400})
    page.evaluate("document.querySelector('main').scrollTop = 0")


if __name__ == "__main__":
    take(Path(sys.argv[1]))
