"""Migrations: each step of the way to today's tables, on both databases, keeps what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from dicom_node.results.profiles import Profile
from workflows.errors import SettingsError
from workflows.state.engine import open_engine, open_existing_engine, upgrade_schema
from workflows.state.keys import answer_key, request_key
from workflows.state.people import Role
from workflows.state.records import Destination
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import Base

MIGRATIONS = Path(__file__).parents[4] / "workflows" / "state" / "migrations"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def _schema_at_once() -> None:
    """Nothing here: these tests are about the way there."""


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_the_migrations_lead_to_the_tables(engine: Engine) -> None:
    upgrade_schema(engine)
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def at_schema(engine: Engine, revision: str, *statements: str) -> None:
    upgrade_schema(engine, revision)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), {"now": "2026-01-02 03:04:05"})


def test_instances_of_the_first_schema_are_kept_and_their_paths_are_relative_to_the_data_folder(engine: Engine) -> None:
    at_schema(
        engine,
        "0001",
        "INSERT INTO studies VALUES ('1.2', 1, 'RECEIVING', '', '', 'CT1', '[]', :now, :now, :now, :now)",
        "INSERT INTO series VALUES ('1.2', '1.2.1', 'CT', '')",
        "INSERT INTO instances VALUES ('1.2', '1.2.1', '1.2.1.1', 'c', 't', '1.2/1.2.1/1.dcm', 1, 'd', 'CT1', 1, :now)",
    )
    upgrade_schema(engine)
    repository = Repository(engine, clock=lambda: NOW)
    assert [row.path for row in repository.instances("1.2")] == [Path("instances/1.2/1.2.1/1.dcm")]
    assert repository.lost_instances("1.2") == []
    assert repository.complete_quiet_studies() == [], "a study that was just being received is waited for"


QUESTIONS = [
    {
        "id": "where",
        "text": "Where?",
        "findings": [
            {
                "label": "liver",
                "category": ["91723000", "SCT", "Anatomical Structure"],
                "type": ["10200004", "SCT", "Liver"],
                "laterality": None,
                "site": None,
            }
        ],
    }
]
ANSWERS = [
    {
        "question": "Where?",
        "answer": "Here.",
        "findings": [
            {"phrase": "liver", "label": "liver", "confidence": 0.9, "voxels": 10, "volume_ml": 1.25, "area_mm2": None}
        ],
        "not_seen": [],
    }
]
MODEL = {"name": "MedSeg-R", "version": "0.6", "digest": "d" * 64, "terms": "research use only"}
JOB = "k" * 64


def job_of_0_1(state: str) -> str:
    """The row of a job as version 0.1 wrote it."""
    values = ", ".join(f"'{json.dumps(value)}'" for value in (QUESTIONS, ["1.2.1.1:d"], MODEL))
    values = values.replace(":d", r"\:d")
    return (
        f"INSERT INTO jobs VALUES ('{JOB}', '1.2', '1.2.1', 1, 'abdominal-ct', '1', {values}, 'ohif', '{state}', '', "
        f"1, NULL, NULL, '{json.dumps(ANSWERS)}', NULL, :now, :now, :now)"
    ).replace('": ', r'"\: ')


def delivery_of_0_1(kind: str, ordinal: int, state: str) -> str:
    path = f"/var/lib/medseg-node/results/1.2/{JOB[:16]}/{kind.lower()}.dcm"
    return (
        f"INSERT INTO deliveries VALUES ('2.25.{ordinal}', '{JOB}', {ordinal}, '{kind}', 'class', '{path}', 'x', "
        f"'pacs', '{state}', '', 0, NULL)"
    )


def test_a_job_of_0_1_and_its_pending_deliveries_go_on(engine: Engine) -> None:
    at_schema(
        engine,
        "0002",
        "INSERT INTO studies VALUES ('1.2', 1, 'DELIVERING', '', 'A1', 'CT1', '[]', :now, :now, :now, :now)",
        job_of_0_1("DELIVERING"),
        delivery_of_0_1("SEG", 0, "DELIVERED"),
        delivery_of_0_1("SR", 1, "PENDING"),
    )
    upgrade_schema(engine)
    repository = Repository(engine)
    (view,) = repository.study_views()
    (one,) = view.jobs
    assert (view.study.state, view.study.accession_number) == (StudyState.DELIVERING, "A1")
    assert (one.job.state, one.job.model.version, one.job.software) == (JobState.DELIVERING, "0.6", "0.1.0")
    assert one.job.destinations == (Destination("pacs", Profile.OHIF),)
    (answer,) = one.job.answers
    assert (answer.text, answer.not_seen) == ("Here.", ())
    assert [measurement.text for measurement in answer.findings[0].measurements] == ["1.25 ml"]
    request = request_key("1.2", "1.2.1", ["1.2.1.1:d"], "abdominal-ct", "1", one.job.questions)
    assert (one.job.request_key, one.job.answer_key) == (request, answer_key(request, "d" * 64))
    seg, report = one.objects
    assert seg.result.path == Path("results", "1.2", JOB[:16], "seg.dcm")
    assert report.result.references == (seg.result.sop_instance_uid,)
    assert [found.deliveries[0].state.value for found in one.objects] == ["DELIVERED", "PENDING"]
    assert repository.take_due().deliveries == [(JOB, "pacs")]
    claimed = repository.claim_deliveries(JOB, "pacs", "io", 60)
    assert repository.record_delivery(claimed[1].result.sop_instance_uid, "pacs", "io", DeliveryState.DELIVERED)
    repository.release_deliveries(JOB, "pacs", "io", "", 1)
    study = repository.study("1.2")
    assert study is not None and study.state is StudyState.DELIVERED


def test_what_was_planned_before_protocols_were_kept_is_read_and_planned_again(engine: Engine) -> None:
    verdicts = [
        {"asked": True, "protocol": "abdominal-ct 1", "series_uid": "1.2.1", "reason": "modality CT"},
        {"asked": False, "protocol": "chest", "series_uid": None, "reason": "no series is a radiograph"},
    ]
    at_schema(
        engine,
        "0002",
        "INSERT INTO studies VALUES ('1.2', 1, 'DELIVERED', '', 'A1', 'CT1', '[]', :now, :now, :now, :now)",
        job_of_0_1("DELIVERED"),
    )
    at_schema(engine, "0017", f"UPDATE studies SET plan_reasons = '{json.dumps(verdicts)}'".replace('": ', r'"\: '))
    upgrade_schema(engine)
    repository = Repository(engine, clock=lambda: NOW)
    (view,) = repository.study_views()
    assert [(one.named, one.version, one.missing, one.flags) for one in view.study.verdicts] == [
        ("abdominal-ct 1", "", (), ()), ("chest", "", (), ()),
    ]  # fmt: skip
    job = view.jobs[0].job
    assert (job.protocol_name, job.protocol_digest, job.questions[0].only_if) == ("abdominal-ct 1", "", None)
    assert [one.kept for one in repository.kept_studies()] == [None]
    assert (repository.protocol_versions("abdominal-ct"), repository.refused_edit()) == ([], None)
    downgrade_schema(engine, "0017")
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert repository.reopen("1.2", "read it again")


def test_0004_leads_there_and_back_and_there_again(engine: Engine) -> None:
    at_schema(
        engine,
        "0002",
        "INSERT INTO studies VALUES ('1.2', 1, 'DELIVERING', '', 'A1', 'CT1', '[]', :now, :now, :now, :now)",
        "INSERT INTO series VALUES ('1.2', '1.2.1', 'CT', '')",
        "INSERT INTO instances VALUES "
        "('1.2', '1.2.1', '1.2.1.1', 'c', 't', '1.2/1.2.1/1.dcm', 1, 'd', 'CT1', 1, :now, NULL)",
        job_of_0_1("DELIVERING"),
        delivery_of_0_1("SEG", 0, "DELIVERED"),
    )
    upgrade_schema(engine)
    repository = Repository(engine)
    assert [one.patient for one in repository.instances("1.2")] == [None]
    with engine.begin() as connection:
        connection.execute(text("UPDATE studies SET state = 'HELD', reason = 'two patients'"))
    downgrade_schema(engine, "0003")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state, reason FROM studies")).all() == [("FAILED", "two patients")]
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    (view,) = repository.study_views()
    assert [one.deliveries[0].state.value for one in repository.study_views()[0].jobs[0].objects] == ["DELIVERED"]
    assert view.to_retract == () and len(repository.instances("1.2")) == 1


def test_a_job_that_waited_before_priorities_keeps_its_turn_and_a_cancelled_one_goes_back_as_failed(
    engine: Engine,
) -> None:
    at_schema(
        engine,
        "0002",
        "INSERT INTO studies VALUES ('1.2', 1, 'PLANNED', '', 'A1', 'CT1', '[]', :now, :now, :now, :now)",
        job_of_0_1("PLANNED"),
    )
    upgrade_schema(engine)
    repository = Repository(engine, clock=lambda: NOW)
    assert repository.next_job() == JOB
    job = repository.job(JOB)
    assert (job.priority.value, job.ready_at, job.history) == ("routine", NOW, ())
    assert repository.cancel("1.2", "anna").ready
    downgrade_schema(engine, "0007")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM jobs")).scalars().all() == ["FAILED"]
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert repository.requeue("1.2", "anna").ready, "whatever is FAILED can be put back"


def test_what_the_pages_keep_leads_there_and_back_and_there_again(engine: Engine) -> None:
    at_schema(
        engine,
        "0002",
        "INSERT INTO studies VALUES ('1.2', 1, 'DELIVERING', '', 'A1', 'CT1', '[]', :now, :now, :now, :now)",
        job_of_0_1("DELIVERING"),
        delivery_of_0_1("SEG", 0, "DELIVERED"),
    )
    upgrade_schema(engine)
    repository = Repository(engine)
    repository.record_audit("anna", "purge", "1.2", {"instances": 1})
    repository.add_account("anna", "PHANTOM^Anna", Role.REVIEWER, "hash")
    with engine.begin() as connection:
        connection.execute(text("UPDATE result_objects SET replaced_by = 1"))
    downgrade_schema(engine, "0010")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT who, subject FROM audit")).all() == [("anna", "1.2")]
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    (view,) = repository.study_views()
    assert [one.deliveries[0].state.value for one in view.jobs[0].objects] == ["DELIVERED"]
    assert (repository.review("1.2"), repository.accounts(), repository.verify_audit()) == (None, [], [])


def downgrade_schema(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_to_read_needs_a_schema_that_is_there_and_changes_none(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with pytest.raises(SettingsError, match="no node has run there"):
        open_existing_engine(url)
    engine.connect().close()  # SQLite's file is there now, without a table
    with pytest.raises(SettingsError, match="no node has run there"):
        open_existing_engine(url)
    upgrade_schema(engine, "0001")
    with pytest.raises(SettingsError, match="has schema 0001, this version of the node reads"):
        open_existing_engine(url)
    upgrade_schema(engine)
    opened = open_existing_engine(url)
    assert Repository(opened).study_views() == []
    opened.dispose()


def test_a_database_of_a_newer_version_is_told_as_what_it_is(engine: Engine) -> None:
    upgrade_schema(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_later'"))
    with pytest.raises(SettingsError, match="newer one"):
        upgrade_schema(engine)
