"""Priors: which earlier result of ours a series is compared with. The choice is pure.

An earlier result is one of the same patient, asked the same of the same kind of series, of an earlier study.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from dicom_node.errors import InstanceRefused
from dicom_node.headers.patient import Patient, first_contradiction
from dicom_node.headers.series_kind import SeriesKind, read_series_kind
from dicom_node.results.codes import concept_for
from dicom_node.results.concept import SegmentedConcept
from dicom_node.results.earlier import (
    EarlierAnswer,
    EarlierFinding,
    EarlierMeasurement,
    EarlierPart,
    EarlierResult,
    NamedConcept,
)
from inference.interface import PredictorDescription
from workflows.data_folder import DataFolder
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord
from workflows.state.priors import EarlierJob
from workflows.state.records import Job, Prior

__all__ = ["Candidate", "Choice", "Wanted", "candidate_of", "choose", "earlier_result", "made_by"]


@dataclass(frozen=True)
class Wanted:
    """A series that an earlier result is wanted for.

    `patients`: whom its images name. `beside`: the other series of its study that are asked by the same protocol.
    """

    study_uid: str
    patients: tuple[Patient, ...]
    kind: SeriesKind
    questions: tuple[ProtocolQuestion, ...]
    beside: tuple[SeriesKind, ...] = ()

    @property
    def patient(self) -> Patient:
        return merged(self.patients)


@dataclass(frozen=True)
class Candidate:
    """An earlier result as it would be compared with; `patients`: whom its images or its report name."""

    prior: Prior
    kind: SeriesKind
    patients: tuple[Patient, ...]


@dataclass(frozen=True)
class Choice:
    """The earlier result that is taken, or None; why others are not, as sentences without anybody's name."""

    prior: Prior | None
    reasons: tuple[str, ...] = ()


def merged(patients: Iterable[Patient]) -> Patient:
    """One patient of several that do not contradict each other: the first value of each attribute that is there."""
    known = list(patients)
    values = (
        next(filter(None, (getattr(one, name) for one in known)), "")
        for name in ("patient_id", "issuer", "name", "birth_date")
    )
    return Patient(*values)


def choose(wanted: Wanted, candidates: Sequence[Candidate]) -> Choice:
    """The newest of the candidates that are of the same patient, asked the same of the same kind of series, earlier.

    A study in which several would do is not passed over for an older one: then there is none, and it is said why.
    """
    reasons: list[str] = []
    studies: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.kind.modality and candidate.kind.modality != wanted.kind.modality:
            continue
        if reason := _unfit(wanted, candidate):
            reasons.append(reason)
        elif candidate.kind.is_before(wanted.kind):
            studies[candidate.prior.study_uid].append(candidate)
    # The newest first; of one moment the higher UID, so that the choice is the same every time.
    newest = sorted(studies.items(), key=lambda item: (max(one.kind.taken for one in item[1]), item[0]), reverse=True)
    for _study_uid, found in newest:
        fits = [one for one in found if _same_kind(wanted.kind, one.kind)]
        if not fits:
            reasons.append(f"the series of {found[0].kind.date} is of another plane, view or side")
            continue
        paired = _paired(wanted, fits)
        if paired is None:
            reasons.append(f"several series of {fits[0].kind.date} or of this study were asked the same: which belong "
                           "together is not clear")  # fmt: skip
        return Choice(None if paired is None else paired.prior, tuple(dict.fromkeys(reasons)))
    return Choice(None, tuple(dict.fromkeys(reasons)))


def _unfit(wanted: Wanted, candidate: Candidate) -> str:
    """Why an earlier result is not this patient's, or not of this question; "" where it may be taken."""
    study = f"study {candidate.prior.study_uid}"
    contradicting = first_contradiction((*wanted.patients, *candidate.patients))
    if contradicting is not None:
        return f"{study} is of another patient under the same ID: they contradict each other in " + (
            contradicting.attributes
        )
    ours, theirs = wanted.patient, merged(candidate.patients)
    if (ours.patient_id, ours.issuer) != (theirs.patient_id, theirs.issuer):
        return f"{study} does not name the same Patient ID and Issuer of Patient ID"
    if not candidate.kind.taken:
        return f"{study} has no date"
    if candidate.prior.result is None or not _asked_the_same(wanted.questions, candidate.prior.result):
        return f"study {candidate.prior.study_uid} was asked other questions"
    return ""


def _asked_the_same(questions: Sequence[ProtocolQuestion], earlier: EarlierResult) -> bool:
    texts = {" ".join(one.text.casefold().split()) for one in questions}
    ids = {one.id for one in questions}
    return any(" ".join(one.question.casefold().split()) in texts or one.question_id in ids for one in earlier.answers)


def _paired(wanted: Wanted, fits: Sequence[Candidate]) -> Candidate | None:
    """The one of a study's candidates that belongs to the series, by its description or alone; None: not clear."""
    rivals = [kind for kind in wanted.beside if wanted.kind.agrees(kind) and kind.modality == wanted.kind.modality]
    named = [one for one in fits if _folded(one.kind.description) == _folded(wanted.kind.description)]
    rivals_named = [kind for kind in rivals if _folded(kind.description) == _folded(wanted.kind.description)]
    if len(named) == 1 and not rivals_named:
        return named[0]
    return fits[0] if len(fits) == 1 and not rivals else None


def _same_kind(now: SeriesKind, then: SeriesKind) -> bool:
    """A view that only one of them says needs the same description."""
    if not now.agrees(then):
        return False
    view_known = bool(now.view) == bool(then.view) and bool(now.laterality) == bool(then.laterality)
    return view_known or _folded(now.description) == _folded(then.description) != ""


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


# --- From the database ------------------------------------------------------------------------------------------------


def candidate_of(earlier: EarlierJob, folder: DataFolder) -> Candidate:
    """A job of the database as a candidate.

    A job that was planned before its series' kind was kept has it read from one of its files; where that cannot be
    read here, it has no date.
    """
    job, kind = earlier.job, earlier.job.kind
    if kind is None:
        kind = SeriesKind(earlier.series.modality, earlier.series.series_description)
        if earlier.image is not None:
            with suppress(InstanceRefused, OSError):
                kind = read_series_kind(folder.absolute(earlier.image.path))
    result = None if kind.date is None else earlier_result(job, kind)
    prior = Prior(job.answer_key, study_uid=job.study_uid, result=result, review=earlier.review)
    return Candidate(prior, kind, earlier.patients)


def earlier_result(job: Job, kind: SeriesKind) -> EarlierResult:
    """What an answered job says. `kind`: of its series, with a date."""
    assert kind.date is not None
    parts: dict[int, list[EarlierAnswer]] = {}
    for place, answer in enumerate(job.answers):
        question = job.question_of(place)
        if question is not None and not question.follows:
            parts.setdefault(answer.part, []).append(_answer(answer, question))
    names: Mapping[int, str] = {part.ordinal: part.name for part in job.parts}
    return EarlierResult(
        kind.date,
        tuple(EarlierPart(tuple(answers), names.get(ordinal, "")) for ordinal, answers in sorted(parts.items())),
        kind.grid,
        made_by(job.model),
    )


def made_by(model: PredictorDescription) -> str:
    """A model as results name it, with the start of its weights' digest."""
    return f"{model.name} {model.version} ({model.digest[:12]})"


def _answer(answer: AnswerRecord, question: ProtocolQuestion) -> EarlierAnswer:
    return EarlierAnswer(
        question=answer.question,
        asked=tuple(NamedConcept.of(concept) for concept in question.findings),
        findings=tuple(_findings(answer, question)),
        question_id=question.id,
        not_assessed=tuple(
            NamedConcept.of(concept)
            for one in answer.not_assessed
            if (concept := _concept(one.label, question)) is not None
        ),
    )


def _findings(answer: AnswerRecord, question: ProtocolQuestion) -> Iterator[EarlierFinding]:
    for finding in answer.findings:
        concept = _concept(finding.label, question)
        if concept is not None:
            measured = tuple(
                EarlierMeasurement(one.kind, one.value, one.unit, one.method, one.at_least)
                for one in finding.measurements
                if one.kind in ("volume", "area", "long-axis", "short-axis")
            )
            yield EarlierFinding(
                replace(NamedConcept.of(concept), label=finding.label), measured, finding.low_confidence
            )


def _concept(label: str, question: ProtocolQuestion) -> SegmentedConcept | None:
    """What a label is coded as: it is that of one of the question's findings, else of a side of one."""
    return next((one for one in question.findings if one.label == label), None) or concept_for(label)
