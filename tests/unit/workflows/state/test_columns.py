"""Whatever a header, a peer or an error says, a column holds it, or the row is refused without a word of its values."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.headers.patient import Patient
from workflows.errors import RowRefused
from workflows.logs import configure_logging
from workflows.state import columns
from workflows.state.columns import LARGEST_BIG_INTEGER, LONGEST_TEXT, clean_text, text_column
from workflows.state.engine import open_engine
from workflows.state.records import NewInstance
from workflows.state.tables import Base, EnumColumn, UtcDateTime

if TYPE_CHECKING:
    from .conftest import World

STUDY = "1.2.3"
CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
MARKED = "Marked^Patient"

ANY_TEXT = some.text(some.characters(), max_size=300) | some.sampled_from(
    ["\0", "a\0b", "\ud800", "x" * 100_001, "\x1b[2J", "山" * 70, "'; --", "%s", "{}", "\r\n\t"]
)
ANY_PATIENT = some.builds(Patient, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
numbers = count(1)


def instance(uid: str, study: str = STUDY, **header: Any) -> NewInstance:
    path = Path("instances", "p")
    known = {"bytes": 1, "digest": "d", "calling_ae_title": "CT1", **header}
    return NewInstance(study, f"{study}.1", uid, *CLASSES, path, **known)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_no_header_fails_a_transaction(world: World, data: some.DataObject) -> None:
    study = f"1.2.{next(numbers)}"
    new = instance(
        f"{study}.1.1",
        study,
        patient=data.draw(ANY_PATIENT),
        modality=data.draw(ANY_TEXT),
        series_description=data.draw(ANY_TEXT),
        accession_number=data.draw(ANY_TEXT),
        calling_ae_title=data.draw(ANY_TEXT),
        bytes=data.draw(some.integers(0, 2**70)),
    )
    assert world.repository.record_instances([new], lambda _title: 60) == [None]
    assert world.repository.record_instances([new], lambda _title: 60) == [None]
    (kept,) = world.repository.instances(study)
    assert kept.bytes == min(new.bytes, LARGEST_BIG_INTEGER)
    world.repository.fail_study(study, 1, data.draw(ANY_TEXT))
    known = world.repository.study(study)
    assert known is not None
    values = [known.accession_number, known.source_ae_title, known.reason, *vars(kept.patient).values()]
    for value in values:
        assert "\0" not in value and "\x1b" not in value
        value.encode()


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reason=ANY_TEXT, key=ANY_TEXT, number=some.floats() | some.integers())
def test_no_text_within_json_or_a_reason_fails_a_transaction(
    world: World, reason: str, key: str, number: float
) -> None:
    uid = f"1.3.{next(numbers)}"
    world.repository.record_instances([instance(f"{uid}.1.1", uid)], lambda _title: 60)
    with world.repository._writing() as session:
        row = session.get_one(_table("studies"), uid)
        row.plan_reasons, row.attention = [{"reason": reason, key or "k": [number, None, True]}], reason
    with world.repository._reading() as session:
        row = session.get_one(_table("studies"), uid)
        assert "\0" not in row.attention and "\0" not in str(row.plan_reasons)


def _table(name: str) -> type[Any]:
    return next(mapper.class_ for mapper in Base.registry.mappers if mapper.local_table.name == name)


def test_every_column_bounds_what_it_is_given() -> None:
    ours = (columns.String, columns.Text, columns.Key, columns.JSON, columns.Integer, columns.BigInteger,
            columns.Float)  # fmt: skip
    closed = (EnumColumn, UtcDateTime, sa.Boolean, sa.LargeBinary)  # bytes: files and headers, bounded as they are read
    for table in Base.metadata.tables.values():
        for column in table.columns:
            assert isinstance(column.type, ours + closed), f"{table.name}.{column.name} is a {column.type!r}"


@pytest.mark.parametrize("length", [65, 5000])
def test_a_uid_is_never_cut(world: World, length: int) -> None:
    uid = "1" * length
    with pytest.raises(RowRefused, match=f"{length} characters"):
        world.repository.record_instances([instance("1.2.3.1.1"), instance(uid)], lambda _title: 60)
    assert world.repository.study(STUDY) is None, "all of a batch, or nothing"
    assert world.repository.study(uid) is None
    assert world.repository.own_results([uid]) == set()


def test_what_a_terminal_would_obey_is_gone_and_the_rest_stays() -> None:
    assert clean_text("Grün\n\t山\x1b[31m\x9b\0") == "Grün\n\t山[31m"
    assert text_column("two\r\nlines") == "two lines"
    assert len(clean_text("x" * (LONGEST_TEXT + 1))) == LONGEST_TEXT


def test_numbers_that_json_does_not_know_become_null(world: World) -> None:
    column = columns.JSON()
    assert column.process_bind_param({"a": (math.nan, math.inf, 1.5)}, sa.create_engine("sqlite://").dialect) == {
        "a": [None, None, 1.5]
    }


# --- No value in an error or a log ------------------------------------------------------------------------------------


@contextmanager
def all_loggers() -> Iterator[None]:
    """Logging as every role has it, of all loggers, from DEBUG on."""
    names = (None, "sqlalchemy.engine", "psycopg")
    before = {name: logging.getLogger(name).level for name in names}
    handlers = logging.getLogger().handlers[:]
    configure_logging("json", logging.DEBUG)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().handlers[:] = handlers
        logging.captureWarnings(False)
        structlog.reset_defaults()


@pytest.mark.parametrize("statement", ["unique", "check", "type"])
def test_no_value_of_a_row_reaches_an_error_or_a_log(
    world: World, url: str, statement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {
        "unique": "CREATE UNIQUE INDEX one_name ON instances (patient_name)",  # DETAIL: Key (...)=(...) already exists
        "check": "ALTER TABLE instances ADD CONSTRAINT short CHECK (length(patient_name) < 3)",  # Failing row contains
        "type": "ALTER TABLE instances ALTER patient_name TYPE varchar(3)",  # value too long
    }[statement]
    if url.startswith("sqlite") and statement != "unique":
        pytest.skip("SQLite cannot alter a table so")
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(changed))
    engine.dispose()
    new = [instance(f"1.2.3.1.{number}", patient=Patient("P1", name=MARKED)) for number in (1, 2)]
    with all_loggers():
        try:
            world.repository.record_instances(new, lambda _title: 60)
        except (RowRefused, SQLAlchemyError) as error:
            caught: Exception | None = error
            logging.getLogger("a library").exception("failed: %s", error)
            structlog.get_logger().exception("failed", reason=str(error))
            traceback.print_exc()
    assert isinstance(caught, RowRefused)
    shown = capsys.readouterr()
    assert shown.err.count("failed") >= 2
    assert MARKED not in shown.err + shown.out
