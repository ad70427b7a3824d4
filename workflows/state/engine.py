"""The database's engine and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from workflows.errors import DatabaseUnavailable, RowRefused, SettingsError

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
            return _with_limits(create_engine(wanted, pool_pre_ping=True, hide_parameters=True))
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


_ANSWER_S = 15.0
"""How long a server may take for one statement: one that is frozen would otherwise keep us for ever."""
_TCP = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,  # milliseconds
}


class _LimitedConnection(psycopg.Connection[Any]):
    """A connection that waits for its server no longer than `_ANSWER_S`, and then is closed."""

    limit_s: float | None = _ANSWER_S

    def wait(self, *arguments: Any, **named: Any) -> Any:
        if named.get("timeout") is None:
            named["timeout"] = self.limit_s
        try:
            return super().wait(*arguments, **named)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.limit_s} s") from error


def _with_limits(engine: Engine) -> Engine:
    """Have the engine's connections give up on a server that does not answer, whether it is gone or stands still."""
    if engine.dialect.driver != "psycopg":
        return engine

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, named: dict[str, Any]) -> Any:
        return _LimitedConnection.connect(*arguments, **{**_TCP, **named})

    @event.listens_for(engine, "connect")
    def _forget_who_is_gone(connection: Any, _record: Any) -> None:
        # A role that stands still in a transaction must not keep its locks until somebody ends it.
        connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        connection.commit()

    return engine


@contextmanager
def _without_limit(connection: Connection) -> Iterator[None]:
    """A migration takes as long as it takes, and others wait for it."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, _LimitedConnection):
        yield
        return
    driver.limit_s = None
    try:
        yield
    finally:
        driver.limit_s = _ANSWER_S


def upgrade_schema(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a migration, the newest by default; safe to call from several processes.

    Raises DatabaseUnavailable, and SettingsError for a schema of a newer version.
    """
    config = _migrations()
    with answering(), engine.begin() as connection, _without_limit(connection):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7746577)")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise SettingsError(
                "the database has a schema that this version of the node does not know: it was made by a newer one, "
                "which reads it; to go back, restore the database of before"
            ) from error


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
    """Turn a database that does not answer into DatabaseUnavailable, and what it will not keep into RowRefused.

    Neither repeats what the database said of a row: PostgreSQL quotes its values.
    """
    try:
        yield
    except OperationalError as error:
        why = str(error.orig).partition("\n")[0]
        raise DatabaseUnavailable(
            f"the database does not answer: {why}; check [database] url and its server"
        ) from error
    except (DataError, IntegrityError) as error:
        raise RowRefused(f"the database refuses a row: {_told(error)}") from None
    except DBAPIError as error:
        raise DatabaseUnavailable(
            f"the database does not answer as it should: {_told(error)}; its tables may be another version's"
        ) from None
    except PoolTimeout as error:
        raise DatabaseUnavailable("the database does not answer: all connections wait for it") from error
    except StatementError as error:
        own = error.orig if isinstance(error.orig, RowRefused) else None
        raise own or RowRefused(f"a row cannot be written: {type(error.orig).__name__}") from None


def _told(error: DBAPIError) -> str:
    """What kind of error it is, and of which table, column or constraint; no value."""
    diagnosis = getattr(error.orig, "diag", None)
    names = ("table_name", "column_name", "constraint_name")
    where = [name for name in (getattr(diagnosis, one, None) for one in names) if name]
    state = getattr(error.orig, "sqlstate", None)
    kind = type(error.orig).__name__ + (f" ({state})" if state else "")
    return f"{kind} in {', '.join(where)}" if where else kind
