"""The database's engine and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from workflows.errors import DatabaseUnavailable, SettingsError

__all__ = ["READ_ONLY", "answering", "find_database", "open_engine", "open_existing_engine", "upgrade_schema"]

READ_ONLY = {"medseg_read_only": True}
"""Execution option of connections that only read."""


def open_engine(url: str) -> Engine:
    """An engine for SQLite (WAL, durable commits) or PostgreSQL, by psycopg unless the URL names another driver.

    Raises SettingsError for a URL that is none, without repeating it: it may hold a password.
    """
    try:
        wanted = make_url(url)
        if wanted.drivername == "postgresql":
            wanted = wanted.set(drivername="postgresql+psycopg")
        if wanted.get_backend_name() != "sqlite":
            return create_engine(wanted, pool_pre_ping=True, hide_parameters=True)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise SettingsError(
            "[database] url cannot be used: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin ourselves, see below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that reads first and writes later fails at once when another writer was quicker; one
        # that only reads never waits for a writer, and no writer for it (WAL).
        reads = connection.get_execution_options().get("medseg_read_only", False)
        connection.exec_driver_sql("BEGIN DEFERRED" if reads else "BEGIN IMMEDIATE")

    return engine


def upgrade_schema(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a migration, the newest by default; safe to call from several processes.

    Raises DatabaseUnavailable.
    """
    config = _migrations()
    with answering(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7746577)")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def find_database(url: str) -> str | None:
    """Connect to a database without making anything; return the path of a SQLite file that is not there yet.

    Raises SettingsError for a URL that is none, DatabaseUnavailable, and what a driver raises for a file that is none.
    """
    engine = open_engine(url)
    if (absent := _absent_file(engine)) is None:
        with answering(), engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    return absent


def open_existing_engine(url: str) -> Engine:
    """An engine for the database of a node that has run, to read from: nothing is created and nothing migrated.

    Raises SettingsError where there is none, or one whose schema is another version's; DatabaseUnavailable.
    """
    engine = open_engine(url)
    if (absent := _absent_file(engine)) is not None:
        raise SettingsError(f"no node has run there: {absent} does not exist; {_WHERE_TO_LOOK}")
    with answering(), engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        name = engine.url.database
        raise SettingsError(f"no node has run there: database {name} has none of its tables; {_WHERE_TO_LOOK}")
    newest = ScriptDirectory.from_config(_migrations()).get_current_head()
    if revision != newest:
        raise SettingsError(
            f"the database has schema {revision}, this version of the node reads {newest}: start the node, which "
            "brings an older schema up to date; a newer one needs the newer node"
        )
    return engine


def _absent_file(engine: Engine) -> str | None:
    """The file of a SQLite database that is not there: connecting would make it."""
    file = engine.url.database
    there = engine.dialect.name != "sqlite" or (file and Path(file).is_file())
    return None if there else file or "memory"


_WHERE_TO_LOOK = "check --config, [node] data_dir and [database] url"


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@contextmanager
def answering() -> Iterator[None]:
    """Turn a database that does not answer into DatabaseUnavailable."""
    try:
        yield
    except OperationalError as error:
        why = str(error.orig).partition("\n")[0]
        raise DatabaseUnavailable(
            f"the database does not answer: {why}; check [database] url and its server"
        ) from error
