"""The database's engine and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from workflows.errors import DatabaseUnavailable, SettingsError

__all__ = ["answering", "open_engine", "upgrade_schema"]


def open_engine(url: str) -> Engine:
    """An engine for SQLite (WAL, durable commits) or PostgreSQL, by psycopg unless the URL names another driver.

    Raises SettingsError for a URL that is none, without repeating it: it may hold a password.
    """
    try:
        wanted = make_url(url)
        if wanted.drivername == "postgresql":
            wanted = wanted.set(drivername="postgresql+psycopg")
        if wanted.get_backend_name() != "sqlite":
            return create_engine(wanted, pool_pre_ping=True)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise SettingsError(
            "[database] url cannot be used: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin ourselves, see below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that reads first and writes later fails at once when another writer was quicker.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def upgrade_schema(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a migration, the newest by default; safe to call from several processes.

    Raises DatabaseUnavailable.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with answering(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7746577)")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


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
