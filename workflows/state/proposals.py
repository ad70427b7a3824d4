"""Proposed corrections: segmentations of other sources that came in, what they propose, and what a reviewer decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import String, cast, select, update
from sqlalchemy.orm import Session

from dicom_node.identifiers import SOPInstanceUID, StudyUID
from workflows.errors import ReviewRefused
from workflows.state.audit import add_audit
from workflows.state.retracting import add_attention
from workflows.state.review_checks import StaleResults, check_content, current_review, subject_of
from workflows.state.review_tables import CorrectionRow, ProposalRow, ReviewRow
from workflows.state.reviewing import (
    Correction,
    FindingVerdict,
    Missed,
    Proposal,
    ProposalState,
    Review,
    ReviewState,
    VerdictKind,
)
from workflows.state.reviews import Reviewer, Reviews, Version
from workflows.state.segmentation_tables import ReceivedSegmentationRow
from workflows.state.tables import JobRow, StudyRow
from workflows.state.transactions import changed_one

__all__ = ["Outcome", "Proposals", "ReceivedSegmentation", "TrackedFinding"]

_LEASE = timedelta(seconds=300)
_CONFIRMED = "corrected in another viewer"


@dataclass(frozen=True)
class ReceivedSegmentation:
    """A SEG of another source that is to be looked at. `attempts`: how often that was begun."""

    study_uid: StudyUID
    sop_instance_uid: SOPInstanceUID
    received_at: datetime
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """What came of looking at a SEG. `told`: in a sentence. `attention`: why a person has to look at the study, or "".

    `refused`: the studies whose findings it claims and is not of; they are told too, and the audit.
    """

    told: str
    proposals: tuple[tuple[Proposal, Correction], ...] = ()
    attention: str = ""
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrackedFinding:
    """A finding of ours that a tracking UID names."""

    study_uid: StudyUID
    job_key: str
    tracking_uid: str


class Proposals(Reviews):
    """Transactions of proposed corrections."""

    # --- What came in -------------------------------------------------------------------------------------------------

    def note_segmentation(self, study_uid: str, sop_instance_uid: str, *, anew: bool) -> None:
        """Have a SEG of another source looked at. `anew`: its bytes are new; else only if that was never noted."""
        now = self._clock()
        with self._writing() as session:
            _locked(session, study_uid)
            row = session.get(ReceivedSegmentationRow, (study_uid, sop_instance_uid))
            if row is None:
                session.add(
                    ReceivedSegmentationRow(
                        study_uid=study_uid, seg_uid=sop_instance_uid, received_at=now, wake_at=now, attempts=0, told=""
                    )
                )
            elif anew:
                row.received_at, row.wake_at, row.attempts, row.told = now, now, 0, ""

    def claim_segmentation(self) -> ReceivedSegmentation | None:
        """The SEG that has waited longest; nobody else is told of it for some minutes. None: nothing is due."""
        now = self._clock()
        with self._reading() as session:
            chosen = select(ReceivedSegmentationRow).where(ReceivedSegmentationRow.wake_at <= now)
            rows = session.scalars(chosen.order_by(ReceivedSegmentationRow.wake_at).limit(8)).all()
        for row in rows:
            same = (
                ReceivedSegmentationRow.study_uid == row.study_uid,
                ReceivedSegmentationRow.seg_uid == row.seg_uid,
                ReceivedSegmentationRow.wake_at == row.wake_at,
            )
            attempts = row.attempts + 1
            with self._writing() as session:
                mine = update(ReceivedSegmentationRow).where(*same).values(wake_at=now + _LEASE, attempts=attempts)
                if changed_one(session.execute(mine)):
                    uids = StudyUID(row.study_uid), SOPInstanceUID(row.seg_uid)
                    return ReceivedSegmentation(*uids, row.received_at, attempts)
        return None

    def put_off_segmentation(self, segmentation: ReceivedSegmentation, told: str, delay_s: float) -> None:
        """Look at a SEG later, and say why."""
        wake_at = self._clock() + timedelta(seconds=delay_s)
        with self._writing() as session:
            row = session.get(ReceivedSegmentationRow, (segmentation.study_uid, segmentation.sop_instance_uid))
            if row is not None:
                row.wake_at, row.told = wake_at, told

    def settle_segmentation(self, segmentation: ReceivedSegmentation, outcome: Outcome) -> None:
        """Record what came of looking at a SEG: its proposals, or why there are none. What was decided stays.

        Nothing happens where the study or the SEG is gone meanwhile.
        """
        now = self._clock()
        key = (segmentation.study_uid, segmentation.sop_instance_uid)
        with self._writing() as session:
            for other in sorted({*outcome.refused, segmentation.study_uid}):  # always in this order
                session.get(StudyRow, other, with_for_update=True)
            study, row = session.get(StudyRow, key[0]), session.get(ReceivedSegmentationRow, key)
            if study is None or row is None:
                return
            row.wake_at, row.told = None, outcome.told
            _replace_proposals(session, key, outcome.proposals)
            if outcome.attention:
                add_attention(study, outcome.attention.replace("; ", ", "))
            for other in outcome.refused:
                claimed = session.get(StudyRow, other)
                if claimed is not None and other != study.study_uid:
                    add_attention(claimed, "a SEG of another study claims a finding of this one: it was not applied")
                add_audit(session, now, "node", "correction-refused", other)

    def segmentations_told(self, study_uid: str) -> dict[str, str]:
        """What was said of each SEG that came in for a study, by SOP Instance UID; "" where it is still to be seen."""
        with self._reading() as session:
            chosen = select(ReceivedSegmentationRow).where(ReceivedSegmentationRow.study_uid == study_uid)
            rows = session.scalars(chosen.order_by(ReceivedSegmentationRow.received_at))
            return {row.seg_uid: row.told for row in rows}

    def tracked_findings(self, tracking_uids: Sequence[str]) -> list[TrackedFinding]:
        """The findings of ours, of whatever study, that carry one of some tracking UIDs."""
        found = []
        with self._reading() as session:
            for uid in dict.fromkeys(tracking_uids):
                holds = cast(JobRow.answers, String).contains(f'"{uid}"', autoescape=True)
                for row in session.execute(select(JobRow.study_uid, JobRow.job_key).where(holds)).all():
                    found.append(TrackedFinding(StudyUID(row.study_uid), row.job_key, uid))
        return found

    # --- Decisions ----------------------------------------------------------------------------------------------------

    def proposals(self, study_uid: str) -> list[Proposal]:
        """What is or was proposed for a study, the oldest first."""
        with self._reading() as session:
            chosen = select(ProposalRow).where(ProposalRow.study_uid == study_uid)
            ordered = chosen.order_by(ProposalRow.received_at, ProposalRow.seg_uid, ProposalRow.segment)
            return [row.record() for row in session.scalars(ordered)]

    def confirm_proposal(
        self, study_uid: str, segment: tuple[str, int], reviewer: Reviewer, base: Version | None, missed: Missed | None
    ) -> Review:
        """A reviewer takes a proposed correction into the own draft: as the right outline, or as what was missed.

        `segment`: SOP Instance UID of the SEG and number of the segment. `missed`: where what is proposed lies, of a
        proposal for no finding of ours. Raises as `save_review`.
        """
        now = self._clock()
        with self._writing() as session:
            study = _locked(session, study_uid)
            row = _proposal(session, study_uid, *segment)
            subject = subject_of(session, study)
            if subject.job(row.job_key) is None:
                raise StaleResults("the study was read again: the correction is matched with the new results first")
            draft = self._own_draft(session, study, reviewer, base)
            review, proposal = draft.record(), row.record()
            row.state, row.decided_by, row.decided_at = ProposalState.CONFIRMED, reviewer.account[:128], now
            session.flush()
            verdicts, misses = list(review.verdicts), list(review.missed)
            if proposal.place is not None:
                outline = FindingVerdict(proposal.place, VerdictKind.OUTLINE, _CONFIRMED, None, proposal.correction)
                verdicts = [one for one in verdicts if one.place != proposal.place] + [outline]
            elif missed is not None:
                misses = [one for one in misses if one.correction != proposal.correction] + [missed]
            else:
                raise ReviewRefused("say where what is proposed lies")
            check_content(session, study_uid, subject, verdicts, misses)
            _set_content(draft, verdicts, misses, now)
            add_audit(session, now, reviewer.account, "confirm-correction", study_uid)
            return draft.record()

    def dismiss_proposal(self, study_uid: str, segment: tuple[str, int], reviewer: Reviewer) -> Review | None:
        """A reviewer does not want a proposed correction; an own draft that has it loses it.

        Raises as `save_review`.
        """
        now = self._clock()
        with self._writing() as session:
            _locked(session, study_uid)
            row = _proposal(session, study_uid, *segment)
            review_row = current_review(session, study_uid)
            if review_row is not None:
                _without(review_row, row.correction, reviewer, now)
            row.state, row.decided_by, row.decided_at = ProposalState.DISMISSED, reviewer.account[:128], now
            add_audit(session, now, reviewer.account, "dismiss-correction", study_uid)
            return None if review_row is None else review_row.record()


def _without(row: ReviewRow, digest: str, reviewer: Reviewer, now: datetime) -> None:
    """Take a correction out of a draft. Raises ReviewRefused where that is not the reviewer's to do."""
    review = row.record()
    used = [one.correction for one in review.verdicts] + [one.correction for one in review.missed]
    if digest not in used:
        return
    if row.state is not ReviewState.DRAFT:
        raise ReviewRefused("the correction is part of a signed review: undo that first, or review the study again")
    if row.reviewer != reviewer.account[:128]:
        raise ReviewRefused("the correction is part of another person's draft: take that over first")
    verdicts = [one for one in review.verdicts if one.correction != digest]
    _set_content(row, verdicts, [one for one in review.missed if one.correction != digest], now)


def _set_content(row: ReviewRow, verdicts: Sequence[FindingVerdict], missed: Sequence[Missed], now: datetime) -> None:
    row.say(verdicts, missed, row.record().words)
    row.version, row.changed_at = row.version + 1, now


def _locked(session: Session, study_uid: str) -> StudyRow:
    study = session.get(StudyRow, study_uid, with_for_update=True)
    if study is None:
        raise LookupError("this study is not known here any more: it was deleted")
    return study


def _proposal(session: Session, study_uid: str, seg_uid: str, segment: int) -> ProposalRow:
    row = session.get(ProposalRow, (study_uid, seg_uid, segment))
    if row is None:
        raise LookupError("nothing is proposed under this address any more: load the page again")
    return row


def _replace_proposals(session: Session, key: tuple[str, str], wanted: Sequence[tuple[Proposal, Correction]]) -> None:
    """The proposals of a SEG as they are now; those that were decided stay as they are."""
    of_seg = (ProposalRow.study_uid == key[0], ProposalRow.seg_uid == key[1])
    rows = {row.segment: row for row in session.scalars(select(ProposalRow).where(*of_seg))}
    for row in rows.values():
        if row.state is ProposalState.PROPOSED:
            session.delete(row)
    session.flush()
    for proposal, correction in wanted:
        decided = rows.get(proposal.segment)
        if decided is not None and decided.state is not ProposalState.PROPOSED:
            continue
        _add_correction(session, correction)
        session.add(
            ProposalRow(
                study_uid=key[0],
                seg_uid=key[1],
                segment=proposal.segment,
                job_key=proposal.job_key,
                part=proposal.part,
                place=None if proposal.place is None else proposal.place.text,
                label=proposal.label,
                author=proposal.author,
                matched_by=proposal.matched_by,
                correction=proposal.correction,
                state=ProposalState.PROPOSED,
                received_at=proposal.received_at,
                decided_by="",
            )
        )


def _add_correction(session: Session, correction: Correction) -> None:
    if session.get(CorrectionRow, (correction.study_uid, correction.digest)) is not None:
        return
    session.add(
        CorrectionRow(
            study_uid=correction.study_uid,
            digest=correction.digest,
            job_key=correction.job_key,
            part=correction.part,
            path=str(correction.path),
            made_by=correction.made_by[:128],
            made_at=correction.made_at,
            voxels=correction.voxels,
            proposal=correction.proposal,
        )
    )
    session.flush()
