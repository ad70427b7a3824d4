"""The audit as a hash chain with its end, and what its receiver has; written reviews, ready to be counted.

Rows of the audit that are there are numbered from 1 and chained.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ADDED = ("outcome", "address", "study_uid", "details", "previous", "digest")
_INDICES = {
    "ix_audit_at": ["at"],
    "ix_audit_who": ["who", "number"],
    "ix_audit_action": ["action", "number"],
    "ix_audit_study_uid": ["study_uid", "number"],
}
_NO_DIGEST = "0" * 64
_AUDIT = sa.table(
    "audit",
    sa.column("number", sa.Integer()),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("who", sa.String()),
    sa.column("action", sa.String()),
    sa.column("subject", sa.Text()),
    sa.column("counts", sa.JSON()),
    sa.column("study_uid", sa.String()),
    sa.column("previous", sa.String()),
    sa.column("digest", sa.String()),
)


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("audit", sa.Column("outcome", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("audit", sa.Column("address", sa.String(length=256), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("study_uid", sa.String(length=64), nullable=True))
    op.add_column("audit", sa.Column("details", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("audit", sa.Column("previous", sa.String(length=64), nullable=False, server_default=_NO_DIGEST))
    op.add_column("audit", sa.Column("digest", sa.String(length=64), nullable=False, server_default=_NO_DIGEST))
    for name, columns in _INDICES.items():
        op.create_index(name, "audit", columns)
    op.create_table(
        "audit_head",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_receiver",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("tried_at", moment, nullable=True),
        sa.Column("sent_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_receiver")),
    )
    _agreement()
    count, digest = _chain(op.get_bind())
    op.execute(f"INSERT INTO audit_head (number, count, digest) VALUES (1, {count}, '{digest}')")


def _agreement() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "agreement_reviews",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("counted_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_uid"], ["studies.study_uid"], name=op.f("fk_agreement_reviews_study_uid_studies")
        ),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_agreement_reviews")),
    )
    op.create_table(
        "agreement",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sa.Column("question", sa.String(length=512), nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("protocol", sa.String(length=192), nullable=False),
        sa.Column("weights", sa.String(length=256), nullable=False),
        sa.Column("scanner", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("dice", sa.Double(), nullable=True),
        sa.Column("before_ml", sa.Double(), nullable=True),
        sa.Column("after_ml", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name=op.f("fk_agreement_study_uid_studies")),
        sa.PrimaryKeyConstraint("study_uid", "ordinal", name=op.f("pk_agreement")),
    )
    op.create_index("ix_agreement_written_at", "agreement", ["written_at"])


def _chain(connection: sa.Connection) -> tuple[int, str]:
    """Number the rows from 1 in their order, chain them, and return the chain's end."""
    count, digest = 0, _NO_DIGEST
    for row in connection.execute(sa.select(_AUDIT).order_by(_AUDIT.c.number)).mappings().all():
        count, previous = count + 1, digest
        study_uid = row["subject"] if re.fullmatch(r"(?=.{3,64}$)[0-9]+(\.[0-9]+)+", row["subject"]) else None
        digest = _digest(previous, count, study_uid, row)
        values = {"number": count, "study_uid": study_uid, "previous": previous, "digest": digest}
        connection.execute(sa.update(_AUDIT).where(_AUDIT.c.number == row["number"]).values(**values))
    return count, digest


def _digest(previous: str, number: int, study_uid: str | None, row: Any) -> str:
    # As workflows/state/audit_chain.py has it; written out, since a migration stays as it is.
    at: datetime = row["at"]
    values = {
        "number": number,
        "at": (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat(timespec="microseconds"),
        "who": row["who"],
        "action": row["action"],
        "subject": row["subject"],
        "counts": row["counts"],
        "outcome": 0,
        "address": "",
        "study_uid": study_uid,
        "details": {},
    }
    content = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}\n{content}".encode()).hexdigest()


def downgrade() -> None:
    for table in ("agreement", "agreement_reviews", "audit_receiver", "audit_head"):
        op.drop_table(table)
    for name in _INDICES:
        op.drop_index(name, "audit")
    for column in reversed(_ADDED):
        op.drop_column("audit", column)
