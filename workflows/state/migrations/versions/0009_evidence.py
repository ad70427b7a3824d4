"""Why a study counts as complete, what was announced of it, the bytes that were read, and the clock of the node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("studies", sa.Column("evidence", sa.Text(), nullable=False, server_default=""))
    op.add_column("studies", sa.Column("evidence_attempts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("evidence_for", _TIME, nullable=True))
    op.add_column("instances", sa.Column("read_digest", sa.String(length=64), nullable=True))
    op.add_column("instances", sa.Column("read_path", sa.Text(), nullable=True))
    op.create_table(
        "announcements",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.Column("announced_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("study_uid", "calling_ae_title", name=op.f("pk_announcements")),
    )
    op.create_table(
        "clock",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("looked_at", _TIME, nullable=True),
        sa.Column("shifted_at", _TIME, nullable=True),
        sa.Column("shift_s", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("shifted_by", sa.String(length=128), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_clock")),
    )


def downgrade() -> None:
    op.drop_table("clock")
    op.drop_table("announcements")
    op.drop_column("instances", "read_path")
    op.drop_column("instances", "read_digest")
    op.drop_column("studies", "evidence_for")
    op.drop_column("studies", "evidence_attempts")
    op.drop_column("studies", "evidence")
