"""Repository: what an archive keeps, what it lost, and what is taken back from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from dicom_node.headers.rejection import RejectionCode
from dicom_node.results.profiles import Profile, Wishes
from workflows.state.records import Destination, SavedNote
from workflows.state.retracting import retract_marked
from workflows.state.states import DeliveryState, RetractionState
from workflows.state.tables import JobRow, ResultObjectRow
from workflows.state.views import ObjectView

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
DELIVERED, PENDING, REJECTED = DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.REJECTED
WANTED, NOTED, DONE, KEPT = (
    RetractionState.WANTED, RetractionState.NOTED, RetractionState.DONE, RetractionState.KEPT,
)  # fmt: skip
AGAIN_S = 600.0


def delivered(world: World, key: str = "a1") -> None:
    world.planned(key)
    world.answer(key)
    world.deliver(key)


def asked_about(world: World, key: str = "a1") -> list[str]:
    return [one.result.sop_instance_uid for one in world.repository.claim_confirmations(key, "pacs", 60)]


def objects(world: World) -> dict[str, ObjectView]:
    details = world.repository.study_details(STUDY)
    assert details is not None
    jobs = [*details.view.jobs, *details.earlier]
    return {one.result.sop_instance_uid: one for job in jobs for one in job.objects}


def retractions(world: World) -> dict[str, str]:
    """State by object, of those that are to be taken back from the archive."""
    found = {uid: view.retraction_from("pacs") for uid, view in objects(world).items()}
    return {uid: one.state.value for uid, one in found.items() if one is not None}


def commit(world: World, transaction: str, committed: set[str], failed: dict[str, str], missing: set[str]) -> bool:
    return world.repository.record_commitment(transaction, committed, failed, missing, AGAIN_S)


def confirmed(world: World, uid: str) -> tuple[bool, bool, str]:
    (delivery,) = objects(world)[uid].deliveries
    return delivery.committed_at is not None, delivery.seen_at is not None, delivery.confirm_reason


# --- Confirmed --------------------------------------------------------------------------------------------------------


def test_what_is_delivered_is_asked_about_and_only_by_one(world: World) -> None:
    delivered(world)
    assert world.repository.take_due().confirmations == []
    world.tick(2)
    assert world.repository.take_due().confirmations == [("a1", "pacs")]
    assert asked_about(world) == ["2.25.SEG.air.a1", "2.25.SR.air.a1"]
    assert asked_about(world) == []
    world.tick(60 + 30)
    assert len(asked_about(world)) == 2, "who asked has died"


def test_an_answer_commits_once_and_what_comes_late_or_twice_or_was_not_asked_changes_nothing(world: World) -> None:
    delivered(world)
    seg, report = asked_about(world)
    world.repository.record_commitment_request("1.9", "a1", "pacs")
    assert commit(world, "1.9", {seg, "2.25.stranger"}, {report: "not now"}, set())
    at = objects(world)[seg].deliveries[0].committed_at
    assert confirmed(world, seg) == (True, False, "")
    assert confirmed(world, report) == (False, False, "not now")
    world.tick(AGAIN_S)
    assert asked_about(world) == [report]
    assert commit(world, "1.9", {seg}, {seg: "lost"}, {seg}), "the same transaction, another word"
    assert objects(world)[seg].deliveries[0].committed_at == at
    assert objects(world)[seg].deliveries[0].state is DELIVERED
    assert not commit(world, "1.10", {report}, {}, set())
    assert confirmed(world, report)[0] is False


def test_what_the_archive_does_not_have_is_sent_again_twice_and_then_a_person_is_told(world: World) -> None:
    delivered(world)
    (seg, report) = asked_about(world)
    world.repository.record_seen("a1", "pacs", [report])
    for _ in range(2):
        assert world.repository.send_again("a1", "pacs", {seg: "gone"})
        assert world.state() == "DELIVERING"
        assert world.send("a1") == [seg], "what is there is not sent again"
        world.record(seg, DELIVERED)
        world.release("a1")
        assert world.state() == "DELIVERED"
        world.tick(2)
        assert asked_about(world) == [seg]
    assert not world.repository.send_again("a1", "pacs", {seg: "gone"})
    assert world.state() == "DELIVERED"
    assert world.study().attention == "pacs took SEG 3 times and does not have it: gone"
    world.tick(10000)
    assert world.repository.take_due().confirmations == []


def test_what_is_not_to_be_there_any_more_is_not_sent_again(world: World) -> None:
    delivered(world)
    (seg, _) = asked_about(world)
    reject(world)
    assert not world.repository.send_again("a1", "pacs", {seg: "gone"})
    assert objects(world)[seg].deliveries[0].state is DELIVERED


def test_an_archive_that_cannot_be_asked_is_left_alone_with_the_reason(world: World) -> None:
    delivered(world)
    uids = asked_about(world)
    world.repository.postpone_confirmation("a1", "pacs", uids, "it cannot be queried", None)
    world.tick(10000)
    assert world.repository.take_due().confirmations == []
    assert confirmed(world, uids[0]) == (False, False, "it cannot be queried")


# --- Taken back -------------------------------------------------------------------------------------------------------


def reject(world: World, code: RejectionCode = RejectionCode.PATIENT_SAFETY) -> None:
    """A note takes the image that job a1 read out of use."""
    with world.repository._writing() as session:
        world.repository._mark_to_retract(session, STUDY, ["a1"], "wrong", world.clock[0], code=code)


def note(world: World, *names: str, uid: str = "2.25.9", archive: str = "pacs") -> str | None:
    found = objects(world)[names[0]].retraction_from(archive)
    assert found is not None
    saved = SavedNote(uid, "class KO", archive, found.code, found.reason, Path("r/note"), "d", names)
    return world.repository.save_note(saved)


def claimed(world: World) -> list[str]:
    found = world.repository.claim_retractions(STUDY, "pacs", 60)
    return [one.result.sop_instance_uid for one in found]


def test_new_results_are_delivered_before_the_old_ones_are_taken_back(world: World) -> None:
    delivered(world)
    world.reopen()
    world.plan("a2", generation=2)
    assert retractions(world) == {}
    world.answer("a2")
    seg, report = world.send("a2")
    world.record(seg, DELIVERED)
    assert retractions(world) == {}
    world.record(report, DELIVERED)
    old = ["2.25.SEG.air.a1", "2.25.SR.air.a1"]
    assert retractions(world) == dict.fromkeys(old, "WANTED")
    assert world.repository.take_due().retractions == [(STUDY, "pacs")]
    assert claimed(world) == old and claimed(world) == []
    assert note(world, *old) == "a1"
    assert note(world, *old) is None, "it is recorded"
    assert retractions(world) == dict.fromkeys(old, "NOTED")
    assert world.repository.take_due().deliveries == [("a1", "pacs")], "although its job has been replaced"
    assert world.send("a1") == ["2.25.9"]
    world.record("2.25.9", DELIVERED)
    world.release("a1")
    assert retractions(world) == dict.fromkeys(old, "DONE")
    assert world.state() == "DELIVERED"


def test_a_new_result_that_the_archive_refuses_takes_nothing_back(world: World) -> None:
    delivered(world)
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    seg, report = world.send("a2")
    world.record(seg, REJECTED, "no")
    world.record(report, DELIVERED)
    assert (world.state(), retractions(world)) == ("FAILED", {})


def test_a_note_that_is_refused_needs_a_person(world: World) -> None:
    delivered(world)
    reject(world)
    names = claimed(world)
    note(world, *names)
    assert world.send("a1") == ["2.25.9"]
    world.record("2.25.9", REJECTED, "no such class")
    assert retractions(world) == dict.fromkeys(names, "FAILED")
    assert world.study().attention.endswith("no such class")


def test_what_a_person_has_reviewed_is_never_taken_back(world: World) -> None:
    delivered(world)
    assert world.repository.record_review("1.2.4", ["2.25.SR.air.a1"], "a reviewer") == 0, "of another study"
    assert world.repository.record_review(STUDY, ["2.25.SR.air.a1", "2.25.7"], "a reviewer") == 2, "and its SEG"
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    assert retractions(world) == {"2.25.SEG.air.a1": "KEPT", "2.25.SR.air.a1": "KEPT"}
    assert "SR that a reviewer has reviewed is not retracted: replaced by" in world.study().attention


def test_earlier_inputs_that_return_before_the_note_take_nothing_back(world: World) -> None:
    delivered(world)
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    assert set(retractions(world).values()) == {"WANTED"}
    world.reopen(3)
    world.plan("a1", generation=3)
    assert world.state() == "DELIVERED"
    assert retractions(world) == dict.fromkeys(["2.25.SEG.air.a2", "2.25.SR.air.a2"], "WANTED")


def test_earlier_inputs_that_return_after_the_note_get_objects_with_other_uids(world: World) -> None:
    delivered(world)
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    note(world, *claimed(world))
    assert world.send("a1") == ["2.25.9"]
    world.record("2.25.9", DELIVERED)
    world.reopen(3)
    world.plan("a1", generation=3)
    assert world.jobs() == {"a1": "PLANNED"}
    job = world.repository.job("a1")
    assert (job.edition, job.unmade_profiles) == (2, (Profile.AIR,))
    assert world.repository.objects("a1") == []
    assert world.answer("a1")
    new = world.send("a1")
    assert len(new) == 2 and not set(new) & {"2.25.SEG.air.a1", "2.25.SR.air.a1"}
    for uid in new:
        world.record(uid, DELIVERED)
    world.release("a1")
    assert world.state() == "DELIVERED"
    assert retractions(world)["2.25.SEG.air.a2"] == "WANTED"
    assert retractions(world)["2.25.SEG.air.a1"] == "DONE"


def test_what_was_deleted_is_sent_again_as_it_was(world: World) -> None:
    delivered(world)
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    old = claimed(world)
    world.repository.record_retractions(STUDY, "pacs", old, DONE, "deleted")
    world.reopen(3)
    world.plan("a1", generation=3)
    assert world.state() == "DELIVERING"
    assert world.send("a1") == old
    assert set(retractions(world)) == set()


def test_an_archive_that_keeps_them_says_so(world: World) -> None:
    delivered(world)
    reject(world)
    uids = claimed(world)
    world.repository.record_retractions(STUDY, "pacs", uids, KEPT, "supersede")
    assert retractions(world) == dict.fromkeys(uids, "KEPT")
    world.tick(1000)
    assert world.repository.take_due().retractions == []


def test_another_profile_takes_the_objects_of_the_one_before_back(world: World) -> None:
    delivered(world)
    world.repository.reopen(STUDY, "a person")
    world.plan("a1", generation=2, destinations=(Destination("pacs", Profile.OHIF),))
    assert world.jobs() == {"a1": "PLANNED"}
    world.answer("a1")
    assert world.send("a1") == ["2.25.SEG.ohif.a1", "2.25.SR.ohif.a1"]
    for uid in ("2.25.SEG.ohif.a1", "2.25.SR.ohif.a1"):
        world.record(uid, DELIVERED)
    assert world.state() == "DELIVERED"
    assert retractions(world) == dict.fromkeys(["2.25.SEG.air.a1", "2.25.SR.air.a1"], "WANTED")


def test_a_wrong_patient_is_a_graver_reason_than_that_something_replaced_it(world: World) -> None:
    delivered(world)
    reject(world, RejectionCode.QUALITY)
    with world.repository._writing() as session:
        session.execute(update(ResultObjectRow).values(retract_code=RejectionCode.PATIENT_SAFETY))
        retract_marked(session, ["a1"], world.clock[0])
    found = objects(world)["2.25.SEG.air.a1"].retraction_from("pacs")
    assert found is not None and found.code is RejectionCode.PATIENT_SAFETY


# --- What is sent where nothing was seen ------------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "sent"), [("report", ["SR"]), ("all", ["SEG", "SR"]), ("nothing", [])])
def test_when_nothing_is_seen_an_archive_gets_what_it_wants(world: World, wish: str, sent: list[str]) -> None:
    wishes = Wishes.from_json({"when_nothing_seen": wish})
    world.planned("a1", destinations=(Destination("pacs", Profile.AIR, wishes),))
    assert world.answer("a1", seen=False)
    assert [uid.split(".")[2] for uid in world.send("a1")] == sent
    assert world.state() == ("DELIVERING" if sent else "DELIVERED")


def test_a_rejection_of_images_reaches_every_archive_that_has_the_result(world: World) -> None:
    both = (Destination("pacs", Profile.AIR), Destination("viewer", Profile.AIR))
    world.planned("a1", destinations=both)
    world.answer("a1")
    world.deliver("a1")
    uids = world.send("a1", archive="viewer")
    reject(world)
    assert [one.archive for one in objects(world)[uids[0]].retractions] == ["pacs"]
    world.record(uids[0], DELIVERED, archive="viewer")
    assert [one.archive for one in objects(world)[uids[0]].retractions] == ["pacs", "viewer"]


# --- What must not be lost, and what must not come back ---------------------------------------------------------------


def code_of(world: World, uid: str) -> tuple[str, str]:
    found = objects(world)[uid].retraction_from("pacs")
    assert found is not None
    return found.code.value, found.state.value


@pytest.mark.parametrize("ended", [DONE, KEPT])
def test_a_wrong_patient_opens_anew_what_a_lesser_reason_had_ended(world: World, ended: RetractionState) -> None:
    delivered(world)
    reject(world, RejectionCode.QUALITY)
    seg, *_ = uids = claimed(world)
    world.repository.record_retractions(STUDY, "pacs", uids, ended, "told")
    mark_anew(world, RejectionCode.PATIENT_SAFETY)
    assert code_of(world, seg) == ("113037", "WANTED")
    mark_anew(world, RejectionCode.QUALITY)
    assert code_of(world, seg) == ("113037", "WANTED")


def mark_anew(world: World, code: RejectionCode) -> None:
    """As if the images were found to be wrong once more, for another reason."""
    with world.repository._writing() as session:
        session.execute(update(ResultObjectRow).values(retract_code=code, retract_reason=f"wrong {code.value}"))
        retract_marked(session, ["a1"], world.clock[0])


def test_a_note_for_a_reason_that_has_changed_meanwhile_is_not_sent(world: World) -> None:
    delivered(world)
    reject(world, RejectionCode.QUALITY)
    names = claimed(world)
    old = objects(world)[names[0]].retraction_from("pacs")
    assert old is not None
    mark_anew(world, RejectionCode.PATIENT_SAFETY)
    stale = SavedNote("2.25.9", "class KO", "pacs", old.code, old.reason, Path("r/note"), "d", tuple(names))
    assert world.repository.save_note(stale) is None
    assert retractions(world) == dict.fromkeys(names, "WANTED")


def test_a_wrong_result_that_an_archive_is_to_keep_needs_a_person(world: World) -> None:
    delivered(world)
    reject(world)
    world.repository.record_retractions(STUDY, "pacs", claimed(world), KEPT, "supersede")
    assert world.study().attention == "a wrong result stays in pacs: wrong"


def test_a_note_that_was_refused_goes_out_once_more_when_a_person_rereads(world: World) -> None:
    delivered(world)
    reject(world)
    names = claimed(world)
    note(world, *names)
    world.send("a1")
    world.record("2.25.9", REJECTED, "no such class")
    assert world.repository.reopen(STUDY, "a person")
    assert world.study().attention == ""
    again = world.repository.claim_retractions(STUDY, "pacs", 60)
    assert [one.result.sop_instance_uid for one in again] == names
    old = again[0].retraction
    saved = SavedNote("2.25.9", "class KO", "pacs", old.code, old.reason, Path("r/note"), "d", tuple(names))
    assert world.repository.save_note(saved) == "a1"
    assert world.send("a1") == ["2.25.9"], "the same note, since it says the same"
    world.record("2.25.9", DELIVERED)
    assert world.repository.claim_retractions(STUDY, "pacs", 60) == []
    assert world.study().attention == ""


def test_a_note_that_the_program_cannot_send_is_told(world: World) -> None:
    delivered(world)
    reject(world)
    names = claimed(world)
    note(world, *names)
    for _ in range(2):
        assert world.send("a1") == ["2.25.9"]
        world.repository.record_delivery_defect("a1", "pacs", "io", "a defect", 1)
        world.tick(61)
    assert retractions(world) == dict.fromkeys(names, "FAILED")
    assert world.study().attention.endswith("a defect")


def test_what_is_right_again_before_it_was_sent_is_due(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    reject(world)
    assert world.send("a1") == []
    world.reopen()
    world.plan("a1", generation=2)
    assert world.state() == "DELIVERING"
    assert world.repository.take_due().deliveries == [("a1", "pacs")]
    world.deliver("a1")
    assert world.state() == "DELIVERED"


def test_what_was_deleted_and_is_right_again_is_due(world: World) -> None:
    delivered(world)
    reject(world)
    world.repository.record_retractions(STUDY, "pacs", uids := claimed(world), DONE, "deleted")
    world.reopen()
    world.plan("a1", generation=2)
    assert world.state() == "DELIVERING"
    assert world.send("a1") == uids


def test_what_is_deleted_although_it_is_right_again_is_sent_again(world: World) -> None:
    delivered(world)
    reject(world)
    uids = claimed(world)
    world.reopen()
    world.plan("a1", generation=2)
    assert (world.state(), retractions(world)) == ("DELIVERING", {})  # whoever has it in hand may die before saying so
    world.deliver("a1")
    world.repository.record_retractions(STUDY, "pacs", uids, DONE, "deleted")
    assert world.state() == "DELIVERING"
    assert world.send("a1") == uids


def test_an_object_whose_answer_was_lost_is_perhaps_there(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    seg, report = world.send("a1")
    world.repository.record_delivery(seg, "pacs", "io", PENDING, "no answer", perhaps_sent=True)
    world.release("a1", "no answer")
    reject(world)
    assert retractions(world) == {seg: "WANTED"}
    assert objects(world)[report].retractions == ()


def test_who_died_while_sending_may_have_sent_it(world: World) -> None:
    world.planned("a1")
    world.answer("a1")
    uids = world.send("a1", owner="dead")
    world.reopen()
    world.plan("a2", generation=2)
    world.answer("a2")
    world.deliver("a2")
    assert retractions(world) == {}
    world.tick(61)
    world.repository.take_due()
    assert retractions(world) == dict.fromkeys(uids, "WANTED")


def test_what_an_archive_lost_while_the_study_is_received_is_asked_about_after_the_plan(world: World) -> None:
    delivered(world)
    (seg, _) = asked_about(world)
    world.receive(2)
    assert not world.repository.send_again("a1", "pacs", {seg: "gone"})
    world.make_complete()
    world.plan("a1", generation=2)
    world.tick(61)
    assert world.repository.take_due().confirmations == [("a1", "pacs")]


def test_what_is_taken_back_is_not_asked_about_and_not_sent_again(world: World) -> None:
    delivered(world)
    (seg, report) = asked_about(world)
    world.repository.record_commitment_request("1.9", "a1", "pacs")
    world.repository.reopen(STUDY, "a person")
    world.plan("a1", generation=2, destinations=(Destination("pacs", Profile.OHIF),))
    world.answer("a1")
    for uid in world.send("a1"):
        world.record(uid, DELIVERED)
    assert retractions(world) == dict.fromkeys([seg, report], "WANTED")
    assert commit(world, "1.9", set(), {seg: "gone", report: "gone"}, {seg, report})
    assert world.state() == "DELIVERED"


def test_the_same_answer_twice_sends_nothing_twice(world: World) -> None:
    delivered(world)
    (seg, _) = asked_about(world)
    world.repository.record_commitment_request("1.9", "a1", "pacs")
    for _ in range(3):
        assert commit(world, "1.9", set(), {seg: "gone"}, {seg})
        if uids := world.send("a1"):
            assert uids == [seg]
            world.record(seg, DELIVERED)
            world.release("a1")
    assert objects(world)[seg].deliveries[0].attempts == 2
    assert world.study().attention == ""


def test_an_archive_that_is_away_was_not_asked(world: World) -> None:
    delivered(world)
    for _ in range(9):
        world.tick(400)
        (first, *_) = world.repository.claim_confirmations("a1", "pacs", 60)
        assert first.attempts == 0
        uids = [first.result.sop_instance_uid]
        world.repository.postpone_confirmation("a1", "pacs", uids, "away", 300, answered=False)


def test_results_that_nothing_succeeds_need_a_person(world: World) -> None:
    delivered(world)
    world.reopen()
    assert world.plan(generation=2)
    assert world.state() == "UNMATCHED"
    assert "stay in pacs, and no protocol asks for them any more" in world.study().attention


def test_an_archive_that_gets_nothing_any_more_loses_what_it_had(world: World) -> None:
    delivered(world)
    world.reopen()
    world.plan("a2", generation=2, destinations=(Destination("other", Profile.AIR),))
    world.answer("a2")
    assert retractions(world) == {}
    world.deliver("a2", archive="other")
    assert set(retractions(world).values()) == {"WANTED"}


def test_who_was_compared_with_a_wrong_result_is_told(world: World) -> None:
    delivered(world)
    with world.repository._writing() as session:
        job = session.get_one(JobRow, "a1")
        job.prior = {"answer_key": "a1"}
    reject(world)
    assert "an earlier result that it was compared with" in world.study().attention
