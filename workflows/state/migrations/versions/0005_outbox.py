"""Committed and seen again beside delivered; retractions; objects that are sent whatever becomes of their job."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _deliveries() -> list[sa.Column[Any]]:
    return [
        sa.Column("independent", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("perhaps_sent", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("resends", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("confirm_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirm_attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("confirm_reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
    ]


def _objects() -> list[sa.Column[Any]]:
    return [
        sa.Column("edition", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("series_uid", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("retract_code", sa.String(length=16), nullable=True),
        sa.Column("reviewed_by", sa.Text(), nullable=False, server_default=""),
    ]


def upgrade() -> None:
    for column in _deliveries():
        op.add_column("deliveries", column)
    op.create_index("ix_deliveries_confirm", "deliveries", ["confirm_at"], unique=False)
    for column in _objects():
        op.add_column("result_objects", column)
    op.add_column("jobs", sa.Column("edition", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("jobs", sa.Column("made", sa.JSON(), nullable=False, server_default="{}"))
    _tell_what_is_made()
    op.add_column("studies", sa.Column("attention", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "commitments",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("job_key", sa.String(length=64), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_commitments_job_key_jobs")),
        sa.PrimaryKeyConstraint("transaction_uid", name=op.f("pk_commitments")),
    )
    op.create_table(
        "retractions",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("told", sa.Text(), nullable=False, server_default=""),
        sa.Column("note_uid", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["sop_instance_uid"],
            ["result_objects.sop_instance_uid"],
            name=op.f("fk_retractions_sop_instance_uid_result_objects"),
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", "archive", name=op.f("pk_retractions")),
    )
    op.create_index("ix_retractions_due", "retractions", ["state", "wake_at"], unique=False)
    op.create_index("ix_retractions_study_uid", "retractions", ["study_uid"], unique=False)
    op.create_index("ix_retractions_note_uid", "retractions", ["note_uid"], unique=False)
    # What was to be retracted before this could be done; where it lies is known from its deliveries.
    op.execute("UPDATE result_objects SET retract_code = '113001' WHERE retract_at IS NOT NULL")
    for code, said in (("113037", "113037"), ("113038", "113038"), ("113037", "came again with another")):
        op.execute(f"UPDATE result_objects SET retract_code = '{code}' WHERE retract_reason LIKE '%{said}%'")
    op.execute(
        "INSERT INTO retractions"
        " (sop_instance_uid, archive, study_uid, code, reason, wanted_at, state, told, attempts, wake_at)"
        " SELECT d.sop_instance_uid, d.archive, j.study_uid, o.retract_code, o.retract_reason, o.retract_at, 'WANTED',"
        " '', 0,"
        " o.retract_at FROM deliveries d JOIN result_objects o ON o.sop_instance_uid = d.sop_instance_uid"
        " JOIN jobs j ON j.job_key = d.job_key WHERE o.retract_at IS NOT NULL AND d.state = 'DELIVERED'"
    )


def _tell_what_is_made() -> None:
    """Every profile had SEG and SR until now."""
    connection = op.get_bind()
    made: dict[str, dict[str, list[str]]] = {}
    for job_key, profile in connection.execute(sa.text("SELECT DISTINCT job_key, profile FROM result_objects")):
        if profile in ("air", "ohif"):
            made.setdefault(job_key, {})[profile] = ["SEG", "SR"]
    jobs = sa.table("jobs", sa.column("job_key", sa.String), sa.column("made", sa.JSON))
    for job_key, profiles in made.items():
        connection.execute(jobs.update().where(jobs.c.job_key == job_key).values(made=profiles))


def downgrade() -> None:
    # The version before knows no other kinds of objects, neither notes of its own nor what becomes of them.
    op.drop_table("retractions")
    op.drop_table("commitments")
    others = "SELECT sop_instance_uid FROM result_objects WHERE kind NOT IN ('SEG', 'SR')"
    op.execute(f"DELETE FROM deliveries WHERE independent OR sop_instance_uid IN ({others})")
    op.execute("DELETE FROM result_objects WHERE kind NOT IN ('SEG', 'SR')")
    op.drop_column("studies", "attention")
    op.drop_column("jobs", "made")
    op.drop_column("jobs", "edition")
    for column in reversed(_objects()):
        op.drop_column("result_objects", column.name)
    op.drop_index("ix_deliveries_confirm", table_name="deliveries")
    for column in reversed(_deliveries()):
        op.drop_column("deliveries", column.name)
