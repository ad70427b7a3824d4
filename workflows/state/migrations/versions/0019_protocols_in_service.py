"""Protocols in service: every version that was, the set that is, and the digest that a job was planned with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "protocol_versions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("contents", sa.LargeBinary(), nullable=False),
        sa.Column("first_used_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_protocol_versions")),
    )
    op.create_index("ix_protocol_versions_name", "protocol_versions", ["name", "version"])
    in_service = op.create_table(
        "protocols_in_service",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("taken_at", moment, nullable=True),
        sa.Column("refused_digest", sa.String(length=64), nullable=False),
        sa.Column("refused_at", moment, nullable=True),
        sa.Column("mistakes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_protocols_in_service")),
    )
    nothing: dict[str, object] = {"digest": "", "files": {}, "taken_at": None}
    nothing |= {"refused_digest": "", "refused_at": None, "mistakes": []}
    op.bulk_insert(in_service, [{"number": 1, **nothing}])
    op.add_column("jobs", sa.Column("protocol_digest", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("jobs", "protocol_digest")
    op.drop_table("protocols_in_service")
    op.drop_table("protocol_versions")
