"""Retention: how long images are kept, what keeps them longer, and how many bytes they take."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.sop_classes import holds_images
from workflows.state.keeping import KeepingRules
from workflows.state.missing import removed_of
from workflows.state.records import Instance
from workflows.state.rejections import rejected
from workflows.state.review_tables import ProposalRow, ReviewRow
from workflows.state.reviewing import ProposalState, ReviewState
from workflows.state.segmentation_tables import ReceivedSegmentationRow
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.tables import DeliveryRow, InstanceRow, JobRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Retention", "keeps_inputs"]

_ENDS = (StudyState.DELIVERED, StudyState.UNMATCHED, StudyState.FAILED)
_STUDIES_AT_ONCE = 200


def keeps_inputs(session: Session, study: StudyRow) -> str:
    """Why the images of a study are kept however old they are, or "".

    The one place that knows: whatever else comes to need the images says so here.
    """
    if study.state not in _ENDS:
        return f"the study is {study.state.value}"
    if study.attention:
        return "a person has to look at the study"
    open_retractions = (RetractionState.WANTED, RetractionState.NOTED)
    retractions = (RetractionRow.study_uid == study.study_uid, RetractionRow.state.in_(open_retractions))
    if session.scalar(select(RetractionRow.sop_instance_uid).where(*retractions).limit(1)) is not None:
        return "results are still to be taken back"
    notes = select(DeliveryRow.sop_instance_uid).join(JobRow, JobRow.job_key == DeliveryRow.job_key)
    pending = (DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.independent.is_(True))
    if session.scalar(notes.where(JobRow.study_uid == study.study_uid, *pending).limit(1)) is not None:
        return "a rejection note or what a review made is on its way"
    return _review_keeps(session, study)


def _review_keeps(session: Session, study: StudyRow) -> str:
    """Masks are measured and written on the images: they stay until that is done."""
    of_study = ReviewRow.study_uid == study.study_uid
    open_reviews = select(ReviewRow.state).where(of_study, ReviewRow.state.in_((ReviewState.DRAFT, ReviewState.SIGNED)))
    if (state := session.scalar(open_reviews.limit(1))) is not None:
        return "a review is begun" if state is ReviewState.DRAFT else "a review is signed and not written yet"
    proposed = (ProposalRow.study_uid == study.study_uid, ProposalRow.state == ProposalState.PROPOSED)
    if session.scalar(select(ProposalRow.segment).where(*proposed).limit(1)) is not None:
        return "a correction is proposed"
    waits = (
        ReceivedSegmentationRow.study_uid == study.study_uid,
        ReceivedSegmentationRow.wake_at.is_not(None),
    )
    if session.scalar(select(ReceivedSegmentationRow.seg_uid).where(*waits).limit(1)) is not None:
        return "a segmentation that came in is to be looked at"
    unanswered = (JobState.PLANNED, JobState.PREDICTING, JobState.DELIVERING)
    questions = (JobRow.study_uid == study.study_uid, JobRow.question.is_not(None), JobRow.state.in_(unanswered))
    if session.scalar(select(JobRow.job_key).where(*questions).limit(1)) is not None:
        return "a question about the study is being answered"
    return ""


class Retention(Transactions):
    """Transactions of removing images. The row says that they are removed before a file is: a kill loses nothing."""

    def studies_to_relieve(self, rules: KeepingRules) -> Iterator[str]:
        """Studies whose images may be due to be removed, in order of UID; `remove_inputs` decides each."""
        if rules.shortest is None:
            return
        ended = (StudyRow.state.in_(_ENDS), StudyRow.inputs_removed_at.is_(None))
        old = StudyRow.changed_at <= self._clock() - rules.shortest
        after = ""
        while True:
            page = select(StudyRow.study_uid).where(*ended, old, StudyRow.study_uid > after)
            with self._reading() as session:
                uids = list(session.scalars(page.order_by(StudyRow.study_uid).limit(_STUDIES_AT_ONCE)))
            if not uids:
                return
            yield from uids
            after = uids[-1]

    def inputs_to_remove(self, study_uid: str, rules: KeepingRules) -> list[Instance]:
        """The images of a study that are due to be removed now, as far as their files are there; changes nothing."""
        with self._reading() as session:
            study = session.get(StudyRow, study_uid)
            if study is None or not self._are_due(session, study, rules, self._clock()):
                return []
            return [row.record() for row in _images_of(session, study_uid) if row.lost_at is None]

    def remove_inputs(self, study_uid: str, rules: KeepingRules) -> list[Instance]:
        """Say that the images of a study are removed, if they are due; returns all whose files are to go.

        These are also those that an interrupted removal left.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            if study is None or not self._are_due(session, study, rules, now):
                return []
            images = [row for row in _images_of(session, study_uid) if row.lost_at is None]
            for row in images:
                row.removed_at = row.removed_at or now
            if not images:
                study.inputs_removed_at = now  # it has none, or they were all lost: not to be looked at again
            return [row.record() for row in images]

    def is_removed(self, instance: Instance) -> bool:
        """Whether an instance's file is to be gone: retention removed it, and it has not come again since."""
        with self._reading() as session:
            row = session.get(InstanceRow, (instance.study_uid, instance.series_uid, instance.sop_instance_uid))
            return row is not None and row.removed_at is not None and row.path == str(instance.path)

    def finish_removal(self, study_uid: str) -> None:
        """All files are gone: the study is not to be looked at again, unless some have come again meanwhile."""
        now = self._clock()
        with self._writing() as session:
            study = session.get(StudyRow, study_uid, with_for_update=True)
            if study is None:
                return
            images = _images_of(session, study_uid)
            if all(row.removed_at is not None or row.lost_at is not None for row in images):
                study.inputs_removed_at = max((row.removed_at for row in images if row.removed_at), default=now)

    def inputs_removed_at(self, study_uid: str) -> datetime | None:
        """When retention removed images of a study that are not there again; None: none of them is missing for that."""
        with self._reading() as session:
            return session.scalar(select(func.max(InstanceRow.removed_at)).where(*removed_of(study_uid)))

    def known_instances(self, study_uid: str) -> list[Instance]:
        """The instances of a study as it would be planned: those that are there, and those that retention removed."""
        known = (InstanceRow.study_uid == study_uid, InstanceRow.lost_at.is_(None), ~rejected())
        with self._reading() as session:
            ordered = select(InstanceRow).where(*known).order_by(InstanceRow.series_uid, InstanceRow.sop_instance_uid)
            return [row.record() for row in session.scalars(ordered)]

    def bytes_held(self) -> int:
        """Bytes of all received instances whose files are there. It goes through every row: not for each instance."""
        there = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
        with self._reading() as session:
            return int(session.scalar(select(func.sum(InstanceRow.bytes)).where(*there)) or 0)

    def _are_due(self, session: Session, study: StudyRow, rules: KeepingRules, now: datetime) -> bool:
        if keeps_inputs(session, study):
            return False
        known_since = self._known_to_be_kept_since(session, study) if study.state is StudyState.DELIVERED else None
        days = rules.uncommitted if known_since is None else rules.after_commitment
        if days is None:
            return False
        since = max(known_since or study.changed_at, study.last_received_at)
        return since + days <= now

    def _known_to_be_kept_since(self, session: Session, study: StudyRow) -> datetime | None:
        """Since when all results of a delivered study are committed or seen again; None: some are not, or not known.

        A study of which nothing was to be sent is known to be kept since it ended.
        """
        current = (JobRow.study_uid == study.study_uid, JobRow.generation == study.generation)
        known = [study.changed_at]
        for job in session.scalars(select(JobRow).where(*current, JobRow.state != JobState.SUPERSEDED)):
            for _, delivery in self._current_deliveries(session, job):
                kept = [when for when in (delivery.committed_at, delivery.seen_at) if when is not None]
                if delivery.state is not DeliveryState.DELIVERED or not kept:
                    return None
                known.append(min(kept))
        return max(known)


def _images_of(session: Session, study_uid: str) -> list[InstanceRow]:
    """The rows of a study's images, rejected ones too; what is no image is small, and stays."""
    of_study = select(InstanceRow).where(InstanceRow.study_uid == study_uid)
    ordered = of_study.order_by(InstanceRow.series_uid, InstanceRow.sop_instance_uid)
    return [row for row in session.scalars(ordered) if holds_images(row.sop_class_uid)]
