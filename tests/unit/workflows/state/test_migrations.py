"""Migrations: each step of the way to today's tables, on both databases, keeps what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from workflows.errors import SettingsError
from workflows.state.engine import open_engine, open_existing_engine, upgrade_schema
from workflows.state.repository import Repository
from workflows.state.tables import Base


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("postgres").fresh_url()
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_the_migrations_lead_to_the_tables(engine: Engine) -> None:
    upgrade_schema(engine)
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_instances_of_the_first_schema_are_kept_and_held(engine: Engine) -> None:
    upgrade_schema(engine, "0001")
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO studies VALUES ('1.2', 1, 'RECEIVING', '', '', 'CT1', '[]', :now, :now, :now, :now)",
            "INSERT INTO series VALUES ('1.2', '1.2.1', 'CT', '')",
            "INSERT INTO instances VALUES ('1.2', '1.2.1', '1.2.1.1', 'c', 't', 'p', 1, 'd', 'CT1', 1, :now)",
        ):
            connection.execute(text(statement), {"now": "2026-01-02 03:04:05"})
    upgrade_schema(engine)
    repository = Repository(engine)
    assert [row.path for row in repository.instances("1.2")] == ["p"]
    assert repository.lost_instances("1.2") == []


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
    assert Repository(opened).studies() == []
    opened.dispose()
