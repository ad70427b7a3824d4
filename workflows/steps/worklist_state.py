"""Where a study stands for who reviews it, and what needs a person, with what to do about it. Pure."""

from __future__ import annotations

from typing import assert_never

from workflows.state.retrying import TroubleKind
from workflows.state.reviewing import Review, ReviewState, VerdictKind
from workflows.state.states import StudyState
from workflows.state.worklist_records import ShownState, Tab, WorklistSource
from workflows.steps.identity import contradiction_in

__all__ = ["NOT_ASKED", "attention_of", "held_told", "outcome_of", "review_is_of_results", "shown_state", "tab_of"]


def shown_state(source: WorklistSource) -> ShownState:
    """The state that a row shows: of the review where there is one of these results, else of the study."""
    match source.study.state:
        case StudyState.RECEIVING:
            return ShownState.RECEIVING
        case StudyState.COMPLETE | StudyState.PLANNED:
            return ShownState.WAITING
        case StudyState.PREDICTING:
            return ShownState.READING
        case StudyState.HELD:
            return ShownState.HELD
        case StudyState.UNMATCHED:
            return ShownState.UNMATCHED
        case StudyState.DELIVERING | StudyState.DELIVERED | StudyState.FAILED:
            if any(job.answers for job in source.jobs):
                return _of_review(source)
            return ShownState.FAILED if source.study.state is StudyState.FAILED else ShownState.WAITING
        case state:
            assert_never(state)


def _of_review(source: WorklistSource) -> ShownState:
    if source.review is None or not review_is_of_results(source):
        return ShownState.TO_REVIEW
    match source.review.state:
        case ReviewState.DRAFT:
            return ShownState.IN_REVIEW
        case ReviewState.FAILED:
            return ShownState.NOT_WRITTEN
        case ReviewState.SIGNED | ReviewState.WRITTEN:
            return outcome_of(source.review)
        case ReviewState.WITHDRAWN:
            return ShownState.TO_REVIEW
        case state:
            assert_never(state)


def review_is_of_results(source: WorklistSource) -> bool:
    """Whether a study's review is of the results that stand: of their generation, or all it speaks of is current."""
    review = source.review
    if review is None:
        return False
    current = {job.job_key for job in source.jobs if job.answers}
    spoken_of = review.job_keys
    if spoken_of:
        return spoken_of <= current
    return review.generation == source.study.generation


def outcome_of(review: Review) -> ShownState:
    """What a signed review comes to."""
    kinds = {verdict.kind for verdict in review.verdicts}
    if VerdictKind.NOT_THERE in kinds:
        return ShownState.REJECTED if kinds == {VerdictKind.NOT_THERE} and not review.missed else ShownState.MIXED
    if kinds - {VerdictKind.ACCEPT} or review.missed or review.words:
        return ShownState.CORRECTED
    return ShownState.ACCEPTED


def tab_of(state: ShownState, proposals: int) -> Tab:
    """Where a study is listed; one with a proposed correction comes to be reviewed again."""
    match state:
        case ShownState.RECEIVING | ShownState.WAITING | ShownState.READING:
            return Tab.READING
        case ShownState.TO_REVIEW | ShownState.IN_REVIEW | ShownState.NOT_WRITTEN:
            return Tab.REVIEW
        case ShownState.ACCEPTED | ShownState.CORRECTED | ShownState.REJECTED | ShownState.MIXED:
            return Tab.REVIEW if proposals else Tab.REVIEWED
        case ShownState.UNMATCHED | ShownState.HELD | ShownState.FAILED:
            return Tab.NONE
        case _:
            assert_never(state)


def attention_of(source: WorklistSource, state: ShownState) -> tuple[str, str]:
    """Why a person has to look at a study, and what to do, each a sentence; both "" where nobody has to."""
    study, review = source.study, source.review
    if state is ShownState.HELD:
        return held_told(study.reason)
    if study.state is StudyState.FAILED:
        return _failed(source)
    if review is not None and state is ShownState.NOT_WRITTEN:
        told = _sentence(review.reason) or "The signed review cannot be written."
        return told, "Open the study, change what it says and sign it again."
    if state is ShownState.TO_REVIEW and review is not None and review.state in _SIGNED:
        told = "Images came or were read again after it was reviewed; the results are others now."
        return told, "Review it again; what was said before stays in the archive until then."
    if study.attention:
        return _sentence(study.attention), "Open the study to see what is behind it, and settle it there."
    return "", ""


NOT_ASKED = (
    "No protocol asks for any of its series.",
    "An administrator can add or change a protocol and have it read again.",
)
"""What is said of an UNMATCHED study, which needs nobody, and what can be done; `explain` has the rules."""
_AS_IS = (
    "Send the corrected images; where each series is right as it is, an administrator can have each read under its own "
    "patient."
)
_NEVER_READ = "Send the corrected images, or a rejection note for those that are wrong. Until then it is not read."
_SIGNED = (ReviewState.SIGNED, ReviewState.WRITTEN, ReviewState.FAILED)


def held_told(reason: str) -> tuple[str, str]:
    """What a HELD study's reason says, and what to do, each a sentence."""
    told, as_is = contradiction_in(reason)
    return _sentence(told), _AS_IS if as_is else _NEVER_READ


def _failed(source: WorklistSource) -> tuple[str, str]:
    study = source.study
    failures = {job.failure for job in source.jobs if job.failure is not None} | {study.failure} - {None}
    reasons = [study.reason, *(job.reason for job in source.jobs if job.failure is not None)]
    told = _sentence(max(filter(None, reasons), key=len, default="It failed, and no reason was kept."))
    if TroubleKind.LOST in failures or TroubleKind.UNREADABLE in failures:
        return told, "Send the study again from where it came."
    if TroubleKind.ARCHIVE_REFUSED in failures:
        return told, "Once the archive takes it, an administrator has it sent again."
    return told, "Once the cause is settled, an administrator puts it back."


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
