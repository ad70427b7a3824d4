"""A person's question through the steps: read beside what protocols ask, kept or not, in every state of its study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.results.mask_file import mask_file_name, read_masks
from dicom_node.results.profiles import Profile
from inference.interface import PredictorDescription
from workflows.errors import OtherWeights, QuestionRefused
from workflows.state.asking import AskedQuestion, QuestionStage
from workflows.state.keeping import KeepingRules
from workflows.state.records import Destination
from workflows.state.states import QuestionState
from workflows.steps.questions import Asker, Shown, ask_study

if TYPE_CHECKING:
    from .conftest import Archive, Marking, Steps

LARGER = "Which kidney is larger?"
SPLEEN = np.s_[1:3, 8:14, 4:12]


def ask(steps: Steps, study_uid: str, typed: str = LARGER, by: str = "anna") -> AskedQuestion:
    asker = Asker(steps.predictor.description, (Destination("pacs", Profile.AIR),), "0.1", "0" * 32)
    shown = Shown(f"{study_uid}.1")
    return ask_study(study_uid, typed, shown, by, steps.repository, steps.folder, asker)


@pytest.fixture
def read(steps: Steps, marking: Marking, study: Callable[..., list[Path]]) -> str:
    """A study that was read and delivered."""
    return steps.through(*study(1, "20260101"))


def test_a_question_marks_what_it_finds_and_says_what_it_does_not(
    steps: Steps, archive: Archive, marking: Marking, read: str
) -> None:
    sent = len(archive.objects)
    marking.marked = {"spleen": (0.9, SPLEEN)}
    key = ask(steps, read, "Is there a liver?").job.job_key
    steps.predict(key)
    question = steps.repository.question(read, key)
    (answer,) = question.job.answers
    assert [finding.label for finding in answer.findings] == ["spleen"], "no protocol says what may be marked"
    assert list(answer.not_seen or ()) == ["liver"]
    assert steps.state(read)[0] == "DELIVERED"
    assert (key, "pacs") not in steps.waker.deliveries
    steps.publish(key)
    assert len(archive.objects) == sent, "what is preliminary is sent nowhere"
    folder = steps.saved(key)[0].parent
    masks = read_masks(folder / mask_file_name(0))
    assert [int(mask.sum()) for mask in masks] == [2 * 6 * 8]


def test_an_answer_that_is_kept_is_a_further_seg_and_sr(steps: Steps, archive: Archive, read: str) -> None:
    sent = len(archive.objects)
    key = ask(steps, read, "Where is the liver?").job.job_key
    steps.predict(key)
    steps.repository.keep_answer(read, key, "anna")
    steps.publish(key)
    steps.publish(key)
    segmentation, report = archive.objects[sent:]
    assert (segmentation.Modality, report.Modality) == ("SEG", "SR")
    assert "Where is the liver?" in report.to_json()
    assert "PredecessorDocumentsSequence" not in report, "it replaces nothing"
    assert steps.repository.question(read, key).told == "Kept and sent."
    assert steps.state(read)[0] == "DELIVERED"


def test_the_same_question_is_read_once(steps: Steps, marking: Marking, read: str) -> None:
    first = ask(steps, read)
    steps.predict(first.job.job_key)
    asked = marking.asked
    again = ask(steps, read, "  Which   kidney is larger? ", by="berta")
    assert (again.job.job_key, again.stage) == (first.job.job_key, QuestionStage.ANSWERED)
    steps.predict(again.job.job_key)
    assert marking.asked == asked


def test_several_questions_in_a_row(steps: Steps, read: str) -> None:
    keys = [
        ask(steps, read, text).job.job_key
        for text in ("Where is the liver?", "And the spleen?", "Is the kidney large?")
    ]
    for key in keys:
        steps.tick(1)
        steps.predict(key)
    assert {one.stage for one in steps.repository.questions(read)} == {QuestionStage.ANSWERED}
    assert len(set(keys)) == 3


def test_reading_again_leaves_a_question_and_more_images_overtake_it(
    steps: Steps, read: str, study: Callable[..., list[Path]]
) -> None:
    key = ask(steps, read).job.job_key
    assert steps.repository.reopen(read, "again")
    steps.predict(key)
    assert steps.repository.question(read, key).stage is QuestionStage.WAITING, "the next plan says whether it stands"
    steps.plan(read)
    steps.predict(key)
    question = steps.repository.question(read, key)
    assert (question.stage, question.current) == (QuestionStage.ANSWERED, True)
    assert len(steps.jobs(read)) == 1, "no plan repeats a question"
    steps.receive(*study(1, "20260101", slices=5)[4:])
    steps.to_plan()
    assert not steps.repository.question(read, key).current
    with pytest.raises(QuestionRefused, match="earlier images"):
        steps.repository.keep_answer(read, key, "anna")


def test_an_answer_is_no_prior_of_a_later_study(steps: Steps, read: str, study: Callable[..., list[Path]]) -> None:
    key = ask(steps, read, "Where is the liver?").job.job_key
    steps.predict(key)
    steps.repository.keep_answer(read, key, "anna")
    steps.publish(key)
    later = steps.through(*study(2, "20260501"))
    (job,) = steps.jobs(later)
    assert job.prior is not None
    assert job.prior.study_uid == read
    assert job.prior.answer_key == steps.jobs(read)[0].answer_key


def test_a_study_without_images_is_not_asked(steps: Steps, read: str) -> None:
    steps.tick(60)
    rules = KeepingRules(after_commitment=None, uncommitted=(steps.now - steps.now))
    steps.repository.remove_inputs(read, rules)
    with pytest.raises(QuestionRefused, match=r"removed on .* by retention: send the study again"):
        ask(steps, read)
    with pytest.raises(LookupError, match="purged"):
        ask(steps, "1.2.3.99")


def test_a_file_that_is_gone_is_told(steps: Steps, read: str) -> None:
    for path in steps.stored():
        steps.folder.absolute(path).unlink()
    with pytest.raises(QuestionRefused, match="cannot be read"):
        ask(steps, read)


def test_a_purged_study_leaves_a_worker_nothing_to_do(steps: Steps, read: str) -> None:
    key = ask(steps, read).job.job_key
    assert steps.repository.purge(read, "op") is not None
    steps.predict(key)
    assert steps.repository.questions(read) == []


def test_weights_that_changed_end_a_question_with_what_to_do(steps: Steps, read: str) -> None:
    key = ask(steps, read).job.job_key

    def other(_wanted: PredictorDescription) -> None:
        raise OtherWeights("planned for a, this worker holds b")

    object.__setattr__(steps.inference, "predictor_for", other)
    steps.predict(key)
    question = steps.repository.question(read, key)
    assert question.stage is QuestionStage.FAILED
    assert "ask again" in question.told
    assert question.state is QuestionState.ASKED
    assert steps.state(read)[0] == "DELIVERED"
