"""Fixtures that every test may ask for: real data and real services."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

CHECKOUT = Path(__file__).resolve().parents[1]
SILENCED = ("pynetdicom", "pydicom", "py.warnings")
"""Loggers that `workflows.logs` silences."""


def _load_services() -> None:
    # --import-mode=importlib puts no folder on sys.path; this one module is shared by name.
    if "tests.services" not in sys.modules:
        spec = importlib.util.spec_from_file_location("tests.services", Path(__file__).with_name("services.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["tests.services"] = module
        spec.loader.exec_module(module)


_load_services()

from tests.services import (  # noqa: E402
    Orthanc,
    Postgres,
    RabbitMQ,
    running_orthanc,
    running_postgres,
    running_rabbitmq,
)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A test that sets logging up, as every command does, leaves it to the next as it was."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in SILENCED}
    yield
    logging.captureWarnings(False)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Root of the checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Other people's data, beside the checkout or where MEDSEG_SHARED_DATA says."""
    folder = Path(os.environ.get("MEDSEG_SHARED_DATA", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"no shared data at {folder}: put it there or set MEDSEG_SHARED_DATA"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def orthanc() -> Iterator[Orthanc]:
    """A plain Orthanc archive with DICOMweb, shared by the session: look for your own study only."""
    with running_orthanc() as service:
        yield service


@pytest.fixture
def start_orthanc() -> Iterator[Callable[..., Orthanc]]:
    """Starts an Orthanc of its own for one test: `start_orthanc(lua=[...], modalities={...}, extra={...})`."""
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> Orthanc:
            return stack.enter_context(running_orthanc(**options))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ shared by the session: `rabbitmq.fresh_url()` is a virtual host of one's own."""
    with running_rabbitmq() as service:
        yield service


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL shared by the session: `postgres.fresh_url()` is an empty database of one's own."""
    with running_postgres() as service:
        yield service
