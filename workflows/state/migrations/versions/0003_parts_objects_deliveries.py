"""Keys by level, parts, result objects apart from deliveries, the node's identity, paths relative to the data folder.

What version 0.1 kept stays: its studies, jobs and answers, and its deliveries, those that are pending too. A job of 0.1
gets the request and answer key that a plan of today would give it, so that a later instance of its study does not make
it be read again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_QUIET = timedelta(seconds=60)

_studies = sa.table(
    "studies",
    sa.column("study_uid", sa.String),
    sa.column("state", sa.String),
    sa.column("last_received_at", sa.DateTime(timezone=True)),
    sa.column("wake_at", sa.DateTime(timezone=True)),
)
_jobs = sa.table(
    "jobs",
    *(sa.column(name, sa.String) for name in ("job_key", "study_uid", "series_uid", "protocol", "protocol_version")),
    *(sa.column(name, sa.String) for name in ("profile", "request_key", "answer_key", "state")),
    *(sa.column(name, sa.JSON) for name in ("questions", "inputs", "model", "destinations")),
)
_deliveries = sa.table(
    "deliveries",
    *(sa.column(name, sa.String) for name in ("sop_instance_uid", "job_key", "kind", "sop_class_uid", "path")),
    *(sa.column(name, sa.String) for name in ("digest", "archive", "state", "reason")),
    *(sa.column(name, sa.Integer) for name in ("ordinal", "attempts")),
    sa.column("delivered_at", sa.DateTime(timezone=True)),
)
_deliveries_now = sa.table(
    "deliveries",
    *(sa.column(name, sa.String) for name in ("sop_instance_uid", "archive", "job_key", "state", "reason")),
    sa.column("attempts", sa.Integer),
    *(sa.column(name, sa.DateTime(timezone=True)) for name in ("delivered_at", "wake_at")),
)
_objects = sa.table(
    "result_objects",
    *(sa.column(name, sa.String) for name in ("sop_instance_uid", "job_key", "kind", "profile", "sop_class_uid")),
    *(sa.column(name, sa.String) for name in ("path", "digest")),
    sa.column("ordinal", sa.Integer),
    sa.column("object_references", sa.JSON),
)


# Without Alembic's batches: they make a table anew, which SQLite refuses while others refer to its rows.


def upgrade() -> None:
    op.create_table(
        "node",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_uid", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_node")),
    )
    _upgrade_studies()
    _upgrade_jobs()
    _upgrade_deliveries()
    op.execute("UPDATE instances SET path = 'instances/' || path")


def _upgrade_studies() -> None:
    op.add_column("studies", sa.Column("reread", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("studies", sa.Column("defects", sa.Integer(), nullable=False, server_default="0"))
    op.drop_index(op.f("ix_studies_state"), table_name="studies")
    op.create_index("ix_studies_due", "studies", ["state", "wake_at"], unique=False)
    op.create_index("ix_studies_newest", "studies", ["last_received_at", "study_uid"], unique=False)
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"], unique=False)
    connection = op.get_bind()
    receiving = sa.select(_studies.c.study_uid, _studies.c.last_received_at).where(_studies.c.state == "RECEIVING")
    for study_uid, last in connection.execute(receiving).all():
        # From now on `wake_at` is when a study that is being received is complete.
        quiet = _studies.update().where(_studies.c.study_uid == study_uid).values(wake_at=last + _QUIET)
        connection.execute(quiet)


def _upgrade_jobs() -> None:
    op.add_column("jobs", sa.Column("request_key", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("answer_key", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("software", sa.String(length=32), nullable=False, server_default="0.1.0"))
    op.add_column("jobs", sa.Column("prior", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("destinations", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("parts", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("troubles", sa.JSON(), nullable=False, server_default="[]"))
    connection = op.get_bind()
    archives = dict(connection.execute(sa.select(_deliveries.c.job_key, _deliveries.c.archive)).all())
    for job in connection.execute(sa.select(_jobs)).mappings().all():
        request = _digest(
            {
                "study": job["study_uid"],
                "series": job["series_uid"],
                "inputs": list(job["inputs"]),
                "protocol": [job["protocol"], job["protocol_version"]],
                "questions": job["questions"],
            }
        )
        destination = {"archive": archives.get(job["job_key"], ""), "profile": job["profile"]}
        keys = {"request_key": request, "answer_key": _digest({"request": request, "weights": job["model"]["digest"]})}
        own = _jobs.update().where(_jobs.c.job_key == job["job_key"])
        connection.execute(own.values(**keys, destinations=[destination]))
    op.drop_index(op.f("ix_jobs_state"), table_name="jobs")
    op.create_index("ix_jobs_due", "jobs", ["state", "wake_at"], unique=False)
    op.create_index(op.f("ix_jobs_answer_key"), "jobs", ["answer_key"], unique=False)


def _upgrade_deliveries() -> None:
    connection = op.get_bind()
    kept = connection.execute(sa.select(_deliveries)).mappings().all()
    jobs = dict(connection.execute(sa.select(_jobs.c.job_key, _jobs.c.profile)).all())
    delivering = set(connection.scalars(sa.select(_jobs.c.job_key).where(_jobs.c.state == "DELIVERING")))
    op.execute("ALTER TABLE jobs DROP COLUMN profile")
    op.drop_table("deliveries")
    _create_tables()
    segmentations = {row["job_key"]: row["sop_instance_uid"] for row in kept if row["kind"] == "SEG"}
    for row in kept:
        connection.execute(_objects.insert().values(**_object_of(row, jobs[row["job_key"]], segmentations)))
        columns = ("sop_instance_uid", "archive", "job_key", "state", "reason", "attempts", "delivered_at")
        pending = row["job_key"] in delivering and row["state"] == "PENDING"
        due = sa.func.current_timestamp() if pending else None
        values: dict[str, Any] = {name: row[name] for name in columns}
        connection.execute(_deliveries_now.insert().values(**values, wake_at=due))


def _create_tables() -> None:
    op.create_table(
        "result_objects",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("job_key", sa.String(length=64), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("profile", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("object_references", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_result_objects_job_key_jobs")),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_result_objects")),
    )
    op.create_index(op.f("ix_result_objects_job_key"), "result_objects", ["job_key"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("job_key", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("defects", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_deliveries_job_key_jobs")),
        sa.ForeignKeyConstraint(
            ["sop_instance_uid"],
            ["result_objects.sop_instance_uid"],
            name=op.f("fk_deliveries_sop_instance_uid_result_objects"),
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", "archive", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_job_key", "deliveries", ["job_key"], unique=False)
    op.create_index("ix_deliveries_due", "deliveries", ["state", "wake_at"], unique=False)


def _object_of(row: Any, profile: str, segmentations: dict[str, str]) -> dict[str, Any]:
    names = ("sop_instance_uid", "job_key", "ordinal", "kind", "sop_class_uid", "digest")
    references = [segmentations[row["job_key"]]] if row["kind"] == "SR" and row["job_key"] in segmentations else []
    # 0.1 kept whole paths: DATA_DIR/results/STUDY/KEY/FILE.
    path = PurePosixPath("results", *PurePosixPath(row["path"]).parts[-3:])
    return {**{name: row[name] for name in names}, "profile": profile, "path": str(path),
            "object_references": references}  # fmt: skip


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def downgrade() -> None:
    raise NotImplementedError("0003 cannot be undone: restore the backup that was made before the upgrade")
