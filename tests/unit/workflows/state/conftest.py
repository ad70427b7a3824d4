"""A repository on each database, with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from dicom_node.results.codes import LABELS
from dicom_node.results.profiles import Profile, ResultKind
from inference.interface import PredictorDescription
from tests.services import Postgres
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord, FindingRecord
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.records import (
    Delivery,
    Destination,
    Job,
    JobPlan,
    NewInstance,
    Part,
    PartKind,
    SavedObject,
    Study,
)
from workflows.state.repository import Repository
from workflows.state.states import DeliveryState
from workflows.state.views import ObjectView, Selection

STUDY = "1.2.3"
QUESTION = ProtocolQuestion("where", "Where?", (LABELS["liver"],))
PACS = Destination("pacs", Profile.AIR)


def weights(name: str = "a") -> PredictorDescription:
    return PredictorDescription("model", "1", name * 64, None)


@dataclass
class World:
    """A repository and what a test does to it again and again."""

    repository: Repository
    clock: list[datetime] = field(default_factory=list)

    def tick(self, seconds: float) -> None:
        self.clock[0] += timedelta(seconds=seconds)

    def receive(
        self,
        number: int = 1,
        digest: str = "a",
        path: str | None = None,
        series: str = "1.2.3.1",
        *,
        image: bool = True,
        quiet_s: float = 60,
    ) -> str | None:
        """Record instance `number`; returns what the repository returns."""
        new = NewInstance(
            study_uid=STUDY,
            series_uid=series,
            sop_instance_uid=f"{series}.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=Path(path or f"{series}/{number}.{digest}"),
            bytes=10,
            digest=digest,
            calling_ae_title="CT1",
            image=image,
        )
        (replaced,) = self.repository.record_instances([new], lambda _title: quiet_s)
        return replaced

    def complete(self) -> list[str]:
        return self.repository.complete_quiet_studies()

    def make_complete(self) -> None:
        self.tick(60)
        assert self.complete() == [STUDY]

    def plan(self, *keys: str, generation: int = 1, destinations: tuple[Destination, ...] = (PACS,)) -> bool:
        plans = [self.job_plan(key, destinations) for key in keys]
        return self.repository.save_plan(STUDY, generation, plans, [], "planned") is not None

    @staticmethod
    def job_plan(key: str, destinations: tuple[Destination, ...] = (PACS,)) -> JobPlan:
        """The series is named by the key's first letter, so a1 and a2 ask the same of the same series.

        What follows a dash names the weights: a1 and a1-b are the same request to other weights.
        """
        request, _, model = key.partition("-")
        return JobPlan(
            job_key=key,
            request_key=request,
            answer_key=key,
            series_uid=f"1.2.3.{key[0]}",
            protocol="abdomen",
            protocol_version="1",
            questions=(QUESTION,),
            inputs=(request,),
            model=weights(model or "a"),
            software="1",
            destinations=destinations,
        )

    def planned(self, *keys: str, destinations: tuple[Destination, ...] = (PACS,)) -> None:
        self.receive()
        self.make_complete()
        assert self.plan(*keys, destinations=destinations)

    def reopen(self, number: int = 2) -> None:
        self.receive(number)
        self.make_complete()

    def answer(self, key: str, owner: str = "w", *, seen: bool = True) -> bool:
        assert self.claim(key, owner) is not None
        return self.save(key, owner, seen=seen)

    def claim(self, key: str, owner: str = "w", maximum: int = 3) -> Job | None:
        return self.repository.claim_job(key, owner, 60, maximum)

    def save(self, key: str, owner: str = "w", *, seen: bool = True) -> bool:
        job = self.repository.job(key)
        objects = []
        for profile in job.profiles:
            end = f"{profile.value}.{key}" + (f".{job.edition}" if job.edition > 1 else "")
            seg, report = f"2.25.SEG.{end}", f"2.25.SR.{end}"
            objects += [
                SavedObject(seg, "class SEG", ResultKind.SEGMENTATION, 0, profile, Path(f"r/{seg}"), "d"),
                SavedObject(report, "class SR", ResultKind.REPORT, None, profile, Path(f"r/{report}"), "d", (seg,)),
            ]
        findings = (FindingRecord("liver", "liver", 0.9, 10),) if seen else ()
        answers = [AnswerRecord("Where?", "here", findings, ())]
        return self.repository.save_results(key, owner, job.model, [Part(0, PartKind.VOLUME, 2)], answers, objects)

    def send(self, key: str, *, archive: str = "pacs", owner: str = "io", lease_s: float = 60) -> list[str]:
        """Claim the deliveries; returns the SOP Instance UIDs of those that are pending, in order."""
        claimed = self.repository.claim_deliveries(key, archive, owner, lease_s)
        return [one.result.sop_instance_uid for one in claimed if one.delivery.state is DeliveryState.PENDING]

    def record(
        self, uid: str, state: DeliveryState, reason: str = "", *, archive: str = "pacs", owner: str = "io"
    ) -> bool:
        return self.repository.record_delivery(uid, archive, owner, state, reason)

    def release(
        self, key: str, reason: str = "", wait_s: float = 10, *, archive: str = "pacs", owner: str = "io"
    ) -> None:
        self.repository.release_deliveries(key, archive, owner, reason, wait_s)

    def deliver(self, key: str, *, archive: str = "pacs") -> None:
        uids = self.send(key, archive=archive)
        assert uids
        for uid in uids:
            assert self.record(uid, DeliveryState.DELIVERED, archive=archive)
        self.release(key, archive=archive)

    def to_retract(self) -> list[ObjectView]:
        """What is to be retracted of any study."""
        return [one for view in self.repository.study_views() for one in view.to_retract]

    def study(self) -> Study:
        study = self.repository.study(STUDY)
        assert study is not None
        return study

    def state(self) -> str:
        return self.study().state.value

    def reason(self) -> str:
        return self.study().reason

    def generation(self) -> int:
        return self.study().generation

    def jobs(self) -> dict[str, str]:
        (view,) = self.repository.study_views(Selection(study_uid=STUDY))
        return {one.job.job_key: one.job.state.value for one in view.jobs}

    def deliveries(self, key: str) -> list[Delivery]:
        """Every delivery of a job, by object and archive."""
        for view in self.repository.study_views():
            for one in view.jobs:
                if one.job.job_key == key:
                    return [delivery for shown in one.objects for delivery in shown.deliveries]
        return []


@pytest.fixture(scope="session")
def with_schema(postgres: Postgres) -> str:
    """A database with the newest schema: to copy it takes less than to go through the migrations again."""
    url = postgres.fresh_url()
    engine = open_engine(url)
    upgrade_schema(engine)
    engine.dispose()
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind: empty, but for `world`."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.fresh_url(*([request.getfixturevalue("with_schema")] if "world" in request.fixturenames else []))


@pytest.fixture
def world(url: str) -> Iterator[World]:
    """The same expectations on SQLite and on PostgreSQL."""
    engine = open_engine(url)
    if engine.dialect.name == "sqlite":  # what is tested here is who wins, not what survives a power cut
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    upgrade_schema(engine)
    clock = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
    yield World(Repository(engine, clock=lambda: clock[0], rewake_s=30), clock)
    engine.dispose()
