"""Checks of one thing each: what was looked at, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from dicom_node.errors import DicomNodeError
from inference.errors import InferenceError
from workflows.errors import WorkflowError

__all__ = ["Check", "Outcome", "Warned", "run_check"]


class Outcome(Enum):
    """What a look at one thing says: it is fit, it will do, or it stops the node's work."""

    OK = "ok"
    WARNING = "warn"
    FAILED = "FAIL"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    detail: str


class Warned(Exception):
    """Something that a node runs without."""


def run_check(name: str, check: Callable[[], str]) -> Check:
    """Look at one thing; whatever `check` raises is its detail."""
    try:
        return Check(name, Outcome.OK, check())
    except Warned as warning:
        return Check(name, Outcome.WARNING, str(warning))
    except (WorkflowError, DicomNodeError, InferenceError, OSError) as error:
        return Check(name, Outcome.FAILED, str(error))
    except Exception as error:  # drivers of databases and brokers raise their own; this is their edge
        first = str(error).splitlines()[0] if str(error) else ""
        return Check(name, Outcome.FAILED, f"{type(error).__name__}: {first}")
