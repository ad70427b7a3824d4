"""Waker: how a step says "there is work", without knowing Celery."""

from __future__ import annotations

from typing import Protocol

__all__ = ["RecordingWaker", "Waker"]


class Waker(Protocol):
    """Wakes whoever does the next step. A lost wake-up is repeated by the scheduler."""

    def plan(self, study_uid: str) -> None: ...

    def predict(self, job_key: str) -> None: ...

    def publish(self, job_key: str, archive: str) -> None: ...

    def confirm(self, job_key: str, archive: str) -> None: ...

    def retract(self, study_uid: str, archive: str) -> None: ...


class RecordingWaker:
    """A waker that remembers instead of sending; for tests and for running the steps by hand."""

    def __init__(self) -> None:
        self.plans: list[str] = []
        self.jobs: list[str] = []
        self.deliveries: list[tuple[str, str]] = []
        self.confirmations: list[tuple[str, str]] = []
        self.retractions: list[tuple[str, str]] = []

    def plan(self, study_uid: str) -> None:
        self.plans.append(study_uid)

    def predict(self, job_key: str) -> None:
        self.jobs.append(job_key)

    def publish(self, job_key: str, archive: str) -> None:
        self.deliveries.append((job_key, archive))

    def confirm(self, job_key: str, archive: str) -> None:
        self.confirmations.append((job_key, archive))

    def retract(self, study_uid: str, archive: str) -> None:
        self.retractions.append((study_uid, archive))
