"""Headers of every study that was planned: what rules may ask, kept when its images are gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "kept_headers",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kept", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("planned_at", moment, nullable=False),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_kept_headers_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_kept_headers")),
    )


def downgrade() -> None:
    op.drop_table("kept_headers")
