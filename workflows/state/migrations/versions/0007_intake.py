"""Sizes of instances of 2 GiB and more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _bytes(sa.Integer(), sa.BigInteger())


def downgrade() -> None:
    _bytes(sa.BigInteger(), sa.Integer())


def _bytes(before: sa.types.TypeEngine[int], after: sa.types.TypeEngine[int]) -> None:
    if op.get_bind().dialect.name != "sqlite":  # whose integers have 64 bits
        op.alter_column("instances", "bytes", existing_type=before, type_=after, existing_nullable=False)
