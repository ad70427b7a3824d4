"""The clock: what is due stays as far away as it was when the wall clock jumps, or when nobody looked for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import ReviewState
from workflows.state.segmentation_tables import ReceivedSegmentationRow
from workflows.state.states import DeliveryState, JobState, RetractionState, StudyState
from workflows.state.tables import ClockRow, DeliveryRow, JobRow, RecoveryRow, RetractionRow, StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Clocks", "Jump", "Resumed"]

_SAME_JUMP = timedelta(seconds=5)
"""Two schedulers measure the same jump this much apart, and another that is smaller is none."""
_BOTH_SEE_IT = timedelta(seconds=60)
_SEEN_EARLIER = timedelta(seconds=5)
_WAITING_JOBS = (JobState.PLANNED, JobState.PREDICTING, JobState.DELIVERING)
_DUE: tuple[tuple[Any, tuple[InstrumentedAttribute[Any], ...], Any], ...] = (
    (
        JobRow,
        (JobRow.lease_until, JobRow.wake_at, JobRow.ready_at, JobRow.turn_at, JobRow.useful_until),
        JobRow.state.in_(_WAITING_JOBS),
    ),
    (
        DeliveryRow,
        (DeliveryRow.lease_until, DeliveryRow.wake_at, DeliveryRow.confirm_at),
        or_(DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.confirm_at.is_not(None)),
    ),
    (RetractionRow, (RetractionRow.wake_at,), RetractionRow.state == RetractionState.WANTED),
    (RecoveryRow, (RecoveryRow.wake_at,), RecoveryRow.wake_at.is_not(None)),
    (ReviewRow, (ReviewRow.lease_until, ReviewRow.write_at), ReviewRow.state == ReviewState.SIGNED),
    (ReceivedSegmentationRow, (ReceivedSegmentationRow.wake_at,), ReceivedSegmentationRow.wake_at.is_not(None)),
)
"""Tables, which of their columns say when something is due, and the rows of which that matters."""


@dataclass(frozen=True)
class Jump:
    """A jump of the wall clock. `by`: later than what it replaces, or earlier. `ago_s`: at most so long ago, in s."""

    by: timedelta
    ago_s: float = 0.0


@dataclass(frozen=True)
class Resumed:
    """What a scheduler found at its start. `down_s`: how long nobody had looked; None: not known.

    `waits`: studies that have a whole quiet period again. `jumped`: how far the clock had gone back meanwhile.
    """

    down_s: float | None
    waits: int = 0
    jumped: timedelta = timedelta(0)


class Clocks(Transactions):
    """Transactions about time itself. One scheduler is the rule; a second one that sees the same jump changes nothing.

    `scheduler` names who asks, such as HOST:PID.
    """

    def resume(
        self,
        quiet_period_s: Callable[[str], float],
        scheduler: str,
        *,
        lease_s: float = 120.0,
        down_after_s: float = 15.0,
    ) -> Resumed:
        """Take up the work of a node that was perhaps down, once, at the start of a scheduler.

        While it was down senders may have waited: a study that was being received has a whole quiet period again. A
        break of at most `down_after_s`, in which a role is started again, changes nothing. Nothing waits for longer
        than a quiet period. A clock that has gone back behind the last look has jumped.
        """
        now = self._clock()
        with self._writing() as session:
            clock = _clock(session)
            before, jumped = clock.looked_at, timedelta(0)
            if before is not None and before - now > _SAME_JUMP:
                jumped = now - before
                self._shift(session, clock, Jump(jumped), scheduler, lease_s, now)
            down = before is None or bool(jumped) or now - before > timedelta(seconds=down_after_s)
            studies = session.scalars(_receiving()).all()
            for study in studies:
                latest = now + timedelta(seconds=quiet_period_s(study.source_ae_title))
                study.wake_at = latest if down else min(study.wake_at, latest)
            clock.looked_at = now
            known = before is not None and not jumped
            down_s = (now - before).total_seconds() if before is not None and known else None
            return Resumed(down_s, len(studies) if down else 0, jumped)

    def wait_anew(self, quiet_period_s: Callable[[str], float]) -> None:
        """The port was closed and is open: what is being received has a whole quiet period again, for its senders."""
        now = self._clock()
        with self._writing() as session:
            for study in session.scalars(_receiving()):
                latest = now + timedelta(seconds=quiet_period_s(study.source_ae_title))
                study.wake_at = max(study.wake_at, latest)

    def note_look(self) -> None:
        """A scheduler is at work now."""
        with self._writing() as session:
            _clock(session).looked_at = self._clock()

    def shift_clock(self, jump: Jump, scheduler: str, *, lease_s: float = 120.0) -> bool:
        """Move all that is due by a jump of the clock, in one transaction; False: another scheduler has done so.

        What was written since the jump is right already and stays: an instance that came since, and a lease or a wait
        of at most `lease_s` from now. So a dead worker's lease ends when it would have, and a live one's stands.
        """
        now = self._clock()
        with self._writing() as session:
            clock = _clock(session)
            same = abs(jump.by - timedelta(seconds=clock.shift_s)) < _SAME_JUMP
            recently = clock.shifted_at is not None and abs(now - clock.shifted_at) < _BOTH_SEE_IT
            if same and recently and clock.shifted_by != scheduler[:128]:
                return False
            self._shift(session, clock, jump, scheduler, lease_s, now)
            clock.looked_at = now
            return True

    @staticmethod
    def _shift(session: Session, clock: ClockRow, jump: Jump, scheduler: str, lease_s: float, now: datetime) -> None:
        # Another process, or another machine, may have seen the jump a little earlier.
        since = now - timedelta(seconds=jump.ago_s) - min(_SEEN_EARLIER, abs(jump.by) / 2)
        for study in _locked_studies(session):
            if study.state is StudyState.RECEIVING and not since <= study.last_received_at <= now:
                if study.evidence_for == study.last_received_at:
                    study.evidence_for = study.last_received_at + jump.by
                study.last_received_at += jump.by
                study.wake_at += jump.by
            elif study.state is StudyState.COMPLETE:  # it was put off by a scheduler, so before the jump
                study.wake_at += jump.by
        latest = now + timedelta(seconds=lease_s)
        for table, columns, waiting in _DUE:
            for row in session.scalars(select(table).where(waiting)):
                for column in columns:
                    due = getattr(row, column.key)
                    if due is not None and not since <= due <= latest:
                        setattr(row, column.key, due + jump.by)
            session.flush()
        clock.shifted_at, clock.shift_s, clock.shifted_by = now, round(jump.by.total_seconds()), scheduler[:128]


def _clock(session: Session) -> ClockRow:
    """The one row, locked, made where it is missing."""
    row = session.get(ClockRow, 1, with_for_update=True)
    if row is None:
        try:
            with session.begin_nested():
                session.add(ClockRow(number=1, shift_s=0, shifted_by=""))
        except IntegrityError:  # another scheduler was quicker
            pass
        row = session.get_one(ClockRow, 1, with_for_update=True)
    return row


def _receiving() -> Any:
    """The studies that are being received, locked in the order of their UIDs."""
    rows = select(StudyRow).where(StudyRow.state == StudyState.RECEIVING)
    return rows.order_by(StudyRow.study_uid).with_for_update()


def _locked_studies(session: Session) -> Iterator[StudyRow]:
    """Every study that waits for something itself or by a job, locked in the order of their UIDs.

    Whoever changes a job locks its study first; so nobody waits in a circle.
    """
    by_job = select(JobRow.study_uid).where(JobRow.state.in_(_WAITING_JOBS))
    waiting = or_(StudyRow.state.in_([StudyState.RECEIVING, StudyState.COMPLETE]), StudyRow.study_uid.in_(by_job))
    rows = select(StudyRow).where(waiting).order_by(StudyRow.study_uid).with_for_update()
    yield from session.scalars(rows).all()
