"""A repository on each database, with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.records import JobPlan, NewInstance, SavedResult
from workflows.state.repository import Repository

STUDY = "1.2.3"


@dataclass
class World:
    """A repository and what a test does to it again and again."""

    repository: Repository
    clock: list[datetime] = field(default_factory=list)

    def tick(self, seconds: float) -> None:
        self.clock[0] += timedelta(seconds=seconds)

    def receive(
        self, number: int = 1, digest: str = "a", path: str | None = None, series: str = "1.2.3.1"
    ) -> str | None:
        """Record instance `number`; returns what the repository returns."""
        return self.repository.record_instance(
            NewInstance(
                study_uid=STUDY,
                series_uid=series,
                sop_instance_uid=f"{series}.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                path=path or f"{series}/{number}.{digest}",
                bytes=10,
                digest=digest,
                calling_ae_title="CT1",
            )
        )

    def complete(self, quiet_s: float = 60) -> list[str]:
        return self.repository.complete_quiet_studies(lambda _title: quiet_s)

    def make_complete(self) -> None:
        self.tick(60)
        assert self.complete() == [STUDY]

    def plan(self, *keys: str, generation: int = 1) -> bool:
        plans = [self.job_plan(key) for key in keys]
        return self.repository.save_plan(STUDY, generation, plans, [], "planned")

    @staticmethod
    def job_plan(key: str) -> JobPlan:
        """The series is named by the key's first letter, so a1 and a2 ask the same of the same series."""
        return JobPlan(
            job_key=key,
            series_uid=f"1.2.3.{key[0]}",
            protocol="abdomen",
            protocol_version="1",
            questions=[{"text": "Where?"}],
            inputs=[key],
            model={"name": "m", "version": "1", "digest": "d", "terms": None},
            profile="air",
        )

    def planned(self, *keys: str) -> None:
        self.receive()
        self.make_complete()
        assert self.plan(*keys)

    def reopen(self, number: int = 2) -> None:
        self.receive(number)
        self.make_complete()

    def answer(self, key: str, owner: str = "w") -> bool:
        assert self.repository.claim_job(key, owner, 60, 3) is not None
        return self.save(key, owner)

    def save(self, key: str, owner: str = "w") -> bool:
        results = [
            SavedResult(kind, f"class {kind}", f"2.25.{kind}.{key}", f"/r/{key}/{kind}", "d") for kind in ("SEG", "SR")
        ]
        return self.repository.save_results(key, owner, [{"question": "Where?", "answer": "here"}], results, "pacs")

    def deliver(self, key: str, owner: str = "io") -> None:
        assert self.repository.claim_delivery(key, owner, 60)
        for row in self.repository.results(key):
            self.repository.record_delivery(key, row.sop_instance_uid, delivered=True)
        self.repository.end_delivery(key, owner, "", 10)

    def state(self) -> str:
        study = self.repository.study(STUDY)
        assert study is not None
        return study.state.value

    def reason(self) -> str:
        study = self.repository.study(STUDY)
        assert study is not None
        return study.reason

    def generation(self) -> int:
        study = self.repository.study(STUDY)
        assert study is not None
        return study.generation

    def jobs(self) -> dict[str, str]:
        return {job.job_key: job.state.value for job in self.repository.jobs(STUDY)}


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The same expectations on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("postgres").fresh_url()
    engine = open_engine(url)
    upgrade_schema(engine)
    clock = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
    yield World(Repository(engine, clock=lambda: clock[0], rewake_s=30), clock)
    engine.dispose()
