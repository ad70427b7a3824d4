"""The pictures of docs/radiologist.md, taken from the pages themselves.

    python -m tests.pictures TOTALSEG_CT_DICOM docs/images

TOTALSEG_CT_DICOM: TotalSegmentator's reference CT with its segmentation (Apache-2.0), of
github.com/wasserth/TotalSegmentator, `tests/reference_files`.
Patients, dates and verdicts are made up; the outlines are the reference's own.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from dicom_node.commissioning.body import make_body
from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import LABELS
from inference.interface import Answer, Predictor, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from tests import rule_pictures
from tests.answers import unseen
from tests.rules import of_modality
from tests.scene import read_study, scene_node
from tests.unit.workflows.web.drawing_page import OpenDoor, chromium, serving
from workflows.bootstrap import Node
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.state.agreeing import CaseKind
from workflows.state.agreement_tables import AgreementReviewRow, AgreementRow
from workflows.state.reviewing import FindingVerdict, VerdictKind
from workflows.state.reviews import Reviewer
from workflows.state.states import StudyState
from workflows.state.tables import StudyRow
from workflows.steps.worklist import refresh
from workflows.web.access import Person, Role
from workflows.web.app import create_app

SETTINGS = {
    "web": {"organisation": "PHANTOM Hospital"},
    "archives": [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
}
SEEN = {  # number in the reference, phrase, confidence
    "liver": (5, 0.93),
    "spleen": (1, 0.91),
    "aorta": (52, 0.88),
}
_ORGANS = (
    ProtocolQuestion("organs", "Where are liver and spleen? How large are they?", (LABELS["liver"], LABELS["spleen"])),
    ProtocolQuestion("aorta", "How wide is the aorta?", (LABELS["aorta"],)),
    ProtocolQuestion("kidneys", "Is a kidney seen?", (LABELS["kidney left"], LABELS["kidney right"])),
)
PROTOCOL = ReadingProtocol("abdominal-ct", "3", "Abdomen", _ORGANS, series=of_modality("CT"))


@dataclass
class Reference(Predictor):
    """Answers with the reference's outlines; `less`: rows that are taken off the spleen, as if it was smaller."""

    images: NDArray[np.int16]
    labels: NDArray[np.uint8]
    less: int = 0

    @property
    def description(self) -> PredictorDescription:
        return PredictorDescription("reference", "1", "d" * 64, "research use only")

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        shown = np.round(stack.values).astype(np.int16)
        flipped = not np.array_equal(shown, self.images)
        labels = self.labels[::-1] if flipped else self.labels
        assert np.array_equal(shown, self.images[::-1] if flipped else self.images), "another series"
        seen = {}
        for label, (number, confidence) in SEEN.items():
            mask = labels == number
            if label == "spleen":  # within the images, so that a change of it is known
                mask[[0, -1]] = False
                mask[:, np.flatnonzero(mask.any(axis=(0, 2)))[: self.less]] = False
            seen[label] = SeenTarget(label, confidence, mask)
        texts = {
            "organs": ("Liver and spleen are seen.", (seen["liver"], seen["spleen"])),
            "aorta": ("The aorta is seen.", (seen["aorta"],)),
            "kidneys": ("No kidney is seen.", ()),
        }
        known = {one.text: texts[one.id] for one in _ORGANS}
        return tuple(
            Answer(question, *known[question.text], tuple(range(20)), unseen(question, known[question.text][1]))
            for question in questions
        )


def reference(folder: Path) -> tuple[list[pydicom.Dataset], Reference]:
    """The images from feet to head, and what answers them."""
    images = sorted(
        map(pydicom.dcmread, (folder / "example_ct_dicom").iterdir()), key=lambda one: one.ImagePositionPatient[2]
    )
    for one in images:
        one.decompress()
    values = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in images])
    stored = nib.load(folder / "example_seg_dicom.nii.gz")
    assert stored.affine[1, 1] > 0 and stored.affine[2, 2] > 0, "rows from the back to the front, slices to the head"
    labels = np.asarray(stored.dataobj, dtype=np.uint8).transpose(2, 1, 0)[:, ::-1]
    return images, Reference(np.round(values).astype(np.int16), labels)


def study_of(
    images: list[pydicom.Dataset], name: str, at: datetime, folder: Path, **values: str
) -> tuple[str, list[Path]]:
    """The CT as a study of somebody made up."""
    study_uid = derived_uid("picture", name, at.isoformat())
    folder.mkdir(parents=True)
    files = []
    for number, image in enumerate(images, start=1):
        image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, derived_uid("series", study_uid)
        image.SOPInstanceUID = derived_uid("image", study_uid, str(number))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.FrameOfReferenceUID = derived_uid("frame", study_uid)
        image.PatientName, image.InstanceNumber, image.SeriesDescription = (
            f"PHANTOM^{name}",
            number,
            "Portal venous 2.0",
        )
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            setattr(image, keyword, at.strftime("%Y%m%d"))
        for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
            setattr(image, keyword, at.strftime("%H%M%S"))
        for keyword, value in values.items():
            setattr(image, keyword, value)
        files.append(folder / f"{number}.dcm")
        image.save_as(files[-1])
    return study_uid, files


def fill(node: Node, folder: Path, source: Path) -> tuple[str, str]:
    """Studies in several states; the one to look at, and one that somebody else has open."""
    images, predictor = reference(source)
    today = datetime.now(UTC).astimezone().replace(second=0, microsecond=0)
    alpha = {"PatientID": "4711", "PatientSex": "F", "PatientBirthDate": "19630418", "PatientAge": "063Y"}

    def read(name: str, at: datetime, less: int = 0, **values: str) -> str:
        values = {"StudyDescription": "Abdomen, portal venous", "RequestedProcedurePriority": "", **values}
        uid, files = study_of(images, name, at, folder / f"{name}{at:%H%M%S}", **values)
        predictor.less = less
        read_study(node, uid, files, predictor, protocols=[PROTOCOL])
        return uid

    prior = read("Alpha", today - timedelta(days=201), 36, AccessionNumber="A-18220", **alpha)
    agree(node, prior, Reviewer("second", "PHANTOM^Second"))
    shown = read("Alpha", today - timedelta(minutes=9), AccessionNumber="A-20917", **alpha)
    men = [("Beta", "4802", "M", "041Y", "Thorax and abdomen"), ("Gamma", "3319", "F", "070Y", "Abdomen"),
           ("Zeta", "5140", "M", "058Y", "Abdomen")]  # fmt: skip
    uids = {}
    for minute, (name, number, sex, age, what) in enumerate(men):
        uids[name] = read(
            name, today - timedelta(minutes=17 + 21 * minute), AccessionNumber=f"A-209{minute}4", PatientID=number,
            PatientSex=sex, PatientAge=age, PatientBirthDate="", StudyDescription=what,
            RequestedProcedurePriority="STAT" if name == "Beta" else "",
        )  # fmt: skip
    verdicts = places(node, uids["Gamma"])[:1]
    node.repository.save_review(uids["Gamma"], Reviewer("reader", "PHANTOM^Reader"), None, verdicts, [])
    agree(node, uids["Zeta"], Reviewer("reader", "PHANTOM^Reader"), VerdictKind.NOT_THERE)
    body = make_body(folder / "body", "picture", today)
    for path in body.files:
        image = pydicom.dcmread(path)
        image.PatientName, image.PatientID, image.AccessionNumber = "PHANTOM^Delta", "5120", "A-20930"
        image.StudyDescription = "Commissioning body"
        image.save_as(path)
    read_study(node, body.study_uid, body.files)
    two, files = study_of(
        images, "Epsilon", today - timedelta(minutes=6), folder / "Epsilon", AccessionNumber="A-20933", PatientID="5121"
    )
    for path in files[-2:]:
        image = pydicom.dcmread(path)
        image.PatientID = "5112"
        image.save_as(path)
    read_study(node, two, files, predictor, protocols=[PROTOCOL])
    ages(node, {prior: 201 * 1440, shown: 4, uids["Beta"]: 9, uids["Gamma"]: 31, uids["Zeta"]: 52, body.study_uid: 3})
    return shown, uids["Gamma"]


def ages(node: Node, minutes: dict[str, int]) -> None:
    """Have each study come so many minutes ago."""
    with Session(node.repository._engine) as session, session.begin():
        for study_uid, ago in minutes.items():
            row = session.get_one(StudyRow, study_uid)
            row.first_received_at = row.last_received_at = datetime.now(UTC) - timedelta(minutes=ago)


def places(node: Node, study_uid: str, kind: VerdictKind = VerdictKind.ACCEPT) -> list[FindingVerdict]:
    subject = node.repository.review_subject(study_uid)
    assert subject is not None
    accepted = [FindingVerdict(place, VerdictKind.ACCEPT) for place in subject.places]
    return [FindingVerdict(accepted[0].place, kind), *accepted[1:]]


def agree(node: Node, study_uid: str, who: Reviewer, kind: VerdictKind = VerdictKind.ACCEPT) -> None:
    """Sign a review of a study."""
    review = node.repository.save_review(study_uid, who, None, places(node, study_uid, kind), [])
    node.repository.sign_review(study_uid, who, (review.number, review.version), 0.0)


def verdicts_of_weeks(node: Node, weeks: int = 9, studies: int = 130) -> None:
    """Verdicts as they may come together in some weeks: made up, to show the form."""
    chance, now = random.Random(17), datetime.now(UTC)
    likely = {"liver": 0.94, "spleen": 0.9, "aorta": 0.86, "kidney left": 0.74}
    with Session(node.repository._engine) as session, session.begin():
        for number in range(studies):
            at = now - timedelta(days=chance.randrange(7 * weeks))
            uid = derived_uid("agreed", str(number))
            session.add(StudyRow(study_uid=uid, state=StudyState.DELIVERED, first_received_at=at, last_received_at=at,
                                 changed_at=at, wake_at=at))  # fmt: skip
            session.flush()
            session.add(AgreementReviewRow(study_uid=uid, number=1, counted_at=at))
            for ordinal, (finding, agreed) in enumerate(likely.items()):
                other = chance.choice([CaseKind.OUTLINE, CaseKind.OUTLINE, CaseKind.NOT_THERE, CaseKind.MISSED])
                kind = CaseKind.ACCEPT if chance.random() < agreed else other
                outlined = kind is CaseKind.OUTLINE
                before = chance.uniform(150, 900)
                session.add(AgreementRow(
                    study_uid=uid, ordinal=ordinal, written_at=at, question="Where are liver and spleen?",
                    finding=finding, protocol="abdominal-ct 3", weights="reference 1", scanner="PHANTOM Scanners One",
                    kind=kind, dice=chance.uniform(0.72, 0.97) if outlined else None,
                    before_ml=before if outlined else None,
                    after_ml=before * chance.uniform(0.88, 1.1) if outlined else None,
                ))  # fmt: skip


@contextmanager
def pages(node: Node) -> Iterator[Page]:
    door = OpenDoor()
    door.admit = _admit  # type: ignore[method-assign]
    with serving(create_app(node, door)) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1366, "height": 768}, base_url=address, locale="en-GB")
        page.on("pageerror", lambda error: print("error in the page:", error))
        yield page


async def _admit(request: object) -> Person:
    return Person("reader", "PHANTOM^Reader", Role.ADMINISTRATOR, "token")


def draw(page: Page, study_uid: str) -> None:
    """The liver with the brush in hand, some strokes drawn."""
    page.keyboard.press("d")
    page.wait_for_function("() => document.getElementById('drawing').dataset.marks === 'all'", timeout=180_000)
    page.wait_for_timeout(1500)
    page.keyboard.press("]")
    box = page.locator("[data-part=view] canvas").first.bounding_box()
    assert box is not None
    where = page.evaluate(
        """async () => { const { drawing } = await import('/static/drawing.js');
            const [x, y, z] = drawing.view.place; const shape = drawing.mask.dims; const found = [];
            for (const row of [0.42, 0.46, 0.5, 0.54, 0.58]) {
                let column = 0;
                for (let c = 0; c < shape[0]; c++)
                    if (drawing.mask.voxels[z * shape[0] * shape[1] + Math.round(row * shape[1]) * shape[0] + c])
                        { column = c; break; }
                found.push(drawing.view.where([column - 6, Math.round(row * shape[1]), z], 2));
            }
            return found; }"""
    )
    page.mouse.move(*where[0])
    page.mouse.down()
    for place in where[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    page.wait_for_timeout(800)


def take(source: Path, images: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        node = scene_node(Path(name) / "data", **SETTINGS)
        study_uid, opened = fill(node, Path(name) / "sent", source)
        with pages(node) as page:
            refresh(node.repository, node.folder)
            page.goto("/worklist")
            page.wait_for_selector("html[data-ready]")
            page.wait_for_function(
                "() => { const all = [...document.querySelectorAll('tr[data-study] img')];"
                " return all.length > 3 && all.every((one) => one.complete && one.naturalWidth); }",
                timeout=90_000,
            )
            node.repository.open_study(opened, "second", "PHANTOM^Second")
            refresh(node.repository, node.folder)
            page.reload()
            page.wait_for_timeout(2500)
            page.keyboard.press("j")
            page.screenshot(path=images / "worklist.png")
            page.goto(f"/studies/{study_uid}")
            page.wait_for_selector("#stage[data-drawn]")
            page.wait_for_timeout(1500)
            page.keyboard.press("a")
            page.wait_for_timeout(1200)
            page.screenshot(path=images / "study.png")
            draw(page, study_uid)
            page.screenshot(path=images / "draw.png")
            verdicts_of_weeks(node)
            page.goto("/agreement")
            page.wait_for_timeout(500)
            page.screenshot(path=images / "agreement.png")
        node.repository.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
    rule_pictures.take(Path(sys.argv[2]))
