"""The study page's model: one study with its jobs, parts, answers and findings, as plain values for JSON and templates.

What an image has to say (geometry, windows) comes from its headers; `whole` says for which jobs they are looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError
from dicom_node.headers.shown import StudyFacts, read_study_facts
from dicom_node.results.colours import hex_of
from dicom_node.results.mask_file import key_slice
from dicom_node.results.nifti_stream import grid_of
from dicom_node.showing.stack import ShownStack
from workflows.bootstrap import Node
from workflows.errors import NotShown
from workflows.state.answers import AnswerRecord, ChangeRecord, FindingRecord
from workflows.state.records import Instance, Job, Part
from workflows.state.reviewing import FindingPlace, Review
from workflows.state.states import QuestionState
from workflows.state.views import JobView, Selection, StudyView
from workflows.steps.kept_headers import kept_header_path
from workflows.steps.showing import Showing, part_findings
from workflows.web.as_signed import as_signed, written
from workflows.web.study_words import read_at, sent_sentences, value_of, when_removed, why_not_read

__all__ = ["StudyModel", "study_model"]

BANNER = "Research use only: the weights in service are not a medical device."
_UNMARKED = re.compile(r"\s*\[Not marked: (.*)\.\]$", re.DOTALL)


@dataclass(frozen=True)
class StudyModel:
    """The model, and the records it was made of."""

    view: StudyView
    review: Review | None
    values: dict[str, Any]

    @property
    def shown_first(self) -> Job | None:
        """The job whose images a page shows at first: of those that are answered, one that marked something."""
        return _first_shown([one.job for one in self.view.jobs])


def study_model(node: Node, showing: Showing, study_uid: str, whole: str | None = None) -> StudyModel:
    """The model of a study. `whole`: key of the job whose images are looked at, "" for the first; None: of none.

    Raises LookupError where the study is not known.
    """
    repository = node.repository
    subject = repository.review_subject(study_uid)  # before what is shown: no token of what was not
    views = repository.study_views(Selection(study_uid=study_uid))
    if not views or subject is None:
        raise LookupError("this study is not here")
    (view,) = views
    review = repository.review(study_uid)
    facts = _facts(node, study_uid)
    series = {one.series_uid: one for one in repository.series_of(study_uid)}
    first = _first_shown([one.job for one in view.jobs])
    looked_at = first.job_key if whole == "" and first is not None else whole
    signed = repository.reviewed_answers(study_uid) if written(review) is not None else {}
    earlier = _earlier_jobs(view.jobs, node)
    jobs = [
        _job(one, showing, review, earlier, series_name=_series_name(series.get(one.job.series_uid), one.job),
             whole=one.job.job_key == looked_at)
        for one in [*view.jobs, *repository.question_jobs(study_uid)]
    ]  # fmt: skip
    asked_by = {one.job.job_key: one.asked_by for one in repository.questions(study_uid)}
    for job in jobs:
        if review is not None and job["job_key"] in signed:
            for answer, record in zip(job["answers"], signed[job["job_key"]], strict=False):
                as_signed(answer["findings"], record, review)
        job["question_by"] = asked_by.get(job["job_key"])
    research = [one.job.model.terms for one in view.jobs if one.job.model.terms]
    priors = [job["compared_with"] for job in jobs if job["compared_with"]]
    values = {
        "study": {
            "study_uid": study_uid,
            "patient": facts.name,
            "patient_id": facts.patient_id,
            "born": facts.birth_date,
            "sex": facts.sex,
            "age": facts.age,
            "description": facts.description,
            "date": facts.date,
            "time": facts.time,
            "accession": facts.accession or view.study.accession_number,
            "modality": facts.modality,
            "state": view.study.state.value,
            "reason": view.study.reason,
            "why": why_not_read(view.study),
            "attention": view.study.attention,
            "generation": view.study.generation,
        },
        "research": bool(research),
        "banner": BANNER if research else "",
        "ohif": _ohif(node, study_uid),
        "purged": when_removed(view.study.inputs_removed_at),
        "prior": priors[0] if priors else None,
        "results": subject.token,
        "jobs": jobs,
    }
    return StudyModel(view, review, values)


def _first_shown(jobs: Sequence[Job]) -> Job | None:
    answered = [job for job in jobs if job.answers]
    return next((job for job in answered if job.seen), answered[0] if answered else None)


def _facts(node: Node, study_uid: str) -> StudyFacts:
    image = node.repository.one_image(study_uid)
    if image is None:
        return StudyFacts()
    try:
        return read_study_facts(_header_path(image, node))
    except (DicomNodeError, OSError):
        patient = image.patient
        return StudyFacts() if patient is None else StudyFacts(name=patient.name, patient_id=patient.patient_id)


def _header_path(image: Instance, node: Node) -> Any:
    if image.removed_at is not None:
        return kept_header_path(image.study_uid, image.series_uid, node.folder)
    return node.folder.absolute(image.path)


def _ohif(node: Node, study_uid: str) -> str | None:
    """The site's viewer, where an archive has DICOMweb for it."""
    viewer = node.settings.web.viewer_url
    if not viewer or not any(one.dicomweb_url for one in node.settings.archives):
        return None
    return f"{viewer}/viewer?StudyInstanceUIDs={study_uid}"


def _series_name(series: Any, job: Job) -> str:
    modality = "" if series is None else series.modality
    described = "" if series is None else series.series_description
    return described or (f"{modality} series" if modality else "Series")


# --- Jobs -------------------------------------------------------------------------------------------------------------


def _job(
    view: JobView,
    showing: Showing,
    review: Review | None,
    earlier: dict[str, Sequence[Job]],
    *,
    series_name: str,
    whole: bool,
) -> dict[str, Any]:
    job = view.job
    objects = tuple(one.result for one in view.objects)
    counts = {part.ordinal: _counts(showing, job, objects, part.ordinal, review) for part in job.parts}
    tracked = showing.tracking_uids(job, objects)
    return {
        "job_key": job.job_key,
        "series_uid": job.series_uid,
        "series": series_name,
        "protocol": job.protocol_name,
        "weights": f"{job.model.name} {job.model.version} · {job.model.digest[:8]}",
        "terms": job.model.terms or "",
        "state": job.state.value,
        "reason": job.reason,
        "notes": list(job.notes),
        "read_at": read_at(job),
        "sent": sent_sentences(view.objects),
        "preliminary": job.question is QuestionState.ASKED,
        "question_by": None,
        "compared_with": _compared_with(job, earlier),
        "why_no_prior": "" if job.prior is None or job.prior.study_uid else job.prior.note,
        "parts": [_part(part, job, showing, whole=whole) for part in job.parts],
        "answers": [
            _answer(number, answer, job, counts.get(answer.part), tracked.get(answer.part, ()))
            for number, answer in enumerate(job.answers)
        ],
    }


def _earlier_jobs(views: Sequence[JobView], node: Node) -> dict[str, Sequence[Job]]:
    """The jobs of each earlier study that some job is compared with."""
    uids = dict.fromkeys(one.job.prior.study_uid for one in views if one.job.prior is not None)
    return {
        uid: [one.job for view in node.repository.study_views(Selection(study_uid=uid)) for one in view.jobs]
        for uid in uids
        if uid
    }


def _compared_with(job: Job, earlier: dict[str, Sequence[Job]]) -> dict[str, Any] | None:
    """The earlier study, and its job where it is here; None: there is nothing to compare with."""
    prior = job.prior
    if prior is None or not prior.study_uid:
        return None
    found = [one for one in earlier.get(prior.study_uid, ()) if one.answer_key == prior.answer_key]
    day = next((change.before_date for answer in job.answers for finding in answer.findings
                for change in finding.changes if change.before_date), "")  # fmt: skip
    if not day and found and found[0].kind is not None and found[0].kind.date is not None:
        day = found[0].kind.date.isoformat()
    if not day and prior.result is not None:
        day = prior.result.date.isoformat()
    return {"study_uid": prior.study_uid, "job_key": found[0].job_key if found else None, "date": day}


def _part(part: Part, job: Job, showing: Showing, *, whole: bool) -> dict[str, Any]:
    plain = {
        "part": part.ordinal, "name": part.name, "kind": part.kind.value, "slices": part.slices, "rows": None,
        "columns": None, "spacing_mm": None, "pixel_mm": None, "unit": "", "letters": None, "flip": None, "windows": [],
        "planes": False, "why_no_planes": "", "colour": False, "places": None, "pending": True, "trouble": None,
    }  # fmt: skip
    if not whole and not showing.knows(job):
        return plain
    try:
        stack = showing.stack(job, part.ordinal)
    except NotShown as error:
        return {**plain, "pending": False, "trouble": {"why": error.why, "sentence": str(error)}}
    except LookupError:
        sentence = "This part is not among the images any more; read the study again."
        return {**plain, "pending": False, "trouble": {"why": "damaged", "sentence": sentence}}
    why_no_planes = _why_no_planes(stack)
    view = stack.view
    return {
        **plain,
        "rows": stack.rows,
        "columns": stack.columns,
        "spacing_mm": stack.spacing_mm,
        "pixel_mm": stack.pixel_spacing_mm,
        "unit": stack.unit,
        "letters": asdict(stack.sides),
        "flip": {"transpose": view.transpose, "rows": view.flip_rows, "columns": view.flip_columns},
        "windows": [{"name": one.name, "centre": one.centre, "width": one.width} for one in stack.windows],
        "planes": not why_no_planes,
        "why_no_planes": why_no_planes,
        "colour": stack.color,
        "places": _places(stack),
        "pending": False,
    }


def _places(stack: ShownStack) -> dict[str, Any] | None:
    """How far each slice lies along the normal, mm, to scroll two series together; None without patient geometry."""
    geometry = stack.geometry
    if geometry is None:
        return None
    depths = geometry.positions @ geometry.normal
    return {
        "frame_of_reference": geometry.frame_of_reference_uid,
        "normal": [round(float(one), 6) for one in geometry.normal],
        "depths": [round(float(one), 3) for one in depths],
    }


def _why_no_planes(stack: ShownStack) -> str:
    """Why the grid cannot be cut along other planes, or ""."""
    return grid_of(
        stack.geometry, (len(stack.slices), stack.rows, stack.columns), stack.name, color=stack.color
    ).why_none


# --- Answers ----------------------------------------------------------------------------------------------------------


def _counts(
    showing: Showing, job: Job, objects: Any, part: int, review: Review | None
) -> dict[FindingPlace, NDArray[np.int64]]:
    """Of each finding of a part how many voxels it has on each slice, corrected ones as corrected; {}: nobody knows."""
    try:
        own = dict(zip(part_findings(job, part), showing.counts(job, objects, part), strict=False))
    except (NotShown, LookupError):
        return {}
    for place in own:
        corrected = showing.corrected(review, place)
        if corrected is not None:
            own[place] = corrected.counts()
    return own


def _answer(
    number: int,
    answer: AnswerRecord,
    job: Job,
    counts: dict[FindingPlace, NDArray[np.int64]] | None,
    tracked: Sequence[str],
) -> dict[str, Any]:
    unmarked = _UNMARKED.search(answer.text)
    places = part_findings(job, answer.part)
    findings = []
    for index, finding in enumerate(answer.findings):
        place = FindingPlace(job.job_key, number, index)
        order = places.index(place)
        findings.append(
            _finding(place, finding, (counts or {}).get(place), tracked[order] if order < len(tracked) else "")
        )
    return {
        "answer": number,
        "part": answer.part,
        "question": answer.question,
        "text": _UNMARKED.sub("", answer.text) or "No words were given.",
        "not_seen": None if answer.not_seen is None else list(answer.not_seen),
        "not_assessed": [{"label": one.label, "reason": one.reason} for one in answer.not_assessed],
        "not_marked": unmarked.group(1).split("; ") if unmarked else [],
        "goes_on": answer.goes_on,
        "not_asked": answer.not_asked,
        "compared": list(answer.compared),
        "findings": findings,
    }


def _finding(
    place: FindingPlace, finding: FindingRecord, counts: NDArray[np.int64] | None, tracking_uid: str
) -> dict[str, Any]:
    value, rest = value_of(finding)
    slices = [] if counts is None else list(_stretches(np.flatnonzero(counts)))
    return {
        "place": place.text,
        "answer": place.answer,
        "finding": place.finding,
        "label": finding.label,
        "taken_out": False,
        "phrase": finding.phrase,
        "colour": hex_of(finding.label),
        "confidence": finding.confidence,
        "low_confidence": finding.low_confidence,
        "value": value,
        "at_least": finding.at_least,
        "details": [*rest, *_extent(slices, 0 if counts is None else len(counts))],
        "changes": [_change(one) for one in finding.changes],
        "slices": slices,
        "largest_slice": None if counts is None else key_slice(counts),
        "tracking_uid": tracking_uid,
    }


def _change(change: ChangeRecord) -> dict[str, Any]:
    difference = change.difference
    known = difference is not None and math.isfinite(difference)
    return {
        "name": change.name,
        "text": change.text,
        "short": f"{abs(difference or 0):.3g} {change.unit.replace('mm2', 'mm²')}" if known else "change not known",
        "direction": (0 if not difference else 1 if difference > 0 else -1) if known else None,
    }


def _stretches(slices: NDArray[np.int64]) -> Iterable[list[int]]:
    if not slices.size:
        return
    breaks = np.flatnonzero(np.diff(slices) > 1)
    firsts, lasts = [0, *(breaks + 1)], [*breaks, slices.size - 1]
    for first, last in zip(firsts, lasts, strict=True):
        yield [int(slices[first]), int(slices[last])]


def _extent(slices: Sequence[Sequence[int]], count: int) -> list[str]:
    if not slices or count < 2:
        return []
    touched = sum(last - first + 1 for first, last in slices)
    ends = [name for name, meets in (("first", slices[0][0] == 0), ("last", slices[-1][1] == count - 1)) if meets]
    return [f"{touched} slice{'s' if touched > 1 else ''}{', touches ' + ' and '.join(ends) if ends else ''}"]
