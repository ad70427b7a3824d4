"""Which instances of a study are there, and which were lost: criteria and words that several transactions share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from workflows.state.rejections import rejected
from workflows.state.tables import InstanceRow

__all__ = ["THERE", "held", "instances_of"]

THERE = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
"""The criteria of an instance whose file is there."""


def held(study_uid: str, *, lost: bool = False) -> tuple[Any, ...]:
    """The instances of a study whose files are there, or those that were lost: they have a row, but no file.

    What a note rejects is neither: it is not read, so it is not missed. Nor is what retention removed.
    """
    there = (InstanceRow.lost_at.is_not(None),) if lost else THERE
    return InstanceRow.study_uid == study_uid, *there, ~rejected()


def instances_of(study_uid: str, *, lost: bool = False) -> Any:
    """A query for these rows, by series and instance."""
    order = (InstanceRow.series_uid, InstanceRow.sop_instance_uid)
    return select(InstanceRow).where(*held(study_uid, lost=lost)).order_by(*order)
