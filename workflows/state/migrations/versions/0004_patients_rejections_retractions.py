"""Whom each instance names; notes that reject instances; studies read as they are; results to be retracted; frames.

An instance that is there already keeps no patient in its row: its study's next plan reads it from the file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PATIENT = ("patient_id_issuer", "patient_name", "patient_birth_date")


# Without Alembic's batches: they make a table anew, which SQLite refuses while others refer to its rows.


def upgrade() -> None:
    op.add_column("instances", sa.Column("patient_id", sa.String(length=64), nullable=True))
    for name in _PATIENT:
        op.add_column("instances", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("ix_instances_patient_id", "instances", ["patient_id", "study_uid"], unique=False)
    op.add_column("result_objects", sa.Column("retract_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("result_objects", sa.Column("retract_reason", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_result_objects_retract_at"), "result_objects", ["retract_at"], unique=False)
    op.add_column("jobs", sa.Column("frames", sa.String(length=16), nullable=False, server_default="middle"))
    op.add_column("jobs", sa.Column("notes", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "rejections",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("note_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", "sop_instance_uid", "note_uid", name=op.f("pk_rejections")),
    )
    op.create_table(
        "as_is_readings",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("wanted_by", sa.String(length=256), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_as_is_readings_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", "generation", name=op.f("pk_as_is_readings")),
    )


def downgrade() -> None:
    # The version before knows no HELD: such a study has failed, and its reason stays.
    op.execute("UPDATE studies SET state = 'FAILED' WHERE state = 'HELD'")
    op.drop_table("as_is_readings")
    op.drop_table("rejections")
    op.drop_index(op.f("ix_result_objects_retract_at"), table_name="result_objects")
    for name in ("frames", "notes"):
        op.drop_column("jobs", name)
    op.drop_column("result_objects", "retract_reason")
    op.drop_column("result_objects", "retract_at")
    op.drop_index("ix_instances_patient_id", table_name="instances")
    for name in (*_PATIENT, "patient_id"):
        op.drop_column("instances", name)
