"""The newest schema at once: a test that opens an empty database wants its tables, not a walk through each migration.

What the migrations do is tested in `state/test_migrations.py`, by every database that is not empty, and by the one
database a process that they make first: all others get the very statements and rows that it then consists of.
"""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace

import pytest
from alembic import command
from alembic.config import Config

_statements: list[str] = []


@pytest.fixture(autouse=True)
def _schema_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.state.engine.command", SimpleNamespace(upgrade=_upgrade))


def _upgrade(config: Config, revision: str) -> None:
    connection = config.attributes["connection"].connection.driver_connection
    if revision != "head" or not isinstance(connection, sqlite3.Connection) or _tables(connection):
        command.upgrade(config, revision)
    elif _statements:
        for statement in _statements:
            connection.execute(statement)
    else:
        command.upgrade(config, revision)
        _statements.extend(list(connection.iterdump())[1:-1])  # without BEGIN and COMMIT


def _tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone())
