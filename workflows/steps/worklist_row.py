"""How a worklist's row is made from what there is of a study: chips, state, tab, and what needs attention. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from dicom_node.headers.study_facts import StudyFacts
from dicom_node.results.colours import hex_of
from workflows.state.answers import ChangeRecord, FindingRecord, MeasurementRecord
from workflows.state.records import Priority
from workflows.state.reviewing import ReviewState
from workflows.state.states import JobState, StudyState
from workflows.state.worklist_records import Chip, ShownState, WorklistJob, WorklistRow, WorklistSource
from workflows.state.worklist_text import searched, shown_name, shown_text
from workflows.steps.worklist_state import attention_of, review_is_of_results, shown_state, tab_of

__all__ = ["CHANGED_PER_CENT", "WAITS_TOO_LONG", "row_of"]

CHANGED_PER_CENT = 10.0
"""A finding that grew or shrank by so much has a change that puts its study first; less may be the outline's."""
_SHOWN_PER_CENT = 1.0
WAITS_TOO_LONG = {Priority.STAT: timedelta(minutes=10), Priority.ROUTINE: timedelta(minutes=30)}
"""After its last instance, or its answer, a study that stands still for so long needs somebody."""
_LONGEST_DELAY = timedelta(days=7)
_SHOWN_MEASUREMENTS = ("volume", "area", "long-axis")
_UNITS = {"mm2": "mm²", "cm2": "cm²", "mm3": "mm³"}
_NO_IMAGES = frozenset({"SR", "SEG", "PR", "KO", "DOC", "RTSTRUCT", "AU", "REG", "FID", "PLAN"})


def row_of(source: WorklistSource, facts: StudyFacts) -> WorklistRow:
    """The row of one study. `facts`: what its header says."""
    study, review, jobs = source.study, source.review, source.jobs
    state = shown_state(source)
    answered_at = _answered_at(source)
    attention, remedy = attention_of(source, state)
    overdue_at, waits_for = _overdue(source, state, answered_at)
    seen = [finding for job in jobs for answer in job.answers for finding in answer.findings]
    stands = review is not None and review_is_of_results(source)
    ids = list(dict.fromkeys(patient.patient_id for patient in source.patients))
    names = [patient.name for patient in source.patients]
    return WorklistRow(
        study_uid=study.study_uid,
        stamp=source.stamp,
        generation=study.generation,
        patient=next((name for name in map(shown_name, names) if name), ""),
        patient_id=shown_text(" / ".join(filter(None, ids[:3]))),
        search=searched(*names, *ids, study.accession_number, study.study_uid),
        accession=shown_text(study.accession_number),
        description=shown_text(facts.description),
        study_date=facts.date,
        study_time=facts.time,
        sex=shown_text(facts.sex)[:16],
        age=facts.age,
        modalities=_modalities(source.modalities),
        protocols=tuple(dict.fromkeys(job.protocol for job in jobs)),
        asked=tuple(dict.fromkeys(f"{job.protocol} {job.protocol_version}" for job in jobs)),
        chips=tuple(_chips(seen)),
        not_seen=len(_labels_not_seen(jobs) - {finding.label for finding in seen}),
        not_assessed=len(_labels_not_assessed(jobs)),
        state=state,
        answered=sum(len(job.questions) for job in jobs if job.answers),
        questions=sum(len(job.questions) for job in jobs),
        tab=tab_of(state, source.proposals),
        attention=shown_sentence(attention),
        remedy=remedy,
        waits_for=waits_for,
        overdue_at=overdue_at,
        priority=Priority.STAT if any(job.priority is Priority.STAT for job in jobs) else Priority.ROUTINE,
        changed=any(_is_changed(finding) for finding in seen),
        first_received_at=study.first_received_at,
        last_received_at=study.last_received_at,
        acquired_at=facts.acquired_at,
        answered_at=answered_at,
        minutes=_minutes(facts.acquired_at, answered_at),
        verdicts=Counter(verdict.kind.value for verdict in review.verdicts) if review is not None and stands else {},
        reviewer="" if review is None else review.reviewer,
        reviewer_name="" if review is None else shown_name(review.name) or shown_text(review.reviewer),
        review_state="" if review is None else review.state.value,
        reviewed_at=None if review is None or review.state is ReviewState.DRAFT else review.signed_at,
        proposals=source.proposals,
        research=any(job.terms for job in jobs if job.answers),
        facts=facts,
    )


def shown_sentence(text: str) -> str:
    """A reason as a row shows it: one line, and the rest on the study's page."""
    line = " ".join(text.split())
    return line if len(line) <= _SENTENCE else line[: _SENTENCE - 1].rstrip() + "…"


_SENTENCE = 400


def _modalities(found: Sequence[str]) -> tuple[str, ...]:
    """Those of the images; of a study without any all."""
    named = [shown_text(modality)[:16] for modality in found if modality.strip()]
    return tuple([one for one in named if one not in _NO_IMAGES] or named)[:8]


def _answered_at(source: WorklistSource) -> datetime | None:
    """When the last of its questions was answered; as it was first seen, since deliveries change a job later."""
    answered = [job.changed_at for job in source.jobs if job.answers]
    if not answered or any(not job.answers and job.state in _AT_WORK for job in source.jobs):
        return None
    return min(filter(None, (source.answered_at, max(answered))))


_AT_WORK = (JobState.PLANNED, JobState.PREDICTING)


def _minutes(acquired_at: datetime | None, answered_at: datetime | None) -> int | None:
    """From acquisition to result; None where that says nothing: an old study, or a clock that is wrong."""
    if acquired_at is None or answered_at is None:
        return None
    took = answered_at - acquired_at
    return int(took.total_seconds() // 60) if timedelta(0) <= took <= _LONGEST_DELAY else None


def _overdue(source: WorklistSource, state: ShownState, answered_at: datetime | None) -> tuple[datetime | None, str]:
    """From when a study has waited too long, and what for."""
    stat = any(job.priority is Priority.STAT for job in source.jobs)
    patience = WAITS_TOO_LONG[Priority.STAT if stat else Priority.ROUTINE]
    study = source.study
    if state in (ShownState.RECEIVING, ShownState.WAITING, ShownState.READING):
        since = max(study.last_received_at, study.changed_at) if study.reread else study.last_received_at
        waits = next((job.reason for job in source.jobs if job.reason and not job.answers), "") or study.reason
        return since + patience, shown_sentence(waits)
    if study.state is StudyState.DELIVERING and answered_at is not None:
        reasons = sorted({job.reason for job in source.jobs if job.state is JobState.DELIVERING and job.reason})
        if reasons:
            return answered_at + patience, shown_sentence("; ".join(reasons))
    return None, ""


# --- Chips ------------------------------------------------------------------------------------------------------------


def _chips(findings: Sequence[FindingRecord]) -> Iterable[Chip]:
    """A chip for each label: of the finding that is surest of those measured."""
    by_label: dict[str, list[FindingRecord]] = {}
    for finding in findings:
        by_label.setdefault(finding.label, []).append(finding)
    for label, same in by_label.items():
        yield _chip(label, max(same, key=_says_most), len(same))


def _says_most(finding: FindingRecord) -> tuple[bool, int, float]:
    """Measured before not, a volume before an area, and the surest of them."""
    size = _shown_measurement(finding)
    kind = -len(_SHOWN_MEASUREMENTS) if size is None else -_SHOWN_MEASUREMENTS.index(size.kind)
    return not finding.low_confidence, kind, finding.confidence


def _chip(label: str, finding: FindingRecord, series: int) -> Chip:
    size = _shown_measurement(finding)
    value = (
        "" if size is None or finding.low_confidence else f"{_rounded(size.value)} {_UNITS.get(size.unit, size.unit)}"
    )
    change = None if size is None else _change(finding, size.name)
    per_cent = None if change is None else change.per_cent
    moved = per_cent is not None and abs(per_cent) >= _SHOWN_PER_CENT
    arrow = f"{'▲' if per_cent > 0 else '▼'} {abs(per_cent):.0f} %" if per_cent is not None and moved else ""
    at_least = size is not None and size.at_least
    told = [f"{label}: {'at least ' if at_least else ''}{value}" if value else label]
    told.append(f"confidence {finding.confidence:.2f}" + (", low" if finding.low_confidence else ""))
    told += [change.text] if change is not None else []
    told += [f"in {series} series"] if series > 1 else []
    return Chip(
        label=label,
        colour=hex_of(label),
        value=value,
        at_least=at_least,
        confidence=round(finding.confidence, 2),
        change=arrow,
        rises=bool(per_cent and per_cent > 0),
        low=finding.low_confidence,
        series=series,
        told="; ".join(told),
    )


def _shown_measurement(finding: FindingRecord) -> MeasurementRecord | None:
    kinds = {one.kind: one for one in reversed(finding.measurements)}
    return next((kinds[kind] for kind in _SHOWN_MEASUREMENTS if kind in kinds), None)


def _rounded(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _change(finding: FindingRecord, name: str) -> ChangeRecord | None:
    return next((change for change in finding.changes if change.name.casefold() == name.casefold()), None)


def _is_changed(finding: FindingRecord) -> bool:
    size = _shown_measurement(finding)
    change = None if size is None else _change(finding, size.name)
    return change is not None and change.per_cent is not None and abs(change.per_cent) >= CHANGED_PER_CENT


def _labels_not_seen(jobs: Iterable[WorklistJob]) -> set[str]:
    return {label for job in jobs for answer in job.answers for label in answer.not_seen or ()}


def _labels_not_assessed(jobs: Iterable[WorklistJob]) -> set[str]:
    """What was asked for and not looked for, and no other answer says anything of."""
    answers = [answer for job in jobs for answer in job.answers]
    told = {label for answer in answers for label in answer.not_seen or ()}
    told |= {finding.label for answer in answers for finding in answer.findings}
    return {one.label for answer in answers for one in answer.not_assessed} - told
