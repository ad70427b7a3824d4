"""What a reviewer has made of an answer: parts with corrected masks and names, as result objects are made from them.

A finding keeps its tracking UID whatever was corrected of it. What is not there, or is there without an outline that
can be trusted, has no segment and no measurement: the answer's text says what the reviewer said of it (verdicts.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ResultRefused
from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import concept_for
from dicom_node.results.comparing import AskedQuestion, ReadNow, compared_parts
from dicom_node.results.concept import SegmentedConcept
from dicom_node.results.finding import Drawn, Finding, NotAssessed, PointedOut, ReadAnswer, ReadPart
from dicom_node.results.mask_file import mask_file_name, read_masks
from dicom_node.results.measurement import measure
from dicom_node.results.profiles import ResultKind
from dicom_node.results.read_back import masks_in, tracking_in, uids_in
from dicom_node.volumes.load import LoadedSeries, SeriesVolume
from workflows.data_folder import DataFolder
from workflows.state.answers import AnswerRecord, FindingRecord
from workflows.state.records import ResultObject
from workflows.state.reviewing import Correction, FindingVerdict, Missed, VerdictKind
from workflows.steps.priors import made_by
from workflows.steps.verdicts import Verdicts, because

__all__ = ["reviewed_parts"]

_MOST_TARGETS = 256
"""Of one question; tracking UIDs count what the model named, also what was not marked of it."""


def reviewed_parts(
    verdicts: Verdicts,
    series: LoadedSeries,
    corrections: Mapping[str, Correction],
    folder: DataFolder,
    *,
    compared: bool = True,
) -> tuple[ReadPart, ...]:
    """The parts of a job as its reviewer has them. `corrections`: of the study, by digest. `compared`: with its prior.

    Masks are the node's own files, else those of the saved SEG. What has changed is measured anew; the same mask gives
    the same numbers. Raises ResultRefused for a correction that is damaged, empty or on another grid, and for masks
    that are not those of the answer.
    """
    job = verdicts.reviewed.job
    if len(series.parts) != len(job.parts):
        raise ResultRefused(f"the images make {len(series.parts)} parts and were read as {len(job.parts)}")
    parts = tuple(
        _Part(ordinal, volume, verdicts, corrections, folder).read() for ordinal, volume in enumerate(series.parts)
    )
    if not compared or job.prior is None or job.prior.result is None:
        return parts
    if job.kind is None or job.kind.date is None:
        return parts
    asked = [AskedQuestion(one.id, one.text, one.findings, bool(one.follows)) for one in job.questions]
    now = ReadNow(job.kind.date, job.kind.grid, made_by(job.model))
    return compared_parts(parts, asked, job.prior.result, now)


@dataclass(frozen=True)
class _Part:
    """One part of a job. `ordinal`: from 0."""

    ordinal: int
    volume: SeriesVolume
    verdicts: Verdicts
    corrections: Mapping[str, Correction]
    folder: DataFolder

    def read(self) -> ReadPart:
        job = self.verdicts.reviewed.job
        answers = [(number, answer) for number, answer in enumerate(job.answers) if answer.part == self.ordinal]
        masks = iter(self._masks([finding for _, answer in answers for finding in answer.findings]))
        tracked = iter(self._tracking([answer for _, answer in answers]))
        return ReadPart(
            self.ordinal,
            self.volume,
            tuple(
                self._answer(number, question, answer, masks, tracked)
                for question, (number, answer) in enumerate(answers)
            ),
        )

    def _answer(
        self,
        number: int,
        question: int,
        answer: AnswerRecord,
        masks: Iterator[NDArray[np.bool_]],
        tracked: Iterator[tuple[str, str]],
    ) -> ReadAnswer:
        findings = []
        for place, finding in enumerate(answer.findings):
            kept = self._finding(finding, self.verdicts.on(number, place), question, next(masks), next(tracked))
            findings += [kept] if kept is not None else []
        pointed_out = []
        for place, missed in enumerate(self.verdicts.missed(number)):
            if missed.correction is not None:
                findings.append(self._missed(missed, question, number, place))
            else:
                pointed_out.append(self._pointed_out(missed))
        not_seen = [self._concept(label, question) for label in self.verdicts.not_seen(number)]
        return ReadAnswer(
            question=answer.question,
            text=self.verdicts.text_of(number),
            findings=tuple(findings),
            not_seen=tuple(not_seen),
            pointed_out=tuple(pointed_out),
            not_assessed=tuple(self._not_assessed(number, question)),
            goes_on=answer.goes_on,
            not_asked=answer.not_asked,
        )

    def _not_assessed(self, number: int, question: int) -> Iterator[NotAssessed]:
        """What the model could not look for, and no person has seen."""
        asked = self.verdicts.reviewed.job.questions[question].findings
        for one in self.verdicts.not_assessed(number):
            concept = next((finding for finding in asked if finding.label == one.label), None) or concept_for(one.label)
            yield NotAssessed(one.label, concept, one.why, one.reason)

    def _finding(
        self,
        record: FindingRecord,
        verdict: FindingVerdict,
        question: int,
        mask: NDArray[np.bool_],
        tracked: tuple[str, str],
    ) -> Finding | None:
        """A finding as the reviewer has it; None: it is not there, or not where it was marked."""
        if verdict.kind is VerdictKind.NOT_THERE:
            return None
        named = verdict.label is not None and verdict.label != record.label and verdict.kind is not VerdictKind.ACCEPT
        unfit = verdict.kind is VerdictKind.OUTLINE or (verdict.kind is VerdictKind.NAME and not named)
        if unfit and verdict.correction is None:
            return None
        if verdict.correction is not None:
            mask = self._corrected(verdict.correction, record.label)
        changed = named or verdict.correction is not None
        label = verdict.label if named and verdict.label is not None else record.label
        low = record.low_confidence and not changed
        return Finding(
            phrase=label if named else record.phrase,
            concept=self._concept(label, question),
            confidence=record.confidence,
            mask=mask,
            tracking_id=tracked[0],
            tracking_uid=tracked[1],
            measurements=() if low else measure(self.volume, mask),
            low_confidence=low,
            drawn=Drawn.CORRECTED if changed else Drawn.MODEL,
        )

    def _missed(self, missed: Missed, question: int, number: int, place: int) -> Finding:
        mask = self._corrected(missed.correction or "", missed.label)
        review = str(self.verdicts.review.number)
        key = self.verdicts.reviewed.job.answer_key
        return Finding(
            phrase=missed.label,
            concept=self._concept(missed.label, question),
            confidence=1.0,
            mask=mask,
            tracking_id=f"{missed.label} {question + 1}, review {review}.{place + 1}",
            tracking_uid=derived_uid(key, "review", review, "missed", str(number), str(place)),
            measurements=measure(self.volume, mask),
            drawn=Drawn.PERSON,
        )

    def _pointed_out(self, missed: Missed) -> PointedOut:
        slices, rows, columns = self.volume.values.shape[:3]
        inside = 0 <= missed.slice < slices and -0.5 <= missed.row < rows and -0.5 <= missed.column < columns
        if not inside:
            raise ResultRefused(f"the click on {missed.label} is outside the images: open the review and click again")
        where = f"slice {missed.slice + 1} of {slices}, " if slices > 1 else ""
        place = f"{where}row {missed.row + 1:.0f}, column {missed.column + 1:.0f}"
        told = f"Missed: {missed.label}, pointed out by the reviewer at {place}; not outlined{because(missed.reason)}."
        return PointedOut(missed.slice, missed.row, missed.column, told)

    def _concept(self, label: str, question: int) -> SegmentedConcept:
        asked = self.verdicts.reviewed.job.questions[question].findings
        concept = next((one for one in asked if one.label == label), None) or concept_for(label)
        if concept is None:
            raise ResultRefused(f"no code is known for {label!r}: open the review and choose another name")
        return concept

    # --- Masks --------------------------------------------------------------------------------------------------------

    def _corrected(self, digest: str, label: str) -> NDArray[np.bool_]:
        """A mask that a person drew, bool `slices rows columns`."""
        again = f"draw {label} again, then sign the review again"
        correction = self.corrections.get(digest)
        if correction is None:
            raise ResultRefused(f"the corrected outline of {label} is not known here: {again}")
        path = self.folder.absolute(correction.path)
        try:
            intact = hashlib.sha256(path.read_bytes()).hexdigest() == digest
            masks = read_masks(path) if intact else ()
        except (OSError, ResultRefused):
            masks = ()
        if len(masks) != 1:
            raise ResultRefused(f"the file of the corrected outline of {label} is gone or damaged: {again}")
        if masks[0].shape != self.volume.values.shape[:3] or correction.part != self.ordinal:
            raise ResultRefused(f"the corrected outline of {label} is on another grid than the images: {again}")
        if not masks[0].any():
            raise ResultRefused(f"the corrected outline of {label} is empty: say that it is not there, or {again}")
        return masks[0]

    def _masks(self, findings: Sequence[FindingRecord]) -> Sequence[NDArray[np.bool_]]:
        """The model's masks of the part, in the order of its findings."""
        if not findings:
            return ()
        masks = self._kept_masks()
        shape = self.volume.values.shape[:3]
        fits = len(masks) == len(findings) and all(
            mask.shape == shape and int(mask.sum()) == finding.voxels
            for mask, finding in zip(masks, findings, strict=True)
        )
        if not fits or not self._agree(masks):
            told = "the saved masks are not those of the answer, they are gone or damaged"
            raise ResultRefused(f"{told}: `medseg-node reread --study {self.volume.study_uid}`, then review it")
        return masks

    def _agree(self, masks: Sequence[NDArray[np.bool_]]) -> bool:
        """Whether masks are those of the SEG that was sent, where that is there and intact."""
        segmentation = self._segmentation()
        if segmentation is None:
            return True
        digests = {self.folder.absolute(one.path): one.digest for one in self.verdicts.reviewed.objects}
        if hashlib.sha256(segmentation.read_bytes()).hexdigest() != digests[segmentation]:
            return True
        try:
            sent = masks_in(segmentation, self.volume)
        except ResultRefused:
            return True
        return len(sent) != len(masks) or all(map(np.array_equal, sent, masks))

    def _kept_masks(self) -> Sequence[NDArray[np.bool_]]:
        own = [one for one in self.verdicts.reviewed.objects if one.review is None]
        for parent in dict.fromkeys(self.folder.absolute(one.path).parent for one in own):
            try:
                return read_masks(parent / mask_file_name(self.ordinal))
            except (OSError, ResultRefused):
                continue
        segmentation = self._segmentation()  # of an earlier version, which kept no masks beside it
        if segmentation is None:
            return ()
        return masks_in(segmentation, self.volume)

    def _segmentation(self) -> Path | None:
        """The part's saved SEG, of any profile."""
        return next(self._own(ResultKind.SEGMENTATION, self.ordinal), None)

    def _own(self, kind: ResultKind, part: int | None) -> Iterator[Path]:
        own: Iterator[ResultObject] = iter(self.verdicts.reviewed.objects)
        for one in own:
            path = self.folder.absolute(one.path)
            if (one.kind, one.part, one.review) == (kind, part, None) and path.is_file():
                yield path

    # --- Tracking -----------------------------------------------------------------------------------------------------

    def _tracking(self, answers: Sequence[AnswerRecord]) -> Sequence[tuple[str, str]]:
        """Tracking ID and UID of each of the model's findings, as its SEG has them, else its report."""
        findings = [(number, finding) for number, answer in enumerate(answers) for finding in answer.findings]
        if (path := self._segmentation()) is not None:
            segments = tracking_in(path)
            if len(segments) == len(findings):
                return segments
        report = next(self._own(ResultKind.REPORT, None), None)
        written = set() if report is None else uids_in(report)
        scope = derived_uid(self.verdicts.reviewed.job.answer_key, "part", str(self.ordinal))
        tracked = []
        for number, answer in enumerate(answers):
            known = [derived_uid(scope, "tracking", str(number), str(one)) for one in range(_MOST_TARGETS)]
            places = [place for place, uid in enumerate(known) if uid in written]
            if len(places) != len(answer.findings):
                places = list(range(len(answer.findings)))
            for place, finding in zip(places, answer.findings, strict=True):
                tracked.append((f"{finding.label} {number + 1}.{place + 1}", known[place]))
        return tracked
