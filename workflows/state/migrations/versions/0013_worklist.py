"""The worklist's rows, and by when studies and jobs changed, so that what changed is found at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "worklist",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("stamp", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tab", sa.String(length=16), nullable=False),
        sa.Column("needs_attention", sa.Boolean(), nullable=False),
        sa.Column("overdue_at", moment, nullable=True),
        sa.Column("routine", sa.Integer(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("first_received_at", moment, nullable=False),
        sa.Column("reviewed_at", moment, nullable=True),
        sa.Column("answered_at", moment, nullable=True),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("review_state", sa.String(length=16), nullable=False),
        sa.Column("modalities", sa.String(length=256), nullable=False),
        sa.Column("protocols", sa.String(length=512), nullable=False),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_worklist")),
    )
    for name, columns in _INDEXES.items():
        op.create_index(name, "worklist", columns)
    op.create_index("ix_studies_changed_at", "studies", ["changed_at"])
    op.create_index("ix_jobs_changed_at", "jobs", ["changed_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_changed_at", "jobs")
    op.drop_index("ix_studies_changed_at", "studies")
    op.drop_table("worklist")


_INDEXES = {
    "ix_worklist_order": ["tab", "routine", "unchanged", "first_received_at", "study_uid"],
    "ix_worklist_reviewed_at": ["tab", "reviewed_at", "study_uid"],
    "ix_worklist_overdue_at": ["overdue_at"],
    "ix_worklist_counts": [
        "tab",
        "needs_attention",
        "overdue_at",
        "state",
        "routine",
        "unchanged",
        "first_received_at",
        "reviewer",
        "review_state",
        "modalities",
        "protocols",
    ],
}
