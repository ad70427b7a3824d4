"""Reviews of results: verdicts, corrected masks, proposed corrections, and who has a study open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reviews",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("verdicts", sa.JSON(), nullable=False),
        sa.Column("missed", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("signed_at", moment, nullable=True),
        sa.Column("write_at", moment, nullable=True),
        sa.Column("written_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_reviews_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", "number", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_due", "reviews", ["state", "write_at"])
    op.create_index("ix_reviews_changed_at", "reviews", ["changed_at"])
    op.create_index("ix_reviews_reviewer", "reviews", ["reviewer", "state"])
    op.create_table(
        "corrections",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("job_key", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=128), nullable=False),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("voxels", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("proposal", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_corrections_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", "digest", name=op.f("pk_corrections")),
    )
    op.create_table(
        "proposals",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("seg_uid", sa.String(length=64), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("job_key", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=True),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("matched_by", sa.Text(), nullable=False),
        sa.Column("correction", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_proposals_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", "seg_uid", "segment", name=op.f("pk_proposals")),
    )
    op.create_table(
        "openings",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_openings_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", "account", name=op.f("pk_openings")),
    )


def downgrade() -> None:
    for table in ("openings", "proposals", "corrections", "reviews"):
        op.drop_table(table)
