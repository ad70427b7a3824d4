"""Instances without a file: lost ones are missed and asked for again, removed ones are not. Within a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from workflows.state.records import NewInstance
from workflows.state.rejections import rejected
from workflows.state.tables import InstanceRow, RecoveryRow, StudyRow

__all__ = ["back_in_store", "lost_reason", "miss_removed", "removed_of", "want_back"]


def back_in_store(study: StudyRow, row: InstanceRow, new: NewInstance, now: datetime) -> None:
    """An instance that retention had removed came again, the same bytes: it is there once more, and starts nothing.

    A person who sends a study again for a `reread` gets it so; how long it is kept counts from now.
    """
    row.path, row.bytes, row.received_at, row.removed_at = str(new.path), new.bytes, now, None
    study.last_received_at, study.inputs_removed_at = now, None


def removed_of(study_uid: str) -> tuple[Any, ...]:
    """The criteria of a study's instances whose files retention removed, but for those that a note rejects."""
    return InstanceRow.study_uid == study_uid, InstanceRow.removed_at.is_not(None), ~rejected()


def miss_removed(session: Session, study: StudyRow, now: datetime) -> None:
    """A study that is to be read lacks what retention removed of it: that is missed now, as if it were lost."""
    removed = session.scalars(select(InstanceRow).where(*removed_of(study.study_uid))).all()
    for row in removed:
        when = row.removed_at or now
        row.lost_at, row.lost_reason = now, f"removed by retention on {when.date().isoformat()}"
        row.removed_at = None
    if removed:
        study.inputs_removed_at = None
        session.flush()
        want_back(session, study.study_uid, now)


def want_back(session: Session, study_uid: str, now: datetime) -> None:
    """Have a study looked after soon: what is missing of it is asked for again."""
    row = session.get(RecoveryRow, study_uid)
    if row is None:
        session.add(RecoveryRow(study_uid=study_uid, wake_at=now, attempts=0, told=""))
    else:
        again = update(RecoveryRow).where(RecoveryRow.study_uid == study_uid)
        session.execute(again.values(wake_at=now, attempts=0, told=""))


def lost_reason(lost: Sequence[InstanceRow], count: int) -> str:
    """What a study lacks, some of it by name, and the remedy. `count`: of all that it lacks."""
    named = ", ".join(f"{row.sop_instance_uid}{f' ({row.lost_reason})' if row.lost_reason else ''}" for row in lost)
    more = f" and {count - len(lost)} more" if count > len(lost) else ""
    return f"lost from the store after they were received: {named}{more}; send the study again"
