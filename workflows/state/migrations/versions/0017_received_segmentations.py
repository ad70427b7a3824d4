"""Segmentations that came in, to be looked at as proposed corrections; what signing a review settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "received_segmentations",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("seg_uid", sa.String(length=64), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("wake_at", moment, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_uid"], ["studies.study_uid"], name=op.f("fk_received_segmentations_study_uid_studies")
        ),
        sa.PrimaryKeyConstraint("study_uid", "seg_uid", name=op.f("pk_received_segmentations")),
    )
    op.create_index("ix_received_segmentations_wake_at", "received_segmentations", ["wake_at"])
    with op.batch_alter_table("reviews") as table:
        table.add_column(sa.Column("settled", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("reviews") as table:
        table.alter_column("settled", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("reviews") as table:
        table.drop_column("settled")
    op.drop_table("received_segmentations")
