"""Logging: structlog to standard error, for every role and command."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

__all__ = ["configure_logging"]


def _frames(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A traceback as its frames and the kind of error: its text may quote a header, and so a patient's name."""
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        event["exception"] = "\n".join([*lines, type(error).__name__])
    return event


def configure_logging(log_format: str, level: int = logging.INFO) -> None:
    """Log to standard error, from `level` on: JSON in production, readable on a terminal. Times are UTC.

    Libraries log through the standard library; their warnings get the same shape.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _frames,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # What these say may hold values of the header, and so a patient's name; what matters of it comes as our own error.
    for name in ("pynetdicom", "pydicom", "py.warnings"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
