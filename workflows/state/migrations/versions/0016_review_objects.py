"""Result objects that a review made, what it replaces, and who is writing a review."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("result_objects", sa.Column("review", sa.Integer(), nullable=True)),
    ("result_objects", sa.Column("replaced_by", sa.Integer(), nullable=True)),
    ("reviews", sa.Column("lease_owner", sa.String(length=128), nullable=True)),
    ("reviews", sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True)),
    ("reviews", sa.Column("results", sa.JSON(), nullable=False, server_default="{}")),
)


def upgrade() -> None:
    for table, column in _COLUMNS:
        op.add_column(table, column)


def downgrade() -> None:
    others = "SELECT sop_instance_uid FROM result_objects WHERE review IS NOT NULL"
    for table in ("retractions", "deliveries", "result_objects"):
        op.execute(f"DELETE FROM {table} WHERE sop_instance_uid IN ({others})")
    for table, column in reversed(_COLUMNS):
        op.drop_column(table, column.name)
