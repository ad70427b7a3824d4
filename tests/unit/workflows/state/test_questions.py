"""Questions of a person: answered ahead of routine work, preliminary until kept, and never in the way of anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from workflows.errors import QuestionRefused
from workflows.state.asking import AskedQuestion, QuestionStage, question_text
from workflows.state.keeping import KeepingRules
from workflows.state.questions import MOST_OPEN
from workflows.state.states import DeliveryState, JobState, QuestionState

from .conftest import STUDY, World

INPUT = "1.2.3.1.1:a"
"""The only image that `World.receive` records, as a plan names it."""


def ask(world: World, key: str = "q1", by: str = "anna", *, inputs: tuple[str, ...] = (INPUT,)) -> AskedQuestion:
    plan = replace(world.job_plan(key), series_uid="1.2.3.1", inputs=inputs, protocol="question")
    return world.repository.ask_question(STUDY, world.generation(), plan, by, 0)


def asked(world: World, key: str = "q1") -> AskedQuestion:
    return world.repository.question(STUDY, key)


@pytest.fixture
def delivered(world: World) -> World:
    """A study that was read and sent."""
    world.planned("a1")
    world.answer("a1")
    world.deliver("a1")
    assert world.state() == "DELIVERED"
    return world


def test_a_study_stays_delivered_while_a_question_is_answered_and_nothing_is_sent(delivered: World) -> None:
    assert ask(delivered).stage is QuestionStage.WAITING
    before = delivered.study()
    delivered.claim("q1")
    assert asked(delivered).stage is QuestionStage.READING
    delivered.save("q1")
    question = asked(delivered)
    assert (question.stage, question.preliminary, question.current) == (QuestionStage.ANSWERED, True, True)
    assert question.job.state is JobState.DELIVERED
    assert (delivered.state(), delivered.reason()) == ("DELIVERED", before.reason)
    assert delivered.send("q1") == []
    assert delivered.jobs() == {"a1": "DELIVERED"}, "a list of protocols' work shows no question"
    assert delivered.repository.next_delivery(None) is None


def test_an_answer_that_is_kept_goes_to_the_archive_once(delivered: World) -> None:
    ask(delivered)
    delivered.answer("q1")
    kept = delivered.repository.keep_answer(STUDY, "q1", "anna")
    assert (kept.state, kept.decided_by) == (QuestionState.KEPT, "anna")
    assert delivered.repository.next_delivery(None) == ("q1", "pacs")
    assert delivered.state() == "DELIVERED", "where the study stands is what its protocols ask"
    delivered.deliver("q1")
    assert delivered.repository.keep_answer(STUDY, "q1", "berta").decided_by == "anna"
    assert delivered.send("q1") == []
    assert asked(delivered).told == "Kept and sent."
    assert delivered.to_retract() == []
    actions = [(one.who, one.action, one.subject) for one in delivered.repository.audit_entries()]
    assert actions == [("anna", "ask", f"{STUDY}/q1"), ("anna", "keep-answer", f"{STUDY}/q1")]


def test_an_answer_that_is_not_kept_leaves_its_line_in_the_audit(delivered: World) -> None:
    ask(delivered)
    delivered.answer("q1")
    delivered.repository.drop_answer(STUDY, "q1", "anna")
    delivered.repository.drop_answer(STUDY, "q1", "anna")
    assert delivered.repository.questions(STUDY) == []
    assert [one.action for one in delivered.repository.audit_entries()] == ["ask", "drop-answer"]
    with pytest.raises(QuestionRefused, match="ask again"):
        delivered.repository.keep_answer(STUDY, "q1", "anna")
    again = ask(delivered, by="berta")
    assert (again.stage, again.state, again.asked_by) == (QuestionStage.ANSWERED, QuestionState.ASKED, "berta")
    delivered.repository.keep_answer(STUDY, "q1", "berta")
    with pytest.raises(QuestionRefused, match="has kept this answer"):
        delivered.repository.drop_answer(STUDY, "q1", "anna")


def test_who_does_not_wait_frees_the_worker(delivered: World) -> None:
    ask(delivered)
    delivered.claim("q1")
    delivered.repository.drop_answer(STUDY, "q1", "anna")
    assert not delivered.repository.extend_lease("q1", "w", 60)
    assert not delivered.save("q1")
    assert ask(delivered).stage is QuestionStage.WAITING
    delivered.answer("q1")
    assert asked(delivered).stage is QuestionStage.ANSWERED


def test_a_question_goes_before_all_that_waits(world: World) -> None:
    world.planned("a1")
    world.tick(3600)
    ask(world)
    assert world.repository.next_job() == "q1"


def test_the_same_question_is_answered_once(delivered: World) -> None:
    ask(delivered)
    assert ask(delivered, by="berta").asked_by == "anna"
    delivered.answer("q1")
    assert ask(delivered, by="berta").stage is QuestionStage.ANSWERED
    assert delivered.repository.next_job() is None


def test_one_person_does_not_flood_the_workers(delivered: World) -> None:
    for number in range(MOST_OPEN):
        ask(delivered, f"q{number}")
    with pytest.raises(QuestionRefused, match="not answered yet"):
        ask(delivered, "q9")
    ask(delivered, "q9", by="berta")
    delivered.answer("q0")
    ask(delivered, "q8")


def test_a_study_that_is_received_again_is_not_asked(world: World) -> None:
    world.receive()
    with pytest.raises(QuestionRefused, match="being received"):
        ask(world)
    world.make_complete()
    with pytest.raises(QuestionRefused, match="planned"):
        ask(world)
    assert world.repository.hold_study(STUDY, 1, "two patients")
    with pytest.raises(QuestionRefused, match="two patients"):
        ask(world)


def test_reading_again_neither_ends_nor_repeats_a_question(delivered: World) -> None:
    ask(delivered, "q1")
    delivered.answer("q1")
    delivered.repository.keep_answer(STUDY, "q1", "anna")
    delivered.deliver("q1")
    ask(delivered, "q2")
    assert delivered.repository.reopen(STUDY, "again")
    assert delivered.plan("a1-b", generation=2)
    assert delivered.jobs() == {"a1-b": "PLANNED"}
    assert [(one.job.state, one.current) for one in delivered.repository.questions(STUDY)] == [
        (JobState.DELIVERED, True),
        (JobState.PLANNED, True),
    ]
    assert delivered.repository.next_job() == "q2"
    delivered.answer("a1-b")
    delivered.deliver("a1-b")
    taken_back = delivered.repository.claim_retractions(STUDY, "pacs", 60)
    assert {one.result.job_key for one in taken_back} == {"a1"}, "what a person kept stays"


def test_a_question_that_is_read_while_the_study_is_read_again_is_answered(delivered: World) -> None:
    ask(delivered)
    delivered.claim("q1")
    assert delivered.repository.reopen(STUDY, "again")
    assert delivered.save("q1")
    assert delivered.plan("a1", generation=2)
    assert delivered.repository.keep_answer(STUDY, "q1", "anna").state is QuestionState.KEPT


def test_other_images_leave_questions_behind(delivered: World) -> None:
    ask(delivered, "q1")
    delivered.answer("q1")
    ask(delivered, "q2")
    delivered.reopen(2)
    assert delivered.plan("a2", generation=2)
    answered, open_one = delivered.repository.questions(STUDY)
    assert not answered.current
    assert "earlier images" in answered.told
    with pytest.raises(QuestionRefused, match="earlier images"):
        delivered.repository.keep_answer(STUDY, "q1", "anna")
    assert open_one.stage is QuestionStage.FAILED
    assert "earlier images" in open_one.told
    assert delivered.repository.next_job() == "a2"


def test_a_kept_answer_that_other_images_overtake_is_told(delivered: World) -> None:
    ask(delivered)
    delivered.answer("q1")
    delivered.repository.keep_answer(STUDY, "q1", "anna")
    delivered.reopen(2)
    assert delivered.plan("a2", generation=2)
    assert "an answer that was kept is not sent" in delivered.study().attention
    assert delivered.send("q1") == []


def test_an_archive_that_refuses_a_kept_answer_is_told_and_it_can_be_put_back(delivered: World) -> None:
    ask(delivered)
    delivered.answer("q1")
    delivered.repository.keep_answer(STUDY, "q1", "anna")
    for uid in delivered.send("q1"):
        delivered.record(uid, DeliveryState.REJECTED, "out of order")
    assert (delivered.state(), asked(delivered).job.state) == ("DELIVERED", JobState.FAILED)
    assert "was not sent" in delivered.study().attention
    assert delivered.repository.requeue(STUDY, "op").jobs == 1
    delivered.deliver("q1")
    assert asked(delivered).job.state is JobState.DELIVERED


def test_what_waits_for_an_answer_keeps_its_images(delivered: World) -> None:
    delivered.tick(10)
    rules = KeepingRules(after_commitment=timedelta(0), uncommitted=timedelta(0))
    assert delivered.repository.inputs_to_remove(STUDY, rules)
    ask(delivered)
    assert not delivered.repository.inputs_to_remove(STUDY, rules)
    delivered.answer("q1")
    assert delivered.repository.inputs_to_remove(STUDY, rules)


def test_a_study_is_not_purged_while_it_is_asked_and_forgets_its_questions(delivered: World) -> None:
    ask(delivered)
    delivered.claim("q1")
    refused = delivered.repository.purge(STUDY, "op")
    assert refused is not None
    assert "question" in refused.refused
    delivered.save("q1")
    done = delivered.repository.purge(STUDY, "op")
    assert done is not None
    assert not done.refused
    assert delivered.repository.questions(STUDY) == []
    with pytest.raises(LookupError):
        delivered.repository.keep_answer(STUDY, "q1", "anna")


def test_weights_that_are_gone_end_a_question(delivered: World) -> None:
    ask(delivered)
    delivered.repository.give_up_question("q1", "the weights have changed since it was asked: ask again")
    assert asked(delivered).told == "Not answered: the weights have changed since it was asked: ask again"
    assert delivered.state() == "DELIVERED"
    assert ask(delivered).stage is QuestionStage.WAITING


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "empty"),
        (" \t\n ", "empty"),
        ("?!", "no word"),
        ("Where is the liver?" * 20, "characters; ask in"),
        ("Where is \u202ethe liver?", "cannot be seen"),
        ("Where\x00 is it?", "cannot be seen"),
        ("Wo ist die\u200b Leber", "cannot be seen"),
        ("\ud800 is it?", "cannot be seen"),
        ("肝臓はどこですか", "Latin letters"),
        ("где печень", "Latin letters"),
    ],
)
def test_a_text_that_is_no_question_is_refused(typed: str, why: str) -> None:
    with pytest.raises(QuestionRefused, match=why):
        question_text(typed)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Which kidney\n is   larger? ", "Which kidney is larger?"),
        ("<script>alert(1)</script> liver?", "<script>alert(1)</script> liver?"),
        ("Cafe\u0301 liver 5 µm?", "Café liver 5 µm?"),
    ],
)
def test_a_question_is_kept_in_plain_form(typed: str, kept: str) -> None:
    assert question_text(typed) == kept
