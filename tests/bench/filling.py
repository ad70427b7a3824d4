"""A database as it looks after a year of work: studies in every state, with jobs, answers, objects and deliveries.

Most studies are delivered. Of 10,000, some 500 matched no protocol or failed, 80 are still on their way to an archive,
and 300 were read twice, so that the jobs of their first generation stand beside those of the second. What is not at an
end becomes due in an hour. A study has two series of five instances, and a job for each series.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage
from sqlalchemy import Engine, insert

from dicom_node.identifiers import derived_uid
from dicom_node.results.profiles import Profile, ResultKind
from workflows.protocols.loader import load_directory
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol
from workflows.protocols.verdicts import Verdict
from workflows.state.answers import AnswerRecord, FindingRecord, MeasurementRecord
from workflows.state.states import DeliveryState, JobState, StudyState
from workflows.state.tables import DeliveryRow, InstanceRow, JobRow, ResultObjectRow, SeriesRow, StudyRow

__all__ = ["ARCHIVE", "fill"]

ARCHIVE = "pacs"
SERIES, INSTANCES = 2, 5
# Per 10,000 studies, in the order in which they are dealt out; the rest is delivered.
SHARES = {
    StudyState.RECEIVING: 20,
    StudyState.COMPLETE: 10,
    StudyState.PLANNED: 50,
    StudyState.PREDICTING: 10,
    StudyState.DELIVERING: 80,
    StudyState.UNMATCHED: 300,
    StudyState.FAILED: 200,
}
JOB_STATES = {
    StudyState.PLANNED: JobState.PLANNED,
    StudyState.PREDICTING: JobState.PREDICTING,
    StudyState.DELIVERING: JobState.DELIVERING,
    StudyState.DELIVERED: JobState.DELIVERED,
    StudyState.FAILED: JobState.FAILED,
}
WITHOUT_JOBS = (StudyState.RECEIVING, StudyState.COMPLETE, StudyState.UNMATCHED)
GIVEN = ("Alpha", "Béta", "Gamma", "Delta", "Épsilon", "Zeta", "Eta", "Theta")
_AT_ONCE = 500
Rows = dict[type[Any], list[dict[str, Any]]]


def fill(engine: Engine, studies: int, protocols: Path) -> dict[str, int]:
    """Fill an empty schema; return how many rows each table has."""
    counts = {row.__tablename__: 0 for row in _TABLES}
    now = datetime.now(UTC)
    protocol = next(one for one in load_directory(protocols) if one.name == "abdominal-ct")
    for start in range(0, studies, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, studies))
        rows: Rows = {row: [] for row in _TABLES}
        for number, state, twice in _dealt(numbers, studies):
            _Study(number, state, twice, protocol, now - timedelta(minutes=number)).add_to(rows)
        with engine.begin() as connection:
            for table, values in rows.items():
                if values:
                    connection.execute(insert(table), values)
                counts[table.__tablename__] += len(values)
    return counts


_TABLES: tuple[type[Any], ...] = (StudyRow, SeriesRow, InstanceRow, JobRow, ResultObjectRow, DeliveryRow)


def _dealt(numbers: Iterable[int], studies: int) -> Iterator[tuple[int, StudyState, bool]]:
    """Each study's state, and whether it was read twice; as many are as have no job, so there are two jobs a study."""
    states = [state for state, share in SHARES.items() for _ in range(share * studies // 10_000)]
    twice = sum(state in WITHOUT_JOBS for state in states)
    states += [StudyState.DELIVERED] * (studies - len(states))
    order = list(range(studies))
    random.Random(13).shuffle(order)
    for number in numbers:
        place = order[number]
        yield number, states[place], place >= studies - twice


class _Study:
    """The rows of one study. `received`: when its last instance came."""

    def __init__(
        self, number: int, state: StudyState, twice: bool, protocol: ReadingProtocol, received: datetime
    ) -> None:
        self.uid = derived_uid("bench", "study", str(number))
        self.number, self.state, self.protocol, self.received = number, state, protocol, received
        self.generation = 2 if twice else 1
        self.series = [derived_uid(self.uid, str(ordinal)) for ordinal in range(SERIES)]
        self.due = received if state is StudyState.DELIVERED else datetime.now(UTC) + timedelta(hours=1)

    def add_to(self, rows: Rows) -> None:
        rows[StudyRow].append(self._study())
        for ordinal, series_uid in enumerate(self.series):
            rows[SeriesRow].append(
                {
                    "study_uid": self.uid,
                    "series_uid": series_uid,
                    "modality": "CT",
                    "series_description": f"Abdomen portal venous {ordinal + 1}.0 B30f",
                }
            )
            instances = [self._instance(series_uid, number) for number in range(INSTANCES)]
            rows[InstanceRow] += instances
            inputs = [f"{instance['sop_instance_uid']} {instance['digest']}" for instance in instances]
            if self.state not in WITHOUT_JOBS:
                for generation in range(1, self.generation + 1):
                    self._add_job(rows, series_uid, generation, inputs)

    def _study(self) -> dict[str, Any]:
        asked = self.state not in WITHOUT_JOBS
        reason = f"{self.protocol.name}: answered and delivered" if asked else "2 series, no protocol asks them"
        return {
            "study_uid": self.uid,
            "generation": self.generation,
            "state": self.state,
            "reason": reason,
            "accession_number": f"A{self.number:08}",
            "source_ae_title": "CT1",
            "plan_reasons": [asdict(verdict) for verdict in self._verdicts(asked)],
            "reread": False,
            "defects": 0,
            "first_received_at": self.received - timedelta(seconds=30),
            "last_received_at": self.received,
            "changed_at": self.received,
            "wake_at": self.due,
        }

    def _verdicts(self, asked: bool) -> Iterator[Verdict]:
        for series_uid in self.series:
            if asked:
                yield Verdict(True, self.protocol.name, series_uid, "series description says 'abdomen'", "1")
            for name, reason in (
                ("cardiac-mr", "modality is CT, the protocol takes MR"),
                ("chest-radiograph", "modality is CT, the protocol takes CR, DX"),
            ):
                yield Verdict(False, name, series_uid, reason)

    def _instance(self, series_uid: str, number: int) -> dict[str, Any]:
        uid = derived_uid(series_uid, str(number))
        return {
            "study_uid": self.uid,
            "series_uid": series_uid,
            "sop_instance_uid": uid,
            "sop_class_uid": CTImageStorage,
            "transfer_syntax_uid": ExplicitVRLittleEndian,
            "path": f"instances/{self.uid}/{series_uid}/{uid}.dcm",
            "bytes": 525_000,
            "digest": _digest(uid),
            "calling_ae_title": "CT1",
            "generation": self.generation,
            "received_at": self.received,
            "lost_at": None,
            "patient_id": f"P{self.number % 7000:06}",
            "patient_name": f"PHANTOM{self.number % 977:03}^{GIVEN[self.number % len(GIVEN)]}",
        }

    def _add_job(self, rows: Rows, series_uid: str, generation: int, inputs: list[str]) -> None:
        state = JOB_STATES[self.state] if generation == self.generation else JobState.SUPERSEDED
        answered = state not in (JobState.PLANNED, JobState.PREDICTING)
        key = _digest(f"job {series_uid} {generation}")
        rows[JobRow].append(
            {
                "job_key": key,
                "request_key": _digest(f"request {series_uid} {generation}"),
                "answer_key": _digest(f"answer {series_uid} {generation}"),
                "study_uid": self.uid,
                "series_uid": series_uid,
                "generation": generation,
                "protocol": self.protocol.name,
                "protocol_version": self.protocol.version,
                "questions": _questions(self.protocol),
                "inputs": inputs,
                "model": {"name": "medseg-r-tiny", "version": "1", "digest": _digest("weights"), "terms": None},
                "software": "0.2.0",
                "prior": None,
                "destinations": [{"archive": ARCHIVE, "profile": Profile.AIR.value}],
                "parts": [{"ordinal": 0, "kind": "volume", "slices": INSTANCES}] if answered else [],
                "state": state,
                "reason": "",
                "attempts": 1,
                "troubles": [],
                "lease_owner": "worker:1" if state is JobState.PREDICTING else None,
                "lease_until": self.due if state is JobState.PREDICTING else None,
                "answers": _answers(self.protocol) if answered else [],
                "predecessor_key": None,
                "created_at": self.received,
                "changed_at": self.received,
                "wake_at": self.due,
            }
        )
        if answered:
            self._add_objects(rows, key, state)

    def _add_objects(self, rows: Rows, key: str, state: JobState) -> None:
        segmentation, report = derived_uid(key, "SEG"), derived_uid(key, "SR")
        for ordinal, (uid, kind, sop_class_uid) in enumerate(
            (
                (segmentation, ResultKind.SEGMENTATION, SegmentationStorage),
                (report, ResultKind.REPORT, Comprehensive3DSRStorage),
            )
        ):
            rows[ResultObjectRow].append(
                {
                    "sop_instance_uid": uid,
                    "job_key": key,
                    "ordinal": ordinal,
                    "part": 0 if kind is ResultKind.SEGMENTATION else None,
                    "kind": kind,
                    "profile": Profile.AIR,
                    "sop_class_uid": sop_class_uid,
                    "path": f"results/{self.uid}/{key}/{kind.value}.dcm",
                    "digest": _digest(uid),
                    "object_references": [segmentation] if kind is ResultKind.REPORT else [],
                }
            )
            rows[DeliveryRow].append(self._delivery(uid, key, state))

    def _delivery(self, uid: str, key: str, job: JobState) -> dict[str, Any]:
        pending = job is JobState.DELIVERING
        ended = DeliveryState.REJECTED if job is JobState.FAILED else DeliveryState.DELIVERED
        return {
            "sop_instance_uid": uid,
            "archive": ARCHIVE,
            "job_key": key,
            "state": DeliveryState.PENDING if pending else ended,
            "reason": "pacs does not answer" if pending else "",
            "attempts": 1,
            "defects": 0,
            "lease_owner": None,
            "lease_until": None,
            "wake_at": self.due,
            "delivered_at": self.received if ended is DeliveryState.DELIVERED and not pending else None,
        }


@cache
def _questions(protocol: ReadingProtocol) -> list[dict[str, Any]]:
    return [question.as_json() for question in protocol.questions]


@cache
def _answers(protocol: ReadingProtocol) -> list[dict[str, Any]]:
    return [_answer(question).as_json() for question in protocol.questions]


def _answer(question: ProtocolQuestion) -> AnswerRecord:
    measurements = tuple(
        MeasurementRecord(kind, name, value, unit, f"{value} {unit}")
        for kind, name, value, unit in (
            ("volume", "Volume", 1432.7, "ml"),
            ("long-axis", "Long axis", 182.4, "mm"),
            ("short-axis", "Short axis", 121.9, "mm"),
            ("mean", "Mean", 104.2, "HU"),
            ("standard-deviation", "Standard deviation", 23.1, "HU"),
        )
    )
    findings = tuple(
        FindingRecord(concept.label, concept.label, 0.93, 412_345, measurements) for concept in question.findings
    )
    text = "The organ is in its usual place and of normal size; its outline is smooth in every slice."
    return AnswerRecord(question.text, text, findings, ())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
