"""Images that were removed on purpose, files that were damaged and are asked for or made again, purges, the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ADDED = (
    ("studies", "inputs_removed_at"),
    ("instances", "lost_reason"),
    ("instances", "removed_at"),
    ("result_objects", "damaged_at"),
    ("result_objects", "remakes"),
)


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("studies", sa.Column("inputs_removed_at", moment, nullable=True))
    op.add_column("instances", sa.Column("lost_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("instances", sa.Column("removed_at", moment, nullable=True))
    op.add_column("result_objects", sa.Column("damaged_at", moment, nullable=True))
    op.add_column("result_objects", sa.Column("remakes", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "recoveries",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_recoveries_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_recoveries")),
    )
    op.create_table(
        "purges",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("purged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_purges")),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )


def downgrade() -> None:
    # The version before knows no removed image: it would miss its file, and so it is lost.
    op.execute("UPDATE instances SET lost_at = removed_at WHERE removed_at IS NOT NULL AND lost_at IS NULL")
    for table in ("audit", "purges", "recoveries"):
        op.drop_table(table)
    for table, column in reversed(_ADDED):
        op.drop_column(table, column)
