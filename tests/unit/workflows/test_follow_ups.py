"""A follow-up that was not asked, wherever answers are read; and a reason for study, which no log may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from structlog.testing import capture_logs

from dicom_node.headers.study import SeriesHeader, StudyHeader
from dicom_node.results.codes import LABELS
from dicom_node.results.profiles import Profile
from dicom_node.results.stored_report import read_stored_report
from dicom_node.volumes.load import load_series
from inference.errors import AnswerMalformed, InferenceError, RemoteFailed
from inference.interface import Answer, PredictorDescription, Question, SeenTarget, SliceStack
from workflows.protocols.filling import filled_questions
from workflows.protocols.schema import OnlyIf, ProtocolQuestion
from workflows.reading import Reading, ReadingContext, read
from workflows.state.answers import AnswerRecord
from workflows.state.reviewing import WrongWords
from workflows.steps.predict import _for_log
from workflows.steps.questions import Shown, _turns
from workflows.steps.verdicts import Verdicts

IMAGE = Path(str(get_testdata_file("CT_small.dcm", download=False)))
SENTINEL = "Zwetschgenknoedel"


class Echoing:
    """Repeats the question, in words and as the names of what it marks beside a small kidney."""

    description = PredictorDescription("echo", "1", "c" * 64, None)

    def answer(self, stack: SliceStack, questions: Sequence[Question], **_: object) -> tuple[Answer, ...]:
        mask = np.zeros(stack.values.shape[:3], dtype=bool)
        mask[0, 60:64, 60:64] = True
        return tuple(
            Answer(
                one, one.text, tuple(SeenTarget(name, 0.9, mask) for name in ("kidney left", one.text, "spleen")), (0,)
            )
            for one in questions
        )


def answered(folder: Path) -> Reading:
    """A question with a reason for study, a follow-up that is not asked, and what goes on from that."""
    question = ProtocolQuestion("q", "Where are liver and kidney? {reason}", (LABELS["liver"], LABELS["kidney left"]))
    how, then = question.follow_ups(["Is it enlarged, {reason}?", "Since when?"])
    study, series = StudyHeader("1.2", reason=SENTINEL), SeriesHeader("1.2.3", "CT", (), 1)
    questions, missing = filled_questions([question, replace(how, only_if=OnlyIf("liver")), then], study, series)
    assert not missing and SENTINEL in questions[0].text
    context = ReadingContext(
        "k", "k", datetime(2026, 1, 1, tzinfo=UTC), "p 1", "NODE", folders={Profile.OHIF: folder}, predecessors={}
    )
    return read(load_series([IMAGE]), questions, cast(Any, Echoing()), context)


def test_a_follow_up_that_was_not_asked_is_told_and_nobody_has_to_judge_it(tmp_path: Path) -> None:
    reading = answered(tmp_path)
    first, second, third = reading.answers
    told = "Not asked: the liver was not assessed."
    assert [one.label for one in first.findings] == ["kidney left"]
    assert (second.text, second.not_asked, second.findings, second.not_seen, second.not_assessed) == (
        told, True, (), (), (),
    )  # fmt: skip
    assert third.not_asked and "was not asked" in third.text
    assert all(AnswerRecord.from_json(one.as_json()) == one for one in reading.answers)
    assert "not_asked" not in first.as_json(), "rows of others stay as they were"
    (path,) = [one.path for one in reading.objects if one.kind.value == "SR"]
    report = dcmread(path).to_json()
    assert told in report and "nothing-marked" not in report
    earlier = read_stored_report(path).result.answers
    assert [one.question for one in earlier] == [first.question], "what was not asked then is compared with nothing"

    job = SimpleNamespace(job_key="j", answers=reading.answers, question=None)
    wrong = (WrongWords("j", 1, ""), WrongWords("j", 2, ""))  # said of an earlier reading, in which it was asked
    verdicts = Verdicts(cast(Any, SimpleNamespace(missed=(), words=wrong)), cast(Any, SimpleNamespace(job=job)))
    assert [verdicts.text_of(number) for number in (1, 2)] == [second.text, third.text], "not the model's words"
    shown = Shown("1.2.3", job=cast(Any, job))
    (turn,) = _turns("How large?", "1", shown, "me", cast(Any, SimpleNamespace(questions=lambda _uid: ())))
    assert turn.question == first.question, "no conversation goes on from what was not asked"


def test_a_reason_for_study_is_in_no_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as logs:
        reading = answered(tmp_path)
    assert SENTINEL in reading.answers[0].question
    assert [one["event"] for one in logs] == ["named_and_not_marked"]
    assert logs[0]["known"] == ["spleen"] and logs[0]["phrases"] == 2
    assert SENTINEL not in f"{logs} {capfd.readouterr()}"


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (
            AnswerMalformed(f"{SENTINEL!r} is said to be seen, and nothing is marked"),
            "the model's answer cannot be used",
        ),
        (RemoteFailed(f"a: {SENTINEL}").with_log("a did not answer: HTTP 503"), "a did not answer: HTTP 503"),
        (RemoteFailed("a cannot be reached"), "a cannot be reached"),
    ],
)
def test_an_error_that_may_quote_a_question_is_logged_without(error: InferenceError, logged: str) -> None:
    assert _for_log(error) == logged
