"""The predicting child: loads the model, takes job keys from its parent, answers one job at a time.

It is a process of its own so that whatever a model does to it - dies, hangs, eats the memory - ends this process and no
other. The parent keeps the lease and the limits; what wakes somebody goes through the parent too.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from inference.errors import InferenceError
from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, SettingsError, WorkflowError, defect
from workflows.logs import configure_logging
from workflows.settings import Settings
from workflows.steps.predict import predict_job

__all__ = ["Claimed", "Done", "Message", "Predict", "Ready", "Start", "Wake", "main"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Start:
    """To the child, first. `owner`: in whose name it claims jobs, the parent's."""

    settings: Settings
    owner: str


@dataclass(frozen=True)
class Predict:
    """To the child: answer this job, if it can be claimed."""

    job_key: str


@dataclass(frozen=True)
class Ready:
    """From the child: it can take jobs."""


@dataclass(frozen=True)
class Claimed:
    """From the child: from now on the parent keeps the job's lease."""

    job_key: str


@dataclass(frozen=True)
class Wake:
    """From the child: results of a job wait for an archive."""

    job_key: str
    archive: str


@dataclass(frozen=True)
class Done:
    """From the child: nothing more will come of this job here. `unfinished`: why it is to be given back, or ""."""

    job_key: str
    unfinished: str = ""


Message = Ready | Claimed | Wake | Done


class _PipeWaker:
    """Wakes by telling the parent; predicting wakes nobody but who publishes."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def publish(self, job_key: str, archive: str) -> None:
        self._send(Wake(job_key, archive))

    def plan(self, study_uid: str) -> None: ...

    def predict(self, job_key: str) -> None: ...

    def confirm(self, job_key: str, archive: str) -> None: ...

    def retract(self, study_uid: str, archive: str) -> None: ...


def main(descriptor: int) -> None:
    """What the child runs: `descriptor` is its end of the pipe. It ends when the parent's end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides; a terminal signals the whole group
        signal.signal(number, signal.SIG_IGN)
    _be_the_first_to_go()
    pipe: Connection[Any, Any] = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        start: Start = pipe.recv()
        configure_logging(start.settings.node.log_format)
        node = Node(start.settings)
        node.owner = start.owner
        _load(node)
        pipe.send(Ready())
        while True:
            job_key = pipe.recv().job_key
            pipe.send(Done(job_key, _predict(job_key, node, pipe.send)))


def _be_the_first_to_go() -> None:
    """Where the machine's memory ends, the kernel is to end this process and not one that receives."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _load(node: Node) -> None:
    """Load the configured model before the first job. One that cannot be loaded is that job's reason to wait."""
    try:
        node.predictor_for(node.configured_weights())
    except (InferenceError, WorkflowError) as error:
        log.warning("model_not_loaded", reason=str(error))
    except Exception as error:
        log.exception("model_not_loaded", reason=defect(error))


def _predict(job_key: str, node: Node, send: Callable[[Message], None]) -> str:
    """Answer a job; return why it is to be given back, or ""."""
    try:
        inference = replace(node.inference(), claimed=lambda key: send(Claimed(key)))
        predict_job(job_key, node.repository, node.folder, inference, _PipeWaker(send))
    except (DatabaseUnavailable, SettingsError) as error:
        log.error(
            "database_unavailable" if isinstance(error, DatabaseUnavailable) else "cannot_work", reason=str(error)
        )
        return str(error)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        log.exception("predict_failed", job_key=job_key)
        return defect(error)
    return ""
