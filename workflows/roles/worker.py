"""Celery's side: an id in, one step called. The lease and the scheduler retry, not Celery."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery
from celery.apps import worker as celery_worker
from kombu.exceptions import OperationalError

from inference.errors import InferenceError
from workflows.bootstrap import Node
from workflows.errors import ProtocolErrors
from workflows.roles.queues import QUEUES_OF_ROLE, configure
from workflows.steps.plan import plan_study
from workflows.steps.predict import predict_job
from workflows.steps.publish import publish_job

__all__ = ["CeleryWaker", "make_app", "run_worker"]

log = structlog.get_logger()


class CeleryWaker:
    """Wakes by sending a message with an id. A broker that is away is no error: the scheduler wakes again."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def plan(self, study_uid: str) -> None:
        self._send("plan", study_uid)

    def predict(self, job_key: str) -> None:
        self._send("predict", job_key)

    def publish(self, job_key: str) -> None:
        self._send("publish", job_key)

    def _send(self, task: str, identifier: str) -> None:
        try:
            self._app.send_task(task, args=[identifier])
        except OperationalError as error:
            log.warning("broker_away", task=task, identifier=identifier, reason=str(error))


def make_app(node: Node) -> Celery:
    """The application with its three tasks bound to `node`. The model is loaded by the first job, after the fork."""
    app = configure(Celery("medseg-node"), node.broker_url)
    waker = CeleryWaker(app)

    def plan(study_uid: str) -> None:
        repository = node.repository()
        try:
            planner = node.planner()
        except (ProtocolErrors, InferenceError) as error:
            log.error("cannot_plan", study_uid=study_uid, reason=str(error))
            study = repository.study(study_uid)
            if study is not None:
                repository.hold_plan(study_uid, study.generation, f"waits to be planned: {error}")
            return
        plan_study(study_uid, repository, node.store, planner, waker)

    def predict(job_key: str) -> None:
        try:
            inference = node.inference()
        except InferenceError as error:
            log.error("cannot_load_model", job_key=job_key, reason=str(error))
            node.repository().hold_job(job_key, f"waits for a worker that can load the model: {error}")
            return
        try:
            predict_job(job_key, node.repository(), node.store, inference, waker)
        except Exception as error:  # the edge: a defect ends this attempt, not the worker, and leaves its reason
            log.exception("predict_broke", job_key=job_key)
            reason = f"{type(error).__name__}: {error}"
            node.repository().release_job(job_key, node.owner, reason, delay_s=node.settings.node.rewake_s)

    def publish(job_key: str) -> None:
        publish_job(job_key, node.repository(), node.destination())

    steps: dict[str, Any] = {"plan": plan, "predict": predict, "publish": publish}
    for name, step in steps.items():
        app.task(name=name, shared=False)(step)  # another app of this process has its own node
    return app


def run_worker(node: Node, role: str) -> None:
    """Run Celery's worker for `role` until SIGTERM.

    Inference is prefork with one child, which loads the model: a solo pool would starve AMQP's heartbeats.
    """
    # Celery announces its end on standard output, past every log; in a signal handler we cannot log it either.
    celery_worker.safe_say = lambda *_: None
    app = make_app(node)
    queues = ",".join(QUEUES_OF_ROLE[role])
    name = f"{role}-{node.owner.replace(':', '-')}"
    app.worker_main(
        ["--quiet", "worker", "--pool", "prefork", "--concurrency", "1", "--queues", queues, "--hostname", f"{name}@%h",
         "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    )  # fmt: skip
