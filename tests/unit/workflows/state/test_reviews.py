"""Reviews: drafts, stale saves, two readers, signing and undoing, results that are replaced meanwhile, retention."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.unit.workflows.state.conftest import STUDY, World
from workflows.errors import ReviewRefused
from workflows.state.answers import AnswerRecord, FindingRecord
from workflows.state.keeping import KeepingRules
from workflows.state.review_checks import StaleResults, StaleReview
from workflows.state.review_tables import ReviewRow
from workflows.state.review_writing import ClaimedReview
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, Review, ReviewState, VerdictKind, WrongWords
from workflows.state.reviews import Reviewer, SameResults
from workflows.state.states import JobState
from workflows.state.tables import JobRow, StudyRow

ALPHA, BETA = Reviewer("alpha", "Reader^Alpha"), Reviewer("beta", "Reader^Beta")
LIVER = FindingPlace("a1", 0, 0)
ACCEPT = FindingVerdict(LIVER, VerdictKind.ACCEPT)
NOT_THERE = FindingVerdict(LIVER, VerdictKind.NOT_THERE, "vessel")
MISS = Missed("a1", 0, "spleen", 1, 2.5, 3.0)


@pytest.fixture
def read(world: World) -> World:
    world.planned("a1")
    assert world.answer("a1")
    world.deliver("a1")
    return world


def save(world: World, *verdicts: FindingVerdict, by: Reviewer = ALPHA, base: Review | None = None) -> Review:
    number = None if base is None else (base.number, base.version)
    return world.repository.save_review(STUDY, by, number, verdicts, ())


def version(review: Review) -> tuple[int, int]:
    return review.number, review.version


def sign(world: World, review: Review, by: Reviewer = ALPHA) -> Review:
    return world.repository.sign_review(STUDY, by, version(review), 10)


def actions(world: World) -> list[str]:
    return [entry.action for entry in world.repository.audit_entries()]


def test_a_draft_is_kept_and_the_same_again_changes_nothing(read: World) -> None:
    draft = save(read, ACCEPT)
    assert (draft.state, draft.number, draft.version, draft.reviewer) == (ReviewState.DRAFT, 1, 1, "alpha")
    assert save(read, ACCEPT) == draft  # a page that never got the answer sends it again
    assert read.repository.review(STUDY) == draft
    assert actions(read) == ["verdict"]


def test_what_is_missed_is_kept(read: World) -> None:
    draft = read.repository.save_review(STUDY, ALPHA, None, [ACCEPT], [MISS])
    assert read.repository.review(STUDY) == draft
    assert draft.missed == (MISS,)


def test_words_that_are_wrong_are_kept_beside_the_verdicts(read: World) -> None:
    wrong = WrongWords("a1", 0, "another organ")
    draft = read.repository.save_review(STUDY, ALPHA, None, [ACCEPT], [], [wrong])
    assert read.repository.review(STUDY) == draft
    assert (draft.verdicts, draft.words) == ((ACCEPT,), (wrong,))
    assert sign(read, draft).words == (wrong,)


@pytest.mark.parametrize("words", [[WrongWords("a1", 9)], [WrongWords("gone", 0)], [WrongWords("a1", 0)] * 2])
def test_words_of_no_answer_are_not_kept(read: World, words: list[WrongWords]) -> None:
    with pytest.raises(ReviewRefused):
        read.repository.save_review(STUDY, ALPHA, None, [ACCEPT], [], words)
    assert read.repository.review(STUDY) is None


@pytest.mark.parametrize(
    ("verdicts", "missed", "told"),
    [
        ([ACCEPT, NOT_THERE], [], "two verdicts"),
        ([replace(ACCEPT, kind=VerdictKind.NAME, label="left wing")], [], "no name"),
        ([replace(ACCEPT, reason="x" * 501)], [], "500"),
        ([replace(ACCEPT, kind=VerdictKind.OUTLINE, correction="f" * 64)], [], "not known"),
        ([replace(ACCEPT, kind=VerdictKind.OUTLINE, correction="../..")], [], "not known"),
        ([], [replace(MISS, slice=2)], "slice 3 is not one"),
        ([], [replace(MISS, row=float("nan"))], "outside"),
        ([], [replace(MISS, label="?")], "no name"),
        ([], [MISS] * 101, "more than"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_a_sentence(
    read: World, verdicts: list[FindingVerdict], missed: list[Missed], told: str
) -> None:
    with pytest.raises(ReviewRefused, match=told):
        read.repository.save_review(STUDY, ALPHA, None, verdicts, missed)
    assert read.repository.review(STUDY) is None


def test_a_stale_save_is_refused_and_says_by_whom_when_and_what(read: World) -> None:
    first = save(read, ACCEPT)
    save(read, NOT_THERE, base=first)  # in another window
    with pytest.raises(StaleReview, match=r"Alpha Reader changed this review at \d\d:\d\d UTC .* liver") as refusal:
        save(read, replace(ACCEPT, reason="sure"), base=first)
    assert refusal.value.current is not None
    assert refusal.value.current.verdicts == (NOT_THERE,)
    assert read.repository.review(STUDY) == refusal.value.current


def test_two_readers_begin_at_once_and_one_is_told(read: World) -> None:
    save(read, ACCEPT, by=ALPHA)
    with pytest.raises(StaleReview, match="Alpha Reader"):
        save(read, NOT_THERE, by=BETA)


def test_another_persons_draft_is_taken_over_only_on_purpose(read: World) -> None:
    draft = save(read, ACCEPT, by=ALPHA)
    with pytest.raises(ReviewRefused, match="take it over"):
        save(read, NOT_THERE, by=BETA, base=draft)
    taken = read.repository.take_over(STUDY, BETA, version(draft))
    assert (taken.reviewer, taken.name, taken.verdicts) == ("beta", "Reader^Beta", (ACCEPT,))
    changed = save(read, NOT_THERE, by=BETA, base=taken)
    with pytest.raises(StaleReview, match="Beta Reader"):
        save(read, replace(ACCEPT, reason="mine"), by=ALPHA, base=draft)
    assert read.repository.review(STUDY) == changed
    assert actions(read) == ["verdict", "take-over", "verdict"]


def test_a_withdrawn_draft_is_gone_and_the_next_has_another_number(read: World) -> None:
    draft = save(read, ACCEPT)
    read.repository.withdraw_review(STUDY, ALPHA, version(draft))
    assert read.repository.review(STUDY) is None
    with pytest.raises(StaleReview, match="thrown away"):
        save(read, NOT_THERE, base=draft)
    assert save(read, NOT_THERE).number == 2


def test_signing_needs_a_verdict_on_each_finding(read: World) -> None:
    draft = read.repository.save_review(STUDY, ALPHA, None, [], [MISS])
    with pytest.raises(ReviewRefused, match="no verdict yet on liver"):
        sign(read, draft)
    draft = save(read, replace(ACCEPT, kind=VerdictKind.NAME), base=draft)
    with pytest.raises(ReviewRefused, match="wrong name"):
        sign(read, draft)
    draft = save(read, replace(ACCEPT, kind=VerdictKind.NAME, label="spleen"), base=draft)
    assert sign(read, draft).state is ReviewState.SIGNED


def test_where_nothing_was_seen_the_signature_is_the_verdict(world: World) -> None:
    world.planned("a1")
    assert world.answer("a1", seen=False)
    signed = world.repository.sign_review(STUDY, ALPHA, None, 10)
    assert (signed.state, signed.verdicts) == (ReviewState.SIGNED, ())


def test_nothing_can_be_signed_before_all_is_read(world: World) -> None:
    world.planned("a1", "b1")
    with pytest.raises(ReviewRefused, match="no results"):
        world.repository.sign_review(STUDY, ALPHA, None, 10)
    assert world.answer("a1")
    with pytest.raises(ReviewRefused, match="1 more series"):
        sign(world, save(world, ACCEPT))


def test_a_signature_is_due_after_its_time_to_undo_and_settles_why_a_person_had_to_look(read: World) -> None:
    draft = save(read, ACCEPT)
    with read.repository._writing() as session:
        session.get_one(StudyRow, STUDY).attention = "something; else"
    signed = sign(read, draft)
    assert (signed.signed_at, signed.write_at) == (read.clock[0], read.clock[0] + timedelta(seconds=10))
    assert read.study().attention == ""
    read.repository.undo_review(STUDY, ALPHA)
    assert read.study().attention == "something; else"


def test_undo_makes_it_a_draft_again_once_and_for_who_signed(read: World) -> None:
    sign(read, save(read, ACCEPT))
    with pytest.raises(ReviewRefused, match="Alpha Reader"):
        read.repository.undo_review(STUDY, BETA)
    draft = read.repository.undo_review(STUDY, ALPHA)
    assert (draft.state, draft.verdicts, draft.write_at) == (ReviewState.DRAFT, (ACCEPT,), None)
    assert read.repository.undo_review(STUDY, ALPHA) == draft
    assert sign(read, draft).state is ReviewState.SIGNED
    assert actions(read) == ["verdict", "sign", "undo", "sign"]


def test_undo_is_too_late_once_somebody_writes(read: World) -> None:
    sign(read, save(read, ACCEPT))
    claim_to_write(read)
    with pytest.raises(ReviewRefused, match="too late"):
        read.repository.undo_review(STUDY, ALPHA)


def claim_to_write(world: World, state: ReviewState = ReviewState.SIGNED) -> None:
    """As the step does that writes: within a transaction that counts its attempt."""
    with world.repository._writing() as session:
        session.execute(update(ReviewRow).values(attempts=1, state=state))


def test_nothing_is_saved_on_a_signed_review(read: World) -> None:
    signed = sign(read, save(read, ACCEPT))
    with pytest.raises(ReviewRefused, match="undo that first"):
        save(read, NOT_THERE, base=signed)


def test_a_written_review_is_followed_by_another(read: World) -> None:
    sign(read, save(read, ACCEPT))
    claim_to_write(read, ReviewState.WRITTEN)
    written = read.repository.review(STUDY)
    assert written is not None
    with pytest.raises(StaleReview, match="written"):
        save(read, NOT_THERE)
    again = save(read, NOT_THERE, by=BETA, base=written)
    assert (again.number, again.state, again.reviewer) == (2, ReviewState.DRAFT, "beta")
    assert [one.number for one in read.repository.reviews_of("alpha", [ReviewState.WRITTEN])] == [1]


def test_a_written_review_is_amended_on_purpose_and_stands_when_that_is_thrown_away(read: World) -> None:
    draft = read.repository.save_review(STUDY, ALPHA, None, [ACCEPT], [MISS])
    with pytest.raises(ReviewRefused, match="nothing is written"):
        read.repository.amend_review(STUDY, ALPHA, version(draft))
    sign(read, draft)
    claim_to_write(read, ReviewState.WRITTEN)
    written = read.repository.review(STUDY)
    assert written is not None
    further = read.repository.amend_review(STUDY, BETA, version(written))
    assert (further.number, further.state, further.reviewer) == (2, ReviewState.DRAFT, "beta")
    assert (further.verdicts, further.missed) == ((ACCEPT,), (MISS,))
    assert actions(read)[-1] == "amend"
    read.repository.withdraw_review(STUDY, BETA, version(further))
    assert read.repository.review(STUDY) == written


def test_a_draft_stays_when_the_study_is_read_again_and_is_never_applied_by_itself(read: World) -> None:
    draft = save(read, ACCEPT)
    read.reopen()
    assert read.plan("a2", generation=2)
    assert read.answer("a2")
    assert read.repository.review(STUDY) == draft
    with pytest.raises(StaleResults, match="reopen"):
        sign(read, draft)
    with pytest.raises(StaleResults, match="reopen"):
        save(read, NOT_THERE, base=draft)
    same = SameResults({LIVER: FindingPlace("a2", 0, 0)}, {("a1", 0): ("a2", 0)})
    reopened = read.repository.reopen_review(STUDY, ALPHA, version(draft), same)
    assert reopened.verdicts == (replace(ACCEPT, place=FindingPlace("a2", 0, 0)),)
    assert sign(read, reopened).generation == 2


def test_what_does_not_fit_the_new_results_is_left_out(read: World) -> None:
    draft = read.repository.save_review(STUDY, ALPHA, None, [ACCEPT], [MISS])
    read.reopen()
    assert read.plan("a2", generation=2)
    assert read.answer("a2")
    reopened = read.repository.reopen_review(STUDY, ALPHA, version(draft), SameResults())
    assert (reopened.verdicts, reopened.missed) == ((), ())


def test_verdicts_on_a_job_that_carried_over_fit_after_reopening(read: World) -> None:
    draft = save(read, ACCEPT)
    read.reopen()
    assert read.plan("a1", generation=2)
    with pytest.raises(StaleResults):
        sign(read, draft)
    assert read.repository.reopen_review(STUDY, ALPHA, version(draft), SameResults()).verdicts == (ACCEPT,)


def test_results_that_are_replaced_after_they_were_signed_need_a_person_until_the_new_ones_are(read: World) -> None:
    sign(read, save(read, ACCEPT))
    read.reopen()
    assert read.plan("a2", generation=2)
    assert read.answer("a2")
    assert "superseded after review: what Alpha Reader signed" in read.study().attention
    draft = read.repository.undo_review(STUDY, ALPHA)
    same = SameResults({LIVER: FindingPlace("a2", 0, 0)})
    sign(read, read.repository.reopen_review(STUDY, ALPHA, version(draft), same))
    assert read.study().attention == ""


def test_images_stay_while_a_review_is_open(read: World) -> None:
    rules = KeepingRules(after_commitment=timedelta(0), uncommitted=timedelta(0))
    assert read.repository.inputs_to_remove(STUDY, rules)
    draft = save(read, ACCEPT)
    assert not read.repository.inputs_to_remove(STUDY, rules)
    sign(read, draft)
    assert not read.repository.inputs_to_remove(STUDY, rules)
    claim_to_write(read, ReviewState.WRITTEN)
    assert read.repository.inputs_to_remove(STUDY, rules)


def test_who_has_it_open_is_known_for_half_a_minute(read: World) -> None:
    repository = read.repository
    assert repository.open_study(STUDY, "alpha", "Reader^Alpha")
    assert not repository.open_study(STUDY, "alpha", "Reader^Alpha")
    read.tick(20)
    assert repository.open_study(STUDY, "beta", "Reader^Beta")
    assert [one.account for one in repository.openings([STUDY])[STUDY]] == ["beta", "alpha"]
    read.tick(11)
    assert [one.account for one in repository.openings([STUDY])[STUDY]] == ["beta"]
    repository.close_study(STUDY, "beta")
    assert repository.openings([STUDY]) == {}
    with pytest.raises(LookupError, match="deleted"):
        repository.open_study("9.9", "alpha", "")


def test_a_study_that_was_deleted_takes_no_verdict(read: World) -> None:
    draft = save(read, ACCEPT)
    assert read.repository.purge(STUDY, "operator") is not None
    with pytest.raises(LookupError, match="deleted"):
        save(read, NOT_THERE, base=draft)


# --- Other results than those that were seen --------------------------------------------------------------------------


def shown(world: World) -> str:
    subject = world.repository.review_subject(STUDY)
    assert subject is not None
    return subject.token


def claim(world: World) -> ClaimedReview | None:
    world.tick(11)
    due = world.repository.next_review()
    return None if due is None else world.repository.claim_review(*due, "io", 60)


def test_results_that_came_after_the_look_are_not_signed_although_they_show_nothing(world: World) -> None:
    world.planned("a1")
    assert world.answer("a1", seen=False)
    before = shown(world)
    world.reopen()
    assert world.plan("a1", "b1", generation=2)
    assert world.answer("b1", seen=False)
    with pytest.raises(StaleResults, match="load the page again"):
        world.repository.sign_review(STUDY, ALPHA, None, 10, before)
    assert world.repository.review(STUDY) is None
    assert world.repository.sign_review(STUDY, ALPHA, None, 10, shown(world)).state is ReviewState.SIGNED


def test_what_was_answered_after_the_signature_is_not_verified_with_it(world: World) -> None:
    world.planned("a1", "b1")
    assert world.answer("a1")
    assert world.claim("b1", maximum=1) is not None
    with world.repository._writing() as session:
        session.execute(update(JobRow).where(JobRow.job_key == "b1").values(state=JobState.FAILED, lease_owner=None))
    draft = save(world, ACCEPT)
    world.repository.sign_review(STUDY, ALPHA, version(draft), 10, shown(world))
    with world.repository._writing() as session:
        session.execute(update(JobRow).where(JobRow.job_key == "b1").values(state=JobState.PLANNED))
    assert world.answer("b1", seen=False)
    claimed = claim(world)
    assert claimed is not None and [one.job.job_key for one in claimed.jobs] == ["a1"]


def test_a_job_that_answers_otherwise_after_the_signature_is_not_written(read: World) -> None:
    signed = sign(read, save(read, NOT_THERE))
    with read.repository._writing() as session:
        row = session.get_one(JobRow, "a1")
        other = AnswerRecord("Where?", "here", (FindingRecord("spleen", "spleen", 0.9, 10),), ())
        row.answers = [other.as_json()]
    assert claim(read) is None
    assert read.repository.review(STUDY) is None, "it was withdrawn"
    assert "superseded after review" in read.study().attention and signed.state is ReviewState.SIGNED


def test_a_signed_job_that_is_carried_over_is_written_with_the_rest(world: World) -> None:
    world.planned("a1", "b1")
    assert world.answer("a1") and world.answer("b1", seen=False)
    world.repository.sign_review(STUDY, ALPHA, version(save(world, ACCEPT)), 10, shown(world))
    world.reopen()
    assert world.plan("a1", "b1", generation=2)
    claimed = claim(world)
    assert claimed is not None and [one.job.job_key for one in claimed.jobs] == ["a1", "b1"]
