"""Completion: which studies are quiet, why one counts as complete, and what may come after it was read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_node.headers.patient import changes
from dicom_node.identifiers import StudyUID
from workflows.state.columns import text_column
from workflows.state.held import held, instances_of
from workflows.state.missing import lost_reason, miss_removed, want_back
from workflows.state.records import NewInstance, QuietStudy
from workflows.state.rejections import rejected_instances
from workflows.state.retracting import add_attention, drop_attention
from workflows.state.retrying import TroubleKind
from workflows.state.states import StudyState
from workflows.state.tables import AnnouncementRow, InstanceRow, RecoveryRow, StudyRow
from workflows.state.transactions import Transactions, in_portions

__all__ = ["ANNOUNCED_QUIET_S", "Completion", "assumed", "comes_late", "displaced", "tell_late"]

ANNOUNCED_QUIET_S = 2.0
"""How long nothing more has to come of a study of which all that was announced is here."""
_NAMED = 3
_MOST_ANNOUNCED = 50_000
"""Instances of a study that are kept of announcements: as many as a query may answer."""
_FORGOTTEN = timedelta(days=7)
"""After so long an announcement of which nothing ever came is forgotten."""
_READ = frozenset({StudyState.DELIVERING, StudyState.DELIVERED})
_MISSING = "did not come"
_LATE = "were kept, not read"


class Completion(Transactions):
    """Transactions that find quiet studies and complete them."""

    def quiet_studies(self, oldest_waiting: datetime | None = None) -> list[QuietStudy]:
        """The studies that are RECEIVING and may be complete now, those that became quiet first first.

        `oldest_waiting`: when the oldest instance came that is acknowledged and has no row yet. It may be of any study,
        so none that became quiet after it is among them.
        """
        now = self._clock()
        due = StudyRow.wake_at <= now
        if oldest_waiting is not None:
            due &= StudyRow.wake_at < oldest_waiting
        announced = exists().where(AnnouncementRow.study_uid == StudyRow.study_uid)
        early = announced & (StudyRow.last_received_at <= now - timedelta(seconds=ANNOUNCED_QUIET_S))
        may_be = due if oldest_waiting is not None else or_(due, early)
        with self._reading() as session:
            chosen = select(StudyRow).where(StudyRow.state == StudyState.RECEIVING, may_be)
            rows = session.scalars(chosen.order_by(StudyRow.wake_at)).all()
            announcements = _announcements(session, [row.study_uid for row in rows])
            found = [_quiet(session, row, announcements[row.study_uid], now) for row in rows]
            waking = {row.study_uid: row.wake_at for row in rows}
        return [one for one in found if waking[one.study_uid] <= now or _all_announced(one)]

    def complete_quiet_studies(self, oldest_waiting: datetime | None = None) -> list[str]:
        """Complete the quiet studies without asking anybody; return their UIDs."""
        quiet = self.quiet_studies(oldest_waiting)
        return [one.study_uid for one in quiet if self.complete_study(one, assumed(one))]

    def complete_study(self, quiet: QuietStudy, evidence: str, attention: str = "") -> bool:
        """Mark a quiet study COMPLETE and keep why. False: something came in between, nothing is changed; or it FAILED.

        A study that lacks instances which were lost from the store becomes FAILED, and says so. `attention`: what a
        person has to know of what is missing.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, quiet.study_uid, with_for_update=True)
            if not _is_as(study, quiet) or study.last_received_at != quiet.last_received_at:
                return False
            study.defects = 0
            miss_removed(session, study, now)
            if lost := session.scalars(instances_of(study.study_uid, lost=True).limit(_NAMED)).all():
                study.reason = lost_reason(lost, self._count(session, *held(study.study_uid, lost=True)))
                self._set_study(study, StudyState.FAILED, now)
                study.failure = TroubleKind.LOST
                if session.get(RecoveryRow, study.study_uid) is None:
                    want_back(session, study.study_uid, now)
                return False
            drop_attention(study, _MISSING)
            if attention:
                add_attention(study, attention)
            study.evidence = evidence
            study.reason = f"{self._count(session, *held(study.study_uid))} instances; {evidence}"
            self._set_study(study, StudyState.COMPLETE, now)
            return True

    def wait_longer(self, quiet: QuietStudy, reason: str, wait_s: float) -> None:
        """A quiet study that is not to be completed yet: why, and when it is looked at again."""
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, quiet.study_uid, with_for_update=True)
            if not _is_as(study, quiet):
                return
            if study.evidence_for != study.last_received_at:
                study.evidence_attempts, study.evidence_for = 0, study.last_received_at
            study.evidence_attempts += 1
            study.reason, study.wake_at = reason, now + timedelta(seconds=wait_s)

    def announce(self, study_uid: str, calling_ae_title: str, sop_instance_uids: Collection[str]) -> None:
        """Keep which instances of a study a peer has announced, beside those that it announced before."""
        by = text_column(calling_ae_title, 16)
        try:
            self._announce(study_uid, by, sop_instance_uids)
        except IntegrityError:  # another process was quicker with the same peer's first announcement
            self._announce(study_uid, by, sop_instance_uids)

    def _announce(self, study_uid: str, by: str, sop_instance_uids: Collection[str]) -> None:
        now = self._clock()
        with self._writing() as session:
            session.get(StudyRow, study_uid, with_for_update=True)
            row = session.get(AnnouncementRow, (study_uid, by), with_for_update=True)
            if row is None:
                self._forget_announcements(session, now)
                row = AnnouncementRow(study_uid=study_uid, calling_ae_title=by, sop_instance_uids=[], announced_at=now)
                session.add(row)
            together = dict.fromkeys([*row.sop_instance_uids, *sorted(sop_instance_uids)])
            row.sop_instance_uids, row.announced_at = list(together)[:_MOST_ANNOUNCED], now

    @staticmethod
    def _forget_announcements(session: Session, now: datetime) -> None:
        unknown = ~exists().where(StudyRow.study_uid == AnnouncementRow.study_uid)
        old = select(AnnouncementRow).where(AnnouncementRow.announced_at < now - _FORGOTTEN, unknown)
        for row in session.scalars(old.limit(100)):
            session.delete(row)

    def next_due(self, after: datetime) -> datetime | None:
        """When the first study that is RECEIVING has been quiet long enough, of those that had not `after`."""
        receiving = (StudyRow.state == StudyState.RECEIVING, StudyRow.wake_at > after)
        with self._reading() as session:
            soonest = select(StudyRow.wake_at).where(*receiving).order_by(StudyRow.wake_at).limit(1)
            return session.scalars(soonest).first()

    def instances_here(self, study_uid: str) -> frozenset[str]:
        """The SOP Instance UIDs of a study that were received and not lost, or that a note takes out of use."""
        with self._reading() as session:
            return _here(session, study_uid)

    # --- The bytes that were read -------------------------------------------------------------------------------------

    def record_compared(self, study_uid: str, generation: int, same: Collection[str], others: Collection[str]) -> bool:
        """What planning found where other bytes came of instances that were read (SOP Instance UIDs).

        `same`: they hold the same, and stay known by the digest that was read. False: the study has moved on, nothing
        is changed; else the files at their `read_path` are needed no more.
        """
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is not StudyState.COMPLETE or study.generation != generation:
                return False
            for portion in in_portions(sorted({*same, *others})):
                chosen = (InstanceRow.study_uid == study_uid, InstanceRow.sop_instance_uid.in_(portion))
                for row in session.scalars(select(InstanceRow).where(*chosen, InstanceRow.read_path.is_not(None))):
                    row.read_path = None
                    if row.sop_instance_uid in others:
                        row.read_digest = None
            return True

    def add_reason(self, study_uid: str, generation: int, told: str) -> None:
        """Say more of why a study stands where it does, in this generation."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.generation == generation and study.state is not StudyState.RECEIVING and told not in study.reason:
                study.reason = "; ".join(filter(None, [study.reason, told]))


def assumed(quiet: QuietStudy, why: str = "") -> str:
    """The evidence of a study that nobody proves to be complete; `why`: what is known against it, or why not."""
    told = f"nothing new from {quiet.source_ae_title} for {round(quiet.quiet_s, 1):g} s"
    return f"assumed: {'; '.join(filter(None, [why, told]))}"


def _is_as(study: StudyRow, quiet: QuietStudy) -> bool:
    return study.state is StudyState.RECEIVING and study.generation == quiet.generation


def _all_announced(quiet: QuietStudy) -> bool:
    """Whether all that was announced is here, and nothing else: what came beside it may be of more that is to come."""
    named = {uid for uids in quiet.announced.values() for uid in uids}
    return bool(named) and named == quiet.here


def _announcements(session: Session, study_uids: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for portion in in_portions(study_uids):
        for row in session.scalars(select(AnnouncementRow).where(AnnouncementRow.study_uid.in_(portion))):
            found[row.study_uid][row.calling_ae_title] = tuple(row.sop_instance_uids)
    return found


def _quiet(session: Session, row: StudyRow, announced: dict[str, tuple[str, ...]], now: datetime) -> QuietStudy:
    return QuietStudy(
        study_uid=StudyUID(row.study_uid),
        generation=row.generation,
        source_ae_title=row.source_ae_title,
        last_received_at=row.last_received_at,
        quiet_s=(now - row.last_received_at).total_seconds(),
        attempts=row.evidence_attempts if row.evidence_for == row.last_received_at else 0,
        here=_here(session, row.study_uid) if announced else frozenset(),
        announced=announced,
    )


def _here(session: Session, study_uid: str) -> frozenset[str]:
    there = select(InstanceRow.sop_instance_uid).where(InstanceRow.study_uid == study_uid)
    rejected = (one.sop_instance_uid for one in rejected_instances(session, study_uid))
    return frozenset([*session.scalars(there.where(InstanceRow.lost_at.is_(None))), *rejected])


# --- What comes after a study was read --------------------------------------------------------------------------------


def comes_late(study: StudyRow, row: InstanceRow | None, new: NewInstance) -> bool:
    """Whether an image is only kept: its study was read, and the setting of its source wants late images kept.

    One that names another patient than before is never kept so: results that were made from it are wrong.
    """
    if not (new.keep_late and new.image and study.state in _READ):
        return False
    before = None if row is None else row.patient
    return before is None or new.patient is None or changes(before, new.patient) is None


def tell_late(session: Session, study: StudyRow) -> None:
    """Say how many images of a study wait for a person to have them read: those of a generation that is to come."""
    session.flush()
    later = (InstanceRow.study_uid == study.study_uid, InstanceRow.generation > study.generation)
    count = len(session.scalars(select(InstanceRow.sop_instance_uid).where(*later)).all())
    drop_attention(study, _LATE)
    told = f"{count} images came after it was read and {_LATE}"
    add_attention(study, f"{told}: `medseg-node reread --study {study.study_uid}` reads them")


def displaced(row: InstanceRow, new: NewInstance, study: StudyRow, *, late: bool) -> str | None:
    """The path of the file that new bytes of an instance replace, to be discarded; None: no file is to be.

    Bytes that jobs have read stay until the next plan has compared them with the new ones. To be called before the row
    is given the new ones, and after the study's generation was opened.
    """
    path = str(new.path)
    if new.digest == row.read_digest and row.read_path is not None:  # what was read has come back
        obsolete = {row.path, row.read_path} - {path}
        row.read_digest = row.read_path = None
        return next(iter(obsolete), None)
    if row.path == path:
        return None
    read = row.generation < study.generation or (late and row.generation == study.generation)
    there = row.lost_at is None and row.removed_at is None
    if not (new.image and read and there) or row.read_path is not None:
        return row.path
    row.read_digest, row.read_path = row.read_digest or row.digest, row.path
    return None
