"""Retract: what was replaced or wrong is taken back from an archive by a note, by deleting it, or stays and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.errors import PeerUnreachable
from dicom_node.headers.rejection import RejectionCode, rejection_note
from workflows.commands.reporting import explain_study
from workflows.commands.telling import explained
from workflows.settings import Supersede
from workflows.state.records import ResultObject
from workflows.steps.retract import retract_results
from workflows.steps.route import Route

if TYPE_CHECKING:
    from .conftest import Archive, Steps

STUDY = "1.2.3"
Phantom = Callable[..., Path]
KO = "1.2.840.10008.5.1.4.1.1.88.59"


@dataclass(frozen=True)
class Deleting(Route):
    """`deleted`: what was asked to go. `outcomes`: an error, or whether each object went."""

    deleted: list[str] = field(default_factory=list)
    outcomes: list[Any] = field(default_factory=list)

    def delete(self, objects: Sequence[ResultObject]) -> dict[str, bool]:
        uids = [one.sop_instance_uid for one in objects]
        outcome = self.outcomes.pop(0) if self.outcomes else True
        if isinstance(outcome, Exception):
            raise outcome
        self.deleted.extend(uids)
        return dict.fromkeys(uids, outcome)


def replaced(steps: Steps, phantom: Phantom) -> list[str]:
    """A study that was read, got a further image and was read again; UIDs of the old objects."""
    images = [phantom(1, number) for number in range(3)]
    steps.through(*images[:2])
    (key,) = steps.keys(STUDY)
    old = [one.sop_instance_uid for one in steps.repository.objects(key)]
    steps.through(images[2])
    return old


def retract(steps: Steps, after_s: float = 1) -> None:
    steps.tick(after_s)
    steps.waker.retractions.clear()
    steps.wake()
    for study_uid, archive in steps.waker.retractions:
        retract_results(study_uid, archive, steps.repository, steps.folder, steps.sender, steps.waker)


def use(steps: Steps, supersede: Supersede, **how: Any) -> Deleting:
    route = steps.sender.routes["pacs"]
    found = Deleting(route.address, route.calling_ae_title, supersede=supersede, **how)
    steps.sender = replace(steps.sender, routes={"pacs": found})
    return found


def lines(steps: Steps) -> str:
    known = explain_study(steps.repository, steps.folder, STUDY)
    assert known is not None
    return "\n".join(explained(known))


def test_a_note_names_what_was_replaced_and_is_sent_once(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    old = replaced(steps, phantom)
    assert archive.kinds() == ["SEG", "SR"] * 2
    steps.waker.deliveries.clear()
    retract(steps)
    (wake,) = set(steps.waker.deliveries)
    steps.publish(*wake)
    assert archive.kinds() == ["SEG", "SR"] * 2 + ["KO"]
    note = rejection_note(archive.objects[-1])
    assert note is not None and note.code is RejectionCode.QUALITY
    assert {one.sop_instance_uid for one in note.references} == set(old)
    assert {one.study_uid for one in note.references} == {STUDY}
    assert archive.objects[-1].PatientName == "Box^Anna"
    text = lines(steps)
    assert text.count("taken back at") == 2 and "replaced by later results of commissioning" in text
    retract(steps, 10000)
    steps.publish(*wake)
    assert len(archive.objects) == 5


def test_the_same_note_has_the_same_bytes(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    replaced(steps, phantom)
    steps.tick(1)
    steps.wake()
    arguments = (steps.repository, steps.folder, steps.sender, steps.waker)
    steps.repository.save_note = lambda _note: None  # type: ignore[method-assign]
    retract_results(STUDY, "pacs", *arguments)
    (path,) = steps.folder.results.glob("*/rejection-*.dcm")
    before = path.read_bytes()
    steps.tick(1000)
    retract_results(STUDY, "pacs", *arguments)
    assert path.read_bytes() == before


def test_a_wrong_patient_is_rejected_for_the_safety_of_patients(
    steps: Steps, archive: Archive, phantom: Phantom
) -> None:
    steps.through(phantom(1, 0), phantom(1, 1))
    for number in range(2):
        steps.receive(phantom(1, number, PatientName="Other^Person", PatientID="P2"))
    retract(steps)
    steps.publish(*steps.waker.deliveries[-1])
    note = rejection_note(archive.objects[-1])
    assert note is not None and note.code is RejectionCode.PATIENT_SAFETY
    assert archive.objects[-1].PatientID == "P1", "it lies where the objects lie that it names"
    said = archive.objects[-1].to_json()
    assert "came again with another Patient ID and Patient's Name" in said
    assert not any(value in said for value in ("P2", "Other", "Person")), "it is not theirs to read"
    assert not any(value in lines(steps) for value in ("P2", "Other^", "Anna"))


@pytest.mark.parametrize("late", [False, True])
def test_what_a_person_has_verified_is_never_taken_back(
    steps: Steps, archive: Archive, phantom: Phantom, edited: Callable[..., Path], late: bool
) -> None:
    """A report of another system, verified, that names ours as its predecessor; before or after ours is replaced."""
    images = [phantom(1, number) for number in range(3)]
    steps.through(*images[:2])
    (key,) = steps.keys(STUDY)
    ours = steps.saved(key)[-1]
    named, series, study = Dataset(), Dataset(), Dataset()
    report = dcmread(ours)
    named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID = report.SOPClassUID, report.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.3.4.5", [named]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = STUDY, [series]
    verified = edited(ours, SOPInstanceUID="1.2.3.9", VerificationFlag="VERIFIED", PredecessorDocumentsSequence=[study])
    if not late:
        steps.receive(verified)
    steps.through(images[2])
    if late:
        steps.receive(verified)
    retract(steps)
    assert lines(steps).count("stays although it is replaced or wrong") == 2
    assert "needs attention: " in lines(steps)
    assert not list(steps.folder.results.rglob("rejection-*.dcm"))
    assert steps.state(STUDY) == ("DELIVERED", "commissioning: answered and delivered"), "it is no image"


def test_an_archive_deletes_where_that_is_wanted(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    route = use(steps, Supersede.DELETE, outcomes=[PeerUnreachable("away"), False, True])
    old = replaced(steps, phantom)
    retract(steps)
    assert route.deleted == [] and "waits until the archive is known to keep the new results" in lines(steps)
    (key,) = steps.keys(STUDY)
    uids = [one.result.sop_instance_uid for one in steps.repository.claim_confirmations(key, "pacs", 60)]
    steps.repository.record_seen(key, "pacs", uids)
    retract(steps, 1000)
    assert route.deleted == [] and "away" in lines(steps)
    retract(steps, 1000)
    assert "PACS has not deleted it" in lines(steps)
    retract(steps, 1000)
    assert route.deleted[2:] == old and lines(steps).count("(deleted)") == 2
    assert archive.kinds() == ["SEG", "SR"] * 2


def test_an_archive_that_is_to_keep_old_results_keeps_them(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    use(steps, Supersede.NONE)
    replaced(steps, phantom)
    retract(steps)
    assert lines(steps).count('(it stays in this archive (supersede = "none"))') == 2
    assert archive.kinds() == ["SEG", "SR"] * 2


def test_a_saved_file_that_is_gone_is_waited_for(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    old = replaced(steps, phantom)
    (seg,) = [path for path in steps.folder.results.rglob("seg.dcm") if dcmread(path).SOPInstanceUID == old[0]]
    aside = seg.rename(seg.with_suffix(".aside"))
    retract(steps)
    assert "No such file" in lines(steps)
    aside.rename(seg)
    retract(steps, 1000)
    steps.publish(*steps.waker.deliveries[-1])
    assert archive.kinds()[-1] == "KO"


def test_a_saved_file_that_is_another_is_never_named(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    old = replaced(steps, phantom)
    by_uid = {str(dcmread(path).SOPInstanceUID): path for path in steps.folder.results.rglob("seg.dcm")}
    right, wrong = by_uid.pop(old[0]), next(iter(by_uid.values()))
    kept = right.read_bytes()
    right.write_bytes(wrong.read_bytes())
    for _ in range(6):
        retract(steps, 1000)
    assert "is not what was saved: restore it from a backup" in lines(steps)
    assert "needs attention: results are not taken back from pacs" in lines(steps)
    assert archive.kinds() == ["SEG", "SR"] * 2
    right.write_bytes(kept)
    retract(steps, 1000)
    steps.publish(*steps.waker.deliveries[-1])
    assert archive.kinds()[-1] == "KO"


def test_an_archive_that_is_not_configured_any_more(steps: Steps, archive: Archive, phantom: Phantom) -> None:
    replaced(steps, phantom)
    steps.sender = replace(steps.sender, routes={})
    retract(steps)
    assert "the archive 'pacs' is not configured any more" in lines(steps)


@pytest.mark.parametrize("late", [False, True])
def test_the_superseded_reading_comes_back_under_other_uids(
    steps: Steps, archive: Archive, phantom: Phantom, late: bool
) -> None:
    """The image that came late is rejected: what stood before it stands again, and the archive gets it anew."""
    old = replaced(steps, phantom)
    if late:
        retract(steps)
        steps.publish(*steps.waker.deliveries[-1])
    from dicom_node.headers.rejection import RejectedReference, RejectionNote

    named = RejectedReference(STUDY, f"{STUDY}.1", f"{STUDY}.1.2")
    steps.repository.record_rejection("2.25.77", RejectionNote(RejectionCode.QUALITY, (named,)), 60)
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    steps.publish(key)
    assert steps.state(STUDY)[0] == "DELIVERED"
    now = [one.sop_instance_uid for one in steps.repository.objects(key)]
    assert (set(now) & set(old) == set()) is late
    sent = {str(one.SOPInstanceUID) for one in archive.objects}
    assert set(now) <= sent
