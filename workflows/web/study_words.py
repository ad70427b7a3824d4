"""Sentences of the study page: when a job was read, what was sent, what a finding measures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from dicom_node.results.profiles import ResultKind
from workflows.state.answers import FindingRecord
from workflows.state.records import Delivery, Job, Study
from workflows.state.states import DeliveryState, StudyState
from workflows.state.views import ObjectView
from workflows.steps.worklist_state import NOT_ASKED, held_told
from workflows.web.dates import day

__all__ = ["read_at", "sent_sentences", "value_of", "when_removed", "why_not_read"]

_SIZES = ("volume", "area")


def value_of(finding: FindingRecord) -> tuple[str, list[str]]:
    """The number that stands beside a finding's name, and its other measurements in words."""
    measured = sorted(finding.measurements, key=lambda one: one.kind not in _SIZES)
    if not measured:
        return ("not measured" if finding.low_confidence else ""), []
    first, *others = measured
    return _shown(first.text).replace("at least ", "≥ "), [f"{one.name} {_shown(one.text)}" for one in others]


def _shown(text: str) -> str:
    """Units as people write them."""
    return text.replace(" mm2", " mm²")


def read_at(job: Job) -> str:
    """When the answer was saved, ISO with its zone; "" while there is none."""
    return job.changed_at.isoformat(timespec="seconds") if job.answers else ""


def when_removed(at: datetime | None) -> str | None:
    """That retention removed the images, as a sentence; None: they are here."""
    if at is None:
        return None
    return f"The images were removed from this node on {day(at.astimezone().date())}, as its retention rules say."


def why_not_read(study: Study) -> str:
    """Why a study is not read and what can be done about it, for who reads the page; "" while it is."""
    match study.state:
        case StudyState.UNMATCHED:
            return f"{NOT_ASKED[0]} {NOT_ASKED[1]}"
        case StudyState.HELD:
            return " ".join(held_told(study.reason))
        case _:
            return study.reason


def sent_sentences(objects: Sequence[ObjectView]) -> list[str]:
    """What became of a job's objects, a sentence an archive and state."""
    told: dict[tuple[str, str], list[ObjectView]] = defaultdict(list)
    times: dict[tuple[str, str], datetime] = {}
    for view in objects:
        for delivery in view.deliveries:
            key = (delivery.archive or "an archive that is yet to be configured", _state(delivery))
            told[key].append(view)
            at = delivery.committed_at or delivery.delivered_at
            if at is not None:
                times[key] = max(at, times.get(key, at))
    sentences: list[str] = []
    for (archive, state), views in told.items():
        kinds = ", ".join(dict.fromkeys(_kind(view) for view in views))
        at = times.get((archive, state))
        when = f" {day(at.astimezone().date())} {at.astimezone():%H:%M}" if at is not None else ""
        sentences.append(f"{kinds} {state}{when}: {archive}")
    return sentences


def _kind(view: ObjectView) -> str:
    if view.result.kind is ResultKind.REJECTION_NOTE:
        return "rejection note (what was sent before is taken back)"
    return str(view.result.kind.value)


def _state(delivery: Delivery) -> str:
    if delivery.state is DeliveryState.DELIVERED:
        return "stored and committed" if delivery.committed_at is not None else "stored"
    if delivery.state is DeliveryState.PENDING:
        return "waiting to be sent"
    return "not sent" if delivery.state is DeliveryState.FAILED else str(delivery.state.value).lower()
