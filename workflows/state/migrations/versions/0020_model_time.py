"""How long the model took for the answers of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("model_s", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "model_s")
