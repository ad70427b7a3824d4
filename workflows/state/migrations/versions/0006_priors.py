"""What the series of a job is and when it was taken, for later results to be compared with its answer.

A job that is there already has none: where its files are there, they say it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("series_kind", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "series_kind")
