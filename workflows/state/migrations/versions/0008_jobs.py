"""Priorities, when a job may be taken up and until when it is of use, as what work failed, and what was before."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_EPOCH = "1970-01-01 00:00:00.000000"


def _jobs() -> list[sa.Column[Any]]:
    moment = sa.DateTime(timezone=True)
    return [
        sa.Column("priority", sa.String(length=16), nullable=False, server_default="routine"),
        sa.Column("turn_at", moment, nullable=False, server_default=_EPOCH),
        sa.Column("ready_at", moment, nullable=False, server_default=_EPOCH),
        sa.Column("useful_until", moment, nullable=True),
        sa.Column("waits", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failure", sa.String(length=16), nullable=True),
        sa.Column("history", sa.JSON(), nullable=False, server_default="[]"),
    ]


def _studies() -> list[sa.Column[Any]]:
    return [
        sa.Column("failure", sa.String(length=16), nullable=True),
        sa.Column("restarted_at", sa.DateTime(timezone=True), nullable=True),
    ]


def upgrade() -> None:
    for column in _jobs():
        op.add_column("jobs", column)
    op.execute("UPDATE jobs SET turn_at = created_at, ready_at = wake_at")
    op.create_index("ix_jobs_turn", "jobs", ["state", "turn_at", "ready_at", "generation", "study_uid"], unique=False)
    op.create_index("ix_jobs_useful", "jobs", ["state", "useful_until"], unique=False)
    for column in _studies():
        op.add_column("studies", column)


def downgrade() -> None:
    # The version before knows neither CANCELLED nor other troubles than its own; a failed job keeps its reason.
    op.execute("UPDATE jobs SET state = 'FAILED' WHERE state = 'CANCELLED'")
    op.execute("UPDATE jobs SET troubles = '[]' WHERE CAST(troubles AS TEXT) LIKE '%\"deadline\"%'")
    op.execute("UPDATE jobs SET troubles = '[]' WHERE CAST(troubles AS TEXT) LIKE '%\"memory\"%'")
    for column in reversed(_studies()):
        op.drop_column("studies", column.name)
    op.drop_index("ix_jobs_useful", table_name="jobs")
    op.drop_index("ix_jobs_turn", table_name="jobs")
    for column in reversed(_jobs()):
        op.drop_column("jobs", column.name)
