"""The worker role, Celery's side: an id in, one step called. The lease and the scheduler retry, not Celery."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery import Celery
from celery.apps import worker as celery_worker
from kombu.exceptions import OperationalError

from inference.errors import InferenceError
from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, ProtocolErrors, SettingsError, defect
from workflows.roles.queues import QUEUES_OF_ROLE, configure
from workflows.steps.confirm import confirm_deliveries
from workflows.steps.plan import plan_study
from workflows.steps.predict import predict_job
from workflows.steps.publish import publish_job
from workflows.steps.retract import retract_results

__all__ = ["CeleryWaker", "make_app", "run_worker"]

log = structlog.get_logger()


class CeleryWaker:
    """Wakes by sending a message with ids. A broker that is away is no error: the scheduler wakes again."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def plan(self, study_uid: str) -> None:
        self._send("plan", study_uid)

    def predict(self, job_key: str) -> None:
        self._send("predict", job_key)

    def publish(self, job_key: str, archive: str) -> None:
        self._send("publish", job_key, archive)

    def confirm(self, job_key: str, archive: str) -> None:
        self._send("confirm", job_key, archive)

    def retract(self, study_uid: str, archive: str) -> None:
        self._send("retract", study_uid, archive)

    def _send(self, task: str, identifier: str, *more: str) -> None:
        try:
            self._app.send_task(task, args=[identifier, *more])
        except OperationalError as error:
            log.warning("broker_away", task=task, identifier=identifier, reason=str(error))


def make_app(node: Node) -> Celery:
    """The application with a task for each step, bound to `node`. The first job loads the model, after the fork."""
    app = configure(Celery("medseg-node"), node.broker_url)
    waker = CeleryWaker(app)

    def plan(study_uid: str) -> None:
        plan_or_hold(study_uid, node, waker)

    def predict(job_key: str) -> None:
        with_database(lambda: predict_job(job_key, node.repository, node.folder, node.inference(), waker))

    def publish(job_key: str, archive: str | None = None) -> None:
        # A message of version 0.1 names no archive.
        archives = [archive] if archive is not None else archives_of(node, job_key)
        for name in archives:
            with_database(partial(_publish, node, job_key, name))

    def confirm(job_key: str, archive: str) -> None:
        with_database(lambda: confirm_deliveries(job_key, archive, node.repository, node.sender()))

    def retract(study_uid: str, archive: str) -> None:
        with_database(lambda: retract_results(study_uid, archive, node.repository, node.folder, node.sender(), waker))

    steps: dict[str, Any] = {
        "plan": plan, "predict": predict, "publish": publish, "confirm": confirm, "retract": retract,
    }  # fmt: skip
    for name, step in steps.items():
        app.task(name=name, shared=False)(step)  # another app of this process has its own node
    return app


def _publish(node: Node, job_key: str, archive: str) -> None:
    publish_job(job_key, archive, node.repository, node.folder, node.sender())


def archives_of(node: Node, job_key: str) -> list[str]:
    """The archives that a job's objects go to; none for a job that is not there any more."""
    try:
        job = node.repository.job(job_key)
    except LookupError:
        return []
    return list(dict.fromkeys(destination.archive for destination in job.destinations))


def plan_or_hold(study_uid: str, node: Node, waker: CeleryWaker) -> None:
    """Plan a study; where that cannot be done now, or the program fails, the study says why."""

    def work() -> None:
        repository = node.repository
        try:
            plan_study(study_uid, repository, node.folder, node.planner(), waker)
        except (ProtocolErrors, SettingsError, InferenceError) as error:
            log.error("cannot_plan", study_uid=study_uid, reason=str(error))
            study = repository.study(study_uid)
            if study is not None:
                repository.hold_plan(study_uid, study.generation, f"waits to be planned: {error}")
        except DatabaseUnavailable:
            raise
        except Exception as error:
            log.exception("plan_failed", study_uid=study_uid)
            repository.record_plan_defect(study_uid, defect(error))

    with_database(work)


def with_database(work: Callable[[], None]) -> None:
    """Do the work; a database that is away is told and left to the scheduler, which wakes the work again."""
    try:
        work()
    except DatabaseUnavailable as error:
        log.error("database_unavailable", reason=str(error))
    except SettingsError as error:  # such as a data folder that is not this node's
        log.error("cannot_work", reason=str(error))


def run_worker(node: Node, role: str) -> int:
    """Run Celery's worker for `role` until SIGTERM; return its exit code, not 0 where the broker closed its channel.

    Inference is prefork with one child, which loads the model: a solo pool would starve AMQP's heartbeats.
    """
    _require_own_folder(node)
    # Celery announces its end on standard output, past every log (celery/celery#8101 asks for that to change); in a
    # signal handler we cannot log it either. tests/unit/workflows/roles/test_upstream.py says when this can go.
    celery_worker.safe_say = lambda *_: None
    app = make_app(node)
    # Celery.worker_main() drops the exit code of its worker, so the worker is built here.
    worker = app.Worker(
        pool_cls="prefork",
        concurrency=1,
        queues=",".join(QUEUES_OF_ROLE[role]),
        hostname=f"{role}-{node.owner.replace(':', '-')}@%h",
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _require_own_folder(node: Node) -> None:
    """Raise SettingsError for a data folder that is not this node's; with a database that is away each task looks."""
    first = Node(node.settings)  # with connections of its own: those of `node` are made after the fork
    try:
        first.repository.close()
    except DatabaseUnavailable as error:
        log.error("database_unavailable", reason=str(error))
