"""Reviews: drafts that survive, saves that name the version they were made on, signing, undoing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from workflows.errors import ReviewRefused
from workflows.state.audit import add_audit
from workflows.state.retracting import add_attention
from workflows.state.review_checks import (
    StaleResults,
    StaleReview,
    Subject,
    check_complete,
    check_content,
    current_review,
    named,
    person,
    subject_of,
)
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, Review, ReviewState, WrongWords
from workflows.state.tables import StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Reviewer", "Reviews", "SameResults", "Version"]

Version = tuple[int, int]
"""The number of a review and its version, as a page has read them."""
_FINISHED = (ReviewState.WRITTEN, ReviewState.FAILED)


@dataclass(frozen=True)
class Reviewer:
    """Who gives verdicts. `account`: what rows and the audit name. `name`: the person as DICOM has it (PN)."""

    account: str
    name: str


@dataclass(frozen=True)
class SameResults:
    """Which replaced results are the same as current ones: findings with name and mask, answers with question and grid.

    An answer is named by its job's key and its place there.
    """

    findings: Mapping[FindingPlace, FindingPlace] = field(default_factory=dict)
    answers: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)


class Reviews(Transactions):
    """Transactions of reviewing. Each locks the study first, as all that changes one does."""

    def review(self, study_uid: str) -> Review | None:
        """The latest review of a study that was not withdrawn; None: nobody has begun one."""
        with self._reading() as session:
            row = current_review(session, study_uid)
            return None if row is None else row.record()

    def review_subject(self, study_uid: str) -> Subject | None:
        """What a review of a study would be of now; None: nothing is known of the study."""
        with self._reading() as session:
            study = session.get(StudyRow, study_uid)
            return None if study is None else subject_of(session, study)

    def reviews_of(self, account: str, states: Collection[ReviewState], limit: int = 200) -> list[Review]:
        """The reviews of one account in some states, the one that changed last first."""
        chosen = select(ReviewRow).where(ReviewRow.reviewer == account[:128], ReviewRow.state.in_(states))
        with self._reading() as session:
            rows = session.scalars(chosen.order_by(ReviewRow.changed_at.desc()).limit(limit))
            return [row.record() for row in rows]

    # --- Drafts -------------------------------------------------------------------------------------------------------

    def save_review(
        self,
        study_uid: str,
        reviewer: Reviewer,
        base: Version | None,
        verdicts: Sequence[FindingVerdict],
        missed: Sequence[Missed],
        words: Sequence[WrongWords] = (),
    ) -> Review:
        """Keep a draft. `base`: the review that the page has read; None: there was none.

        The same again changes nothing. A save on a written review begins the next one. Raises StaleReview where
        somebody was quicker, StaleResults where the study was read again, ReviewRefused with what else stands in the
        way, LookupError for no study.
        """
        now = self._clock()
        with self._writing() as session:
            study = _locked_study(session, study_uid)
            row = current_review(session, study_uid)
            said = [*(one.as_json() for one in verdicts), *(one.as_json() for one in words)]
            wanted = said, [miss.as_json() for miss in missed]
            subject = subject_of(session, study)
            if row is not None and _is_own_draft(row, reviewer) and wanted == (row.verdicts, row.missed):
                return row.record()
            self._require_base(row, base, subject, verdicts)
            row = self._own_draft(session, study, reviewer, base)
            check_content(session, study_uid, subject, verdicts, missed, words)
            row.say(verdicts, missed, words)
            row.version, row.name, row.changed_at = row.version + 1, reviewer.name, now
            add_audit(session, now, reviewer.account, "verdict", study_uid, _counts(row.record()))
            return row.record()

    def take_over(self, study_uid: str, reviewer: Reviewer, base: Version) -> Review:
        """Go on with a draft that another person has begun, on purpose. Raises as `save_review`."""
        now = self._clock()
        with self._writing() as session:
            row = self._draft(session, _locked_study(session, study_uid), base)
            if not _is_own_draft(row, reviewer):
                add_audit(session, now, reviewer.account, "take-over", study_uid)
                row.reviewer, row.name = reviewer.account[:128], reviewer.name
                row.version, row.changed_at = row.version + 1, now
            return row.record()

    def amend_review(self, study_uid: str, reviewer: Reviewer, base: Version) -> Review:
        """Begin a further review of what is signed and written, on purpose; it says at first what the last one says.

        Its report replaces the last one's once it is signed; thrown away, the last one stands. Raises as `save_review`.
        """
        now = self._clock()
        with self._writing() as session:
            study = _locked_study(session, study_uid)
            last = current_review(session, study_uid)
            if last is None or last.state not in _FINISHED:
                self._require_base(last, base, subject_of(session, study), ())
                raise ReviewRefused("nothing is written here yet that could be amended")
            row = self._own_draft(session, study, reviewer, base)
            subject = subject_of(session, study)
            before, kept = last.record(), row.record().verdicts
            missed = [one for one in before.missed if subject.job(one.job_key) is not None]
            row.say(kept, missed, [one for one in before.words if subject.job(one.job_key) is not None])
            row.version, row.changed_at = row.version + 1, now
            add_audit(session, now, reviewer.account, "amend", study_uid, {"number": row.number})
            return row.record()

    def withdraw_review(self, study_uid: str, reviewer: Reviewer, base: Version) -> None:
        """Throw an own draft away. Raises as `save_review`."""
        now = self._clock()
        with self._writing() as session:
            row = self._draft(session, _locked_study(session, study_uid), base)
            _require_own_draft(row, reviewer)
            row.state, row.changed_at, row.version = ReviewState.WITHDRAWN, now, row.version + 1
            row.reason = "thrown away"
            add_audit(session, now, reviewer.account, "withdraw", study_uid)

    def reopen_review(self, study_uid: str, reviewer: Reviewer, base: Version, same: SameResults) -> Review:
        """Take a draft to the results that replaced those it was of; what does not fit them is left out.

        Verdicts stay on findings that are the same, misses on answers that are. Raises as `save_review`.
        """
        now = self._clock()
        with self._writing() as session:
            study = _locked_study(session, study_uid)
            row = self._draft(session, study, base)
            _require_own_draft(row, reviewer)
            subject = subject_of(session, study)
            review = row.record()
            verdicts = [
                replace(verdict, place=place)
                for verdict in review.verdicts
                if (place := _now_at(verdict.place, subject, same)) is not None
            ]
            missed = [
                replace(miss, job_key=answer[0], answer=answer[1])
                for miss in review.missed
                if (answer := _answer_at(miss, subject, same)) is not None
            ]
            words = [
                replace(one, job_key=answer[0], answer=answer[1])
                for one in review.words
                if (answer := _answer_at(one, subject, same)) is not None
            ]
            row.say(verdicts, missed, words)
            row.generation, row.version, row.changed_at = study.generation, row.version + 1, now
            said, kept = (
                (len(review.verdicts) + len(review.missed) + len(review.words)),
                len(verdicts) + len(missed) + len(words),
            )
            counts = {"kept": kept, "left_out": said - kept}
            add_audit(session, now, reviewer.account, "reopen", study_uid, counts)
            return row.record()

    # --- Signing ------------------------------------------------------------------------------------------------------

    def sign_review(
        self, study_uid: str, reviewer: Reviewer, base: Version | None, undo_s: float, seen: str | None = None
    ) -> Review:
        """Sign an own draft that says something of every finding; it is due to be written once `undo_s` have passed.

        Where nothing was seen the signature agrees with that. Why a person had to look at the study is settled by it.
        `seen`: the token of the results that the page has shown; others are not signed. The answers are kept as they
        were signed, and no others are written (`claim_review`). Raises as `save_review`.
        """
        now = self._clock()
        with self._writing() as session:
            study = _locked_study(session, study_uid)
            row = current_review(session, study_uid)
            subject = subject_of(session, study)
            if row is None or row.state in _FINISHED:  # where nothing was seen, nothing need be said before
                self._require_base(row, base, subject, ())
                row = _new_review(session, study, reviewer, now)
                base = row.number, row.version
            row = self._draft(session, study, base)
            _require_own_draft(row, reviewer)
            _require_current(row, subject)
            said = row.record()
            check_content(session, study_uid, subject, said.verdicts, said.missed, said.words)
            check_complete(subject, row.record())
            if seen is not None and seen != subject.token:
                raise StaleResults(
                    "the results are others than those that you were shown: load the page again, look at all of them, "
                    "then sign"
                )
            row.results = {job.job_key: [answer.as_json() for answer in job.answers] for job in subject.jobs}
            row.state, row.signed_at, row.write_at = ReviewState.SIGNED, now, now + timedelta(seconds=undo_s)
            row.changed_at, row.version, row.attempts, row.reason = now, row.version + 1, 0, ""
            row.settled, study.attention = study.attention, ""
            add_audit(session, now, reviewer.account, "sign", study_uid, _counts(row.record()))
            return row.record()

    def undo_review(self, study_uid: str, reviewer: Reviewer) -> Review:
        """Make a draft of an own signed review again, as long as nobody has begun to write it.

        What signing had settled is open again. Raises ReviewRefused, LookupError.
        """
        now = self._clock()
        with self._writing() as session:
            study = _locked_study(session, study_uid)
            row = current_review(session, study_uid)
            if row is not None and _is_own_draft(row, reviewer):
                return row.record()
            if row is None or row.state is not ReviewState.SIGNED or row.attempts:
                raise ReviewRefused("it is too late to undo: what was signed is being written. Review the study again")
            if row.reviewer != reviewer.account[:128]:
                raise ReviewRefused(f"{person(row.record())} has signed this review, and alone can undo that")
            row.state, row.signed_at, row.write_at, row.results = ReviewState.DRAFT, None, None, {}
            row.changed_at, row.version = now, row.version + 1
            for told in filter(None, row.settled.split("; ")):
                add_attention(study, told)
            row.settled = ""
            add_audit(session, now, reviewer.account, "undo", study_uid)
            return row.record()

    # --- What they share ----------------------------------------------------------------------------------------------

    @staticmethod
    def _require_base(
        row: ReviewRow | None, base: Version | None, subject: Subject, verdicts: Sequence[FindingVerdict]
    ) -> None:
        """Raise StaleReview unless the page has read the review as it is now."""
        if row is None:
            if base is not None:
                raise StaleReview("the review was thrown away since you read it: begin a new one, or look again", None)
            return
        if base != (row.number, row.version):
            raise StaleReview(_what_changed(row.record(), subject, verdicts), row.record())

    def _own_draft(self, session: Session, study: StudyRow, reviewer: Reviewer, base: Version | None) -> ReviewRow:
        """The own draft on the current results, begun where there is none; nothing is said in it by that."""
        row = current_review(session, study.study_uid)
        subject = subject_of(session, study)
        self._require_base(row, base, subject, () if row is None else row.record().verdicts)
        if row is None or row.state in _FINISHED:
            if not subject.jobs:
                raise ReviewRefused("there are no results to review yet: wait until the study is read")
            return _new_review(session, study, reviewer, self._clock(), () if row is None else _kept(row, subject))
        _require_own_draft(row, reviewer)
        _require_current(row, subject)
        return row

    def _draft(self, session: Session, study: StudyRow, base: Version | None) -> ReviewRow:
        row = current_review(session, study.study_uid)
        self._require_base(row, base, subject_of(session, study), () if row is None else row.record().verdicts)
        if row is None or row.state is not ReviewState.DRAFT:
            raise ReviewRefused("there is no draft of a review here: begin one")
        return row


def _locked_study(session: Session, study_uid: str) -> StudyRow:
    study = session.get(StudyRow, study_uid, with_for_update=True)
    if study is None:
        raise LookupError("this study is not known here any more: it was deleted")
    return study


def _kept(row: ReviewRow, subject: Subject) -> Sequence[FindingVerdict]:
    """The verdicts of an earlier review on results that still stand."""
    return [verdict for verdict in row.record().verdicts if verdict.place in subject.places]


def _new_review(
    session: Session, study: StudyRow, reviewer: Reviewer, now: datetime, verdicts: Sequence[FindingVerdict] = ()
) -> ReviewRow:
    numbers = session.scalars(select(ReviewRow.number).where(ReviewRow.study_uid == study.study_uid)).all()
    row = ReviewRow(
        study_uid=study.study_uid,
        number=max(numbers, default=0) + 1,
        generation=study.generation,
        state=ReviewState.DRAFT,
        version=0,
        reviewer=reviewer.account[:128],
        name=reviewer.name,
        verdicts=[verdict.as_json() for verdict in verdicts],
        missed=[],
        reason="",
        attempts=0,
        settled="",
        started_at=now,
        changed_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _is_own_draft(row: ReviewRow, reviewer: Reviewer) -> bool:
    return row.state is ReviewState.DRAFT and row.reviewer == reviewer.account[:128]


def _require_own_draft(row: ReviewRow, reviewer: Reviewer) -> None:
    who = person(row.record())
    if row.state is ReviewState.SIGNED:
        raise ReviewRefused(f"{who} has signed this review: undo that first, or wait until it is written")
    if not _is_own_draft(row, reviewer):
        raise ReviewRefused(f"this draft is of {who}: take it over to go on with it")


def _require_current(row: ReviewRow, subject: Subject) -> None:
    if row.generation != subject.generation:
        raise StaleResults(
            "new images came, and the study is read again since this draft was begun: reopen it on the new results"
        )


def _what_changed(current: Review, subject: Subject, verdicts: Sequence[FindingVerdict]) -> str:
    """By whom, when, and on which findings the review now says otherwise than the page would."""
    done = {
        ReviewState.DRAFT: "changed this review",
        ReviewState.SIGNED: "signed this review",
        ReviewState.WRITTEN: "signed this review, and it is written",
    }.get(current.state, "changed this review")
    mine = {verdict.place: verdict for verdict in verdicts}
    theirs = {verdict.place: verdict for verdict in current.verdicts}
    places = subject.places
    other = [label for place, label in places.items() if mine.get(place) != theirs.get(place)]
    differs = f"it differs from yours on {named(other)}" if other else "its verdicts are the same as yours"
    return f"{person(current)} {done} at {current.changed_at:%H:%M} UTC since you read it: {differs}"


def _now_at(place: FindingPlace, subject: Subject, same: SameResults) -> FindingPlace | None:
    now = same.findings.get(place, place)
    return now if now in subject.places else None


def _answer_at(miss: Missed | WrongWords, subject: Subject, same: SameResults) -> tuple[str, int] | None:
    job_key, answer = same.answers.get((miss.job_key, miss.answer), (miss.job_key, miss.answer))
    job = subject.job(job_key)
    return (job_key, answer) if job is not None and answer < len(job.answers) else None


def _counts(review: Review) -> dict[str, int]:
    """How often each kind of verdict stands in it, as the audit has it."""
    counts = Counter(verdict.kind.value for verdict in review.verdicts)
    others = {"missed": len(review.missed), "words": len(review.words)}
    return {**counts, **{kind: count for kind, count in others.items() if count}}
