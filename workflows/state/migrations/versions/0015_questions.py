"""Questions that a person asks of a study: jobs beside those of the protocols, and what becomes of their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("jobs", sa.Column("question", sa.String(length=16), nullable=True))
    op.create_table(
        "questions",
        sa.Column("job_key", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("asked_by", sa.String(length=128), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_questions_job_key_jobs")),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_questions_study_uid_studies")),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_questions")),
    )
    op.create_index("ix_questions_study_uid", "questions", ["study_uid", "asked_at"])
    op.create_index("ix_questions_asked_by", "questions", ["asked_by", "asked_at"])


def downgrade() -> None:
    # The version before knows no question: it would take such a job for a protocol's, which the study waits for.
    op.execute("UPDATE jobs SET state = 'SUPERSEDED' WHERE question IS NOT NULL")
    op.drop_table("questions")
    op.drop_column("jobs", "question")
