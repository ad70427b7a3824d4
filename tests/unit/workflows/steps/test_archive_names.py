"""One object in one archive is one thing, whatever name it is recorded under: none yet, an old one, or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from dicom_node.headers.rejection import RejectionCode
from dicom_node.network.archive import ArchiveAddress
from dicom_node.results.profiles import Profile
from workflows.settings import Supersede
from workflows.state.records import ClaimedRetraction, Destination
from workflows.state.states import DeliveryState, RetractionState
from workflows.state.tables import DeliveryRow, JobRow, RetractionRow
from workflows.steps.confirm import confirm_deliveries
from workflows.steps.retract import retract_results
from workflows.steps.route import Sender, name_archives

from .test_retract import Deleting, lines

if TYPE_CHECKING:
    from .conftest import Archive, Steps

STUDY = "1.2.3"
BOTH_WAYS = pytest.mark.parametrize("supersede", [Supersede.KOS, Supersede.DELETE])
Phantom = Callable[..., Path]


def to(steps: Steps, *names: str) -> None:
    """From the next plan on, results go to these."""
    steps.planner = replace(steps.planner, destinations=tuple(Destination(name, Profile.AIR) for name in names))


def known_as(steps: Steps, archive: Archive, supersede: Supersede, *names: str) -> list[str]:
    """The one archive is configured by these names, and the node restarted; what is asked to go is listed."""
    deleted, address = list[str](), ArchiveAddress(archive.peer)
    routes = {name: Deleting(address, "MEDSEG", supersede=supersede, deleted=deleted) for name in names}
    steps.sender = Sender("io", routes, names[0] if names else "")
    name_archives(steps.repository, steps.sender)
    return deleted


@pytest.fixture
def node(steps: Steps, archive: Archive) -> Steps:
    known_as(steps, archive, Supersede.KOS)
    return steps


def settle(steps: Steps) -> None:
    """Everything that is due for half a day: sent, seen again, taken back."""
    for _ in range(6):
        steps.waker.deliveries.clear(), steps.waker.confirmations.clear(), steps.waker.retractions.clear()
        steps.wake()
        for key, name in dict.fromkeys(steps.waker.deliveries):
            steps.publish(key, name)
        for key, name in dict.fromkeys(steps.waker.confirmations):
            seen = [one.sop_instance_uid for one in steps.repository.objects(key)]
            if name:
                steps.repository.record_seen(key, name, seen)
            else:
                confirm_deliveries(key, name, steps.repository, steps.sender)
        for study_uid, name in dict.fromkeys(steps.waker.retractions):
            retract_results(study_uid, name, steps.repository, steps.folder, steps.sender, steps.waker)
        steps.tick(7200)


def answered(steps: Steps, phantom: Phantom) -> list[str]:
    """A study that is read, for an archive that is yet to be named; its objects' UIDs."""
    to(steps, "")
    steps.receive(phantom(1, 0), phantom(1, 1))
    steps.to_plan()
    (key,) = steps.keys(STUDY)
    steps.predict(key)
    return [one.sop_instance_uid for one in steps.repository.objects(key)]


def read_again(steps: Steps) -> None:
    steps.repository.reopen(STUDY, "read again")
    steps.plan(STUDY)
    for key in steps.keys(STUDY):
        steps.predict(key)


def recorded(steps: Steps) -> dict[str, set[str]]:
    """Where a study's objects are, as the node has it: archive and state of each delivery, by object."""
    return {
        view.result.sop_instance_uid: {f"{one.archive or 'none'} {one.state.value}" for one in view.deliveries}
        for job in steps.repository.study_views()[0].jobs
        for view in job.objects
    }


def as_an_earlier_version_left_it(steps: Steps) -> None:
    """Sent to the archive, and still recorded under none."""
    with Session(steps.repository._engine) as session, session.begin():
        session.execute(update(DeliveryRow).values(archive=""))
        for job in session.query(JobRow):
            job.destinations = [{**one, "archive": ""} for one in job.destinations]


@BOTH_WAYS
@pytest.mark.parametrize("earlier", [False, True], ids=["waited", "sent by an earlier version"])
def test_what_waited_for_an_archive_is_not_taken_back_when_it_is_read_again(
    node: Steps, archive: Archive, phantom: Phantom, supersede: Supersede, earlier: bool
) -> None:
    uids = answered(node, phantom)
    settle(node)
    assert archive.objects == []
    known_as(node, archive, supersede, "pacs")
    settle(node)
    if earlier:
        as_an_earlier_version_left_it(node)
    deleted = known_as(node, archive, supersede, "pacs")
    to(node, "pacs")
    read_again(node)
    settle(node)
    assert archive.kinds() == ["SEG", "SR"], "neither sent twice nor named in a note"
    assert deleted == [] and recorded(node) == {uid: {"pacs DELIVERED"} for uid in uids}
    assert "seen again in pacs" in lines(node) and "taken back" not in lines(node)


@BOTH_WAYS
def test_what_an_earlier_version_is_about_to_take_back_stays(
    node: Steps, archive: Archive, phantom: Phantom, supersede: Supersede
) -> None:
    """Both deliveries of each object are there, and the one without a name is to be taken back."""
    uids = answered(node, phantom)
    known_as(node, archive, supersede, "pacs")
    settle(node)
    with Session(node.repository._engine) as session, session.begin():
        for uid in uids:
            row = session.get_one(DeliveryRow, (uid, "pacs"))
            twin = {"job_key": row.job_key, "state": DeliveryState.DELIVERED, "delivered_at": row.delivered_at}
            session.add(DeliveryRow(sop_instance_uid=uid, archive="", **twin))
            session.add(_wanted(uid, "", node))
    deleted = known_as(node, archive, supersede, "pacs")
    settle(node)
    assert (archive.kinds(), deleted) == (["SEG", "SR"], [])
    assert recorded(node) == {uid: {"pacs DELIVERED"} for uid in uids}


def test_what_an_earlier_version_has_deleted_although_it_is_current_is_sent_again(
    node: Steps, archive: Archive, phantom: Phantom
) -> None:
    uids = answered(node, phantom)
    known_as(node, archive, Supersede.DELETE, "pacs")
    settle(node)
    with Session(node.repository._engine) as session, session.begin():
        for uid in uids:
            row = _wanted(uid, "", node)
            row.state, row.done_at, row.wake_at = RetractionState.DONE, node.now, None
            session.add(row)
    archive.objects.clear()
    known_as(node, archive, Supersede.DELETE, "pacs")
    settle(node)
    assert archive.kinds() == ["SEG", "SR"] and node.state(STUDY)[0] == "DELIVERED"


def _wanted(uid: str, name: str, steps: Steps) -> RetractionRow:
    return RetractionRow(
        sop_instance_uid=uid, archive=name, study_uid=STUDY, code=RejectionCode.QUALITY, reason="replaced",
        wanted_at=steps.now, state=RetractionState.WANTED, wake_at=steps.now,
    )  # fmt: skip


@BOTH_WAYS
@pytest.mark.parametrize("names", [("pacs", "orthanc"), ("orthanc",)], ids=["two names", "renamed"])
def test_a_current_result_is_taken_back_under_no_other_name(
    node: Steps, archive: Archive, phantom: Phantom, supersede: Supersede, names: tuple[str, ...]
) -> None:
    """The archive gets another name, or a second one; once the result is replaced it goes, by every name."""
    node.receive(phantom(1, 0), phantom(1, 1))
    to(node, "pacs")
    node.to_plan()
    (key,) = node.keys(STUDY)
    node.predict(key)
    old = {one.sop_instance_uid for one in node.repository.objects(key)}
    known_as(node, archive, supersede, "pacs")
    settle(node)
    deleted = known_as(node, archive, supersede, *names)
    to(node, "orthanc")
    read_again(node)
    settle(node)
    assert (archive.kinds(), deleted) == (["SEG", "SR"] * 2, [])
    node.receive(phantom(1, 2))
    node.to_plan()
    for later in node.keys(STUDY):
        node.predict(later)
    settle(node)
    if supersede is Supersede.DELETE:
        assert set(deleted) == old
    else:
        assert archive.kinds() == ["SEG", "SR"] * 3 + ["KO"] * len(names)


@BOTH_WAYS
def test_the_last_look_before_it_is_taken_back(
    node: Steps, archive: Archive, phantom: Phantom, supersede: Supersede, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan makes the replaced result current again after it was claimed."""
    deleted = known_as(node, archive, supersede, "pacs")
    images = [phantom(1, number) for number in range(3)]
    node.through(*images[:2])
    (key,) = node.keys(STUDY)
    node.through(images[2])
    node.tick(8000)
    claim = node.repository.claim_retractions

    def claimed_then_current(study_uid: str, name: str, lease_s: float) -> list[ClaimedRetraction]:
        found = claim(study_uid, name, lease_s)
        assert len(found) == 2
        with Session(node.repository._engine) as session, session.begin():
            session.execute(update(JobRow).where(JobRow.job_key == key).values(state="DELIVERED"))
        return found

    for view in node.jobs(STUDY):
        seen = [one.sop_instance_uid for one in node.repository.objects(view.job_key)]
        node.repository.record_seen(view.job_key, "pacs", seen)
    monkeypatch.setattr(node.repository, "claim_retractions", claimed_then_current)
    retract_results(STUDY, "pacs", node.repository, node.folder, node.sender, node.waker)
    assert (deleted, archive.kinds()) == ([], ["SEG", "SR"] * 2)
    monkeypatch.undo()
    settle(node)
    assert (deleted, archive.kinds()) == ([], ["SEG", "SR"] * 2)


@pytest.mark.parametrize("name", ["", "pacs"])
def test_after_a_start_with_an_archive_what_waits_for_it_is_sent_at_once(
    node: Steps, archive: Archive, phantom: Phantom, name: str
) -> None:
    known_as(node, archive, Supersede.KOS)
    to(node, name)
    node.receive(phantom(1, 0), phantom(1, 1))
    node.to_plan()
    (key,) = node.keys(STUDY)
    node.predict(key)
    for _ in range(3):
        node.publish(key, name)
        node.tick(300)
    node.publish(key, name)
    assert "restart the node" in node.state(STUDY)[1] and "next attempt at 2026-01-02" in lines(node)
    known_as(node, archive, Supersede.KOS, "pacs")
    assert node.state(STUDY) == ("DELIVERING", "commissioning: answered, on the way to the archive")
    node.waker.deliveries.clear()
    node.wake()
    assert node.waker.deliveries == [(key, "pacs")]
    node.publish(key, "pacs")
    assert archive.kinds() == ["SEG", "SR"] and node.state(STUDY)[0] == "DELIVERED"


def test_where_several_are_configured_only_what_is_still_to_be_sent_gets_a_name(
    node: Steps, archive: Archive, phantom: Phantom
) -> None:
    uids = answered(node, phantom)
    known_as(node, archive, Supersede.DELETE, "pacs", "other")
    settle(node)
    assert recorded(node) == {uid: {"pacs DELIVERED"} for uid in uids}
    as_an_earlier_version_left_it(node)
    deleted = known_as(node, archive, Supersede.DELETE, "pacs", "other")
    assert recorded(node) == {uid: {"none DELIVERED"} for uid in uids}, "nobody knows which of them has it"
    to(node, "pacs")
    read_again(node)
    settle(node)
    assert deleted == [] and len(archive.objects) == 4


def test_a_study_that_cannot_be_named_costs_the_others_nothing(
    steps: Steps, archive: Archive, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(steps, phantom)
    name_one, beats = steps.repository.name_archive, list[int]()

    def broken_for_one(study_uid: str, archive: str, *, sent_too: bool) -> None:
        if study_uid == "1.2.0":
            raise RuntimeError
        name_one(study_uid, archive, sent_too=sent_too)

    monkeypatch.setattr(steps.repository, "studies_without_archive", lambda *, sent_too: ["1.2.0", STUDY])
    monkeypatch.setattr(steps.repository, "name_archive", broken_for_one)
    route = Deleting(ArchiveAddress(archive.peer), "MEDSEG", supersede=Supersede.KOS, deleted=[])
    name_archives(steps.repository, Sender("io", {"pacs": route}, "pacs"), lambda: beats.append(1))
    assert set().union(*recorded(steps).values()) == {"pacs PENDING"}
    assert len(beats) == 3
