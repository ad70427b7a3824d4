"""Which result objects are taken back from which archive: decided within the transaction that makes it so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from dicom_node.headers.rejection import RejectionCode
from dicom_node.results.profiles import Profile, ResultKind
from workflows.state.states import DeliveryState, JobState, RetractionState
from workflows.state.tables import DeliveryRow, JobRow, ResultObjectRow, RetractionRow, StudyRow

__all__ = [
    "REVIEWED", "WITHHELD_AS_REVIEWED", "WITHHELD_AS_WRONG", "add_attention", "bring_back", "drop_attention",
    "is_held", "note_sent", "retract_marked", "retract_replaced", "retract_reviewed", "wanted_of",
]  # fmt: skip

WITHHELD_AS_WRONG = "not sent: it is to be retracted"
WITHHELD_AS_REVIEWED = "not sent: a reviewer's results replace it"
REVIEWED = "replaced or rejected by a review"
"""Why a reviewer's results have others taken back."""

_BY_NOTE = (RetractionState.NOTED, RetractionState.DONE)


def wanted_of(job: JobRow, *, of_review: bool = False) -> dict[str, set[tuple[Profile, ResultKind]]]:
    """By archive, the profile and kind of the objects of a job that go there; `of_review`: of those of a review.

    A reviewer may have seen something where the model saw nothing, and the other way round.
    """
    wanted: dict[str, set[tuple[Profile, ResultKind]]] = {}
    for one in job.goes_to:
        kinds = {(one.profile, kind) for kind in one.kinds(seen=job.seen)}
        if of_review:
            kinds |= {(one.profile, kind) for kind in one.kinds(seen=not job.seen)}
        wanted.setdefault(one.archive, set()).update(kinds)
    return wanted


def is_held(job: JobRow, result: ResultObjectRow) -> bool:
    """Whether an object of a job is a current result: right, of the edition, and for some archive.

    What is current is taken back from no archive, by whatever name: two names may be one archive.
    """
    if job.state is JobState.SUPERSEDED or result.retract_at is not None or result.replaced_by is not None:
        return False
    if result.review is None and result.edition != job.edition:
        return False
    wanted = wanted_of(job, of_review=result.review is not None)
    return any((result.profile, result.kind) in kinds for kinds in wanted.values())


def add_attention(study: StudyRow, told: str) -> None:
    """Say why a person has to look at a study, beside what was said before."""
    if told not in study.attention:
        study.attention = "; ".join(filter(None, [study.attention, told]))


def drop_attention(study: StudyRow, words: str) -> None:
    """What was said with these words is settled, or is said anew."""
    study.attention = "; ".join(told for told in study.attention.split("; ") if told and words not in told)


def _perhaps_there() -> Any:
    """The criterion that an archive has an object, or may have it: it was sent, and the answer was lost."""
    return or_(
        DeliveryRow.state == DeliveryState.DELIVERED,
        DeliveryRow.delivered_at.is_not(None),  # and a person had it sent again
        and_(DeliveryRow.perhaps_sent.is_(True), DeliveryRow.state != DeliveryState.REJECTED),
    )


def retract_marked(session: Session, job_keys: Sequence[str], now: datetime) -> None:
    """Have what is marked as wrong taken back from every archive that has it, or may have it."""
    marked = (ResultObjectRow.job_key.in_(job_keys), ResultObjectRow.retract_at.is_not(None))
    for result, delivery in _deliveries(session, _perhaps_there(), *marked, reviews=True):
        _want(session, result, delivery, result.retract_code or RejectionCode.QUALITY, result.retract_reason, now)


def retract_replaced(session: Session, job: JobRow, now: datetime) -> None:
    """Once an archive has all that goes there of a job, have what it replaces taken back from it.

    These are objects of superseded jobs of the same series and protocol, and objects of the job itself that no archive
    wants any more or that an edition of them replaces. What is current stays, also in an archive that gets nothing of
    the job any more (`is_held`); such an archive loses the rest once the job has ended.
    """
    wanted = wanted_of(job)
    own = list(_deliveries(session, ResultObjectRow.job_key == job.job_key))
    unfinished = {
        delivery.archive
        for result, delivery in own
        if result.edition == job.edition
        and result.replaced_by is None
        and (result.profile, result.kind) in wanted.get(delivery.archive, ())
        and delivery.state is not DeliveryState.DELIVERED
    }
    same = (
        JobRow.study_uid == job.study_uid,
        JobRow.series_uid == job.series_uid,
        JobRow.protocol == job.protocol,
        JobRow.job_key != job.job_key,
        JobRow.state == JobState.SUPERSEDED,
        JobRow.question.is_(None),
    )
    # An answer to a person's question replaces none, and no protocol's replaces it.
    replaced = [] if job.question is not None else list(_deliveries(session, _perhaps_there(), *same))
    replaced += [
        (result, delivery)
        for result, delivery in own
        if (delivery.state is DeliveryState.DELIVERED or delivery.perhaps_sent)
        and not is_held(job, result)
        and (result.edition != job.edition or (result.profile, result.kind) not in wanted.get(delivery.archive, ()))
    ]
    reason = f"replaced by later results of {job.protocol} {job.protocol_version}"
    for result, delivery in replaced:
        if delivery.archive not in unfinished and (delivery.archive in wanted or not unfinished):
            _want(session, result, delivery, RejectionCode.QUALITY, reason, now)


def retract_reviewed(session: Session, job: JobRow, number: int, now: datetime) -> None:
    """Once an archive has all that goes there of a review of a job, have what that replaces taken back from it.

    A review that makes nothing for an archive, as it has rejected everything, has it taken back at once.
    """
    of_job = (ResultObjectRow.job_key == job.job_key, ResultObjectRow.retract_at.is_(None))
    made = _deliveries(session, *of_job, ResultObjectRow.review == number, reviews=True)
    unfinished = {delivery.archive for _, delivery in made if delivery.state is not DeliveryState.DELIVERED}
    replaced = (*of_job, ResultObjectRow.replaced_by == number)
    for result, delivery in _deliveries(session, _perhaps_there(), *replaced, reviews=True):
        if delivery.archive not in unfinished:
            _want(session, result, delivery, RejectionCode.QUALITY, REVIEWED, now, reviewed=True)


def bring_back(session: Session, job: JobRow) -> bool:
    """A job that is current again: what was to be retracted of it stands; what was deleted is sent again.

    True: a note has taken objects of it out of use for good, so that they have to be made under other UIDs.
    """
    rows = session.execute(
        select(ResultObjectRow, DeliveryRow, RetractionRow)
        .join(RetractionRow, RetractionRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
        .join(
            DeliveryRow,
            (DeliveryRow.sop_instance_uid == RetractionRow.sop_instance_uid)
            & (DeliveryRow.archive == RetractionRow.archive),
        )
        .where(ResultObjectRow.job_key == job.job_key, ResultObjectRow.edition == job.edition)
        .where(ResultObjectRow.replaced_by.is_(None), ResultObjectRow.review.is_(None))
    ).all()
    wanted = wanted_of(job)
    wanted_anywhere = set[tuple[Profile, ResultKind]]().union(*wanted.values())
    for result, _, retraction in rows:  # a note in another archive counts too: it may be the same by another name
        by_note = retraction.note_uid is not None and retraction.state in _BY_NOTE
        if by_note and (result.profile, result.kind) in wanted_anywhere:
            return True
    ours = [row for row in rows if (row[0].profile, row[0].kind) in wanted.get(row[1].archive, ())]
    for _, delivery, retraction in ours:
        if retraction.state is RetractionState.DONE or retraction.attempts:  # it may be gone
            delivery.state, delivery.delivered_at = DeliveryState.PENDING, None
            delivery.committed_at = delivery.seen_at = delivery.confirm_at = None
        session.delete(retraction)
    return False


def note_sent(
    session: Session, note: ResultObjectRow, archive: str, state: DeliveryState, reason: str, now: datetime
) -> None:
    """What became of an attempt to send a rejection note, for the retractions that it carries out."""
    rows = select(RetractionRow).where(
        RetractionRow.note_uid == note.sop_instance_uid,
        RetractionRow.archive == archive,
        RetractionRow.state != RetractionState.DONE,
    )
    for row in session.scalars(rows):
        row.told = reason
        if state is DeliveryState.DELIVERED:
            row.state, row.done_at = RetractionState.DONE, now
        elif state is not DeliveryState.PENDING:
            row.state = RetractionState.FAILED
            told = f"{archive} does not take the note that results are not to be used: {reason}"
            add_attention(session.get_one(StudyRow, row.study_uid), told)


def _want(
    session: Session,
    result: ResultObjectRow,
    delivery: DeliveryRow,
    code: RejectionCode,
    reason: str,
    now: datetime,
    *,
    reviewed: bool = False,
) -> None:
    """Have an object taken back; `reviewed`: a reviewer says so, also of what another has verified."""
    delivery.confirm_at = None  # it need not be there any more
    row = session.get(RetractionRow, (result.sop_instance_uid, delivery.archive))
    if row is None:
        study_uid = session.get_one(JobRow, result.job_key).study_uid
        row = RetractionRow(
            sop_instance_uid=result.sop_instance_uid, archive=delivery.archive, study_uid=study_uid, attempts=0
        )
        session.add(row)
    elif reviewed and row.state is RetractionState.KEPT:
        pass  # it was kept for an earlier review's sake
    elif row.code is not RejectionCode.QUALITY or code is RejectionCode.QUALITY:
        return  # the graver of two reasons stands, and opens anew what the lesser one had ended
    row.code, row.reason, row.wanted_at, row.wake_at = code, reason, now, now
    row.state, row.note_uid, row.done_at = RetractionState.WANTED, None, None
    row.told = "" if delivery.delivered_at is not None else "it was perhaps sent: no answer came"
    if result.reviewed_by and not reviewed:
        row.state, row.wake_at = RetractionState.KEPT, None
        row.told = f"{result.reviewed_by} has verified or corrected it"
        told = f"{result.kind.value} that {result.reviewed_by} has reviewed is not retracted: {reason}"
        add_attention(session.get_one(StudyRow, row.study_uid), told)
    session.flush()


def _deliveries(
    session: Session, *criteria: Any, reviews: bool = False
) -> Iterable[tuple[ResultObjectRow, DeliveryRow]]:
    """Objects of jobs with their deliveries, notes left out, in the order in which they were saved.

    `reviews`: those that a review made too.
    """
    which = ResultObjectRow.kind != ResultKind.REJECTION_NOTE if reviews else DeliveryRow.independent.is_(False)
    rows = (
        select(ResultObjectRow, DeliveryRow)
        .join(DeliveryRow, DeliveryRow.sop_instance_uid == ResultObjectRow.sop_instance_uid)
        .join(JobRow, JobRow.job_key == ResultObjectRow.job_key)
        .where(which, *criteria)
        .order_by(ResultObjectRow.job_key, ResultObjectRow.ordinal)
    )
    return [(result, delivery) for result, delivery in session.execute(rows)]
