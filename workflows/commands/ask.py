"""Ask: one question about a DICOM file or folder, without any node."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dicom_node.errors import DicomNodeError, ExportRefused, UnparseableInstance
from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.instance import read_identifiers
from dicom_node.headers.study import read_series_header
from dicom_node.results.codes import concepts_in
from dicom_node.results.nifti import affine_of, write_nifti
from dicom_node.results.profiles import Profile
from dicom_node.volumes.contents import LeftOut
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from dicom_node.volumes.load import LoadedSeries, load_series
from inference.interface import PredictorDescription
from inference.open import describe_predictor, open_predictor
from workflows.errors import CallError, QuestionRefused
from workflows.protocols.conversation import require_question
from workflows.protocols.schema import ProtocolQuestion
from workflows.reading import Reading, ReadingContext, read
from workflows.settings import Settings
from workflows.state.keys import answer_key, job_key, request_key

__all__ = ["Export", "ask", "series_in"]


class Export(StrEnum):
    """A format in which `ask` writes images and masks beside the DICOM objects."""

    NIFTI = "nifti"


def ask(
    path: Path,
    question: str,
    settings: Settings,
    folder: Path,
    series_uid: str | None = None,
    frames: FrameChoice = MIDDLE_FRAME,
    *,
    follow_ups: Sequence[str] = (),
    profile: Profile | None = None,
    export: Export | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Answer `question`, write the objects, pictures and `answer.json` to `folder`, and return what that file holds.

    `follow_ups`: what is asked next, in the same conversation. `frames`: which of a cine's frames are read. `profile`:
    whose objects, unless those of the settings. `export`: write images and masks in that format too. `tell` hears what
    is being done now. Raises CallError for a text that asks for nothing, a path without images or with several series,
    or a series that `export` cannot hold, and what loading and predicting raise.
    """
    model = settings.model
    _require_questions([question, *follow_ups], model.checkpoint)
    first = ProtocolQuestion("ask", question, concepts_in(question))
    questions = [first, *first.follow_ups(follow_ups)]
    # A wrong checkpoint shows before torch is loaded.
    describe_predictor(model.checkpoint, model.accept_research_use, model.accept_uncalibrated, access=model.access)
    found = look_for_series(path)
    paths = _one_series(found, path, series_uid)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CallError(f"nothing can be written to {folder} ({error.strerror}): name another --out") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CallError(f"nothing can be written to {folder} (permission denied): name another --out")
    tell(f"reading {len(paths)} instances")
    series = load_series(paths, frames)
    if export is Export.NIFTI:
        _require_affines(series)
    tell("loading the model")
    predictor = open_predictor(
        model.checkpoint, model.device, model.accept_research_use, model.accept_uncalibrated, access=model.access
    )
    tell("asking")
    exported: list[Path] = []
    reading = read(
        series,
        questions,
        predictor,
        _context(
            paths,
            questions,
            predictor.description,
            settings,
            {profile or settings.results.profile: folder.resolve()},
            frames,
        ),
        progress=lambda done, total: tell(f"drawing: slice {done} of {total}"),
        export=None if export is None else lambda parts: exported.extend(write_nifti(parts, folder.resolve())),
    )
    answer = _as_json(reading, len(questions), paths, series.left_out) | {"passed_over": found.told()}
    answer["exported"] = [str(one) for one in exported]
    (folder / "answer.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    return answer


def _require_questions(texts: Sequence[str], checkpoint: str) -> None:
    """Refuse before weights are loaded what asks for nothing; the commissioning model takes any text."""
    if not all(text.strip() for text in texts):
        raise CallError("the question is empty: ask something, such as 'Where is the liver?'")
    if checkpoint == "commissioning":
        return
    try:
        require_question(texts[0])
    except QuestionRefused as error:
        raise CallError(str(error)) from error


def _require_affines(series: LoadedSeries) -> None:
    """A series that NIfTI cannot hold is refused before the model is asked. Raises CallError."""
    try:
        for part in series.parts:
            affine_of(part)
    except ExportRefused as error:
        raise CallError(str(error)) from error


def _context(
    paths: Sequence[Path],
    questions: Sequence[ProtocolQuestion],
    weights: PredictorDescription,
    settings: Settings,
    folders: Mapping[Profile, Path],
    frames: FrameChoice,
) -> ReadingContext:
    """The keys of an answer outside any node follow from the files, the question and the weights."""
    inputs = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    software = version("medseg-node")
    asked = [replace(question, findings=()) for question in questions]
    request = request_key("", "", inputs, "ask", software, asked, frames=frames)
    answer = answer_key(request, weights.digest)
    return ReadingContext(
        job_key=job_key(answer, software, "", settings.results.low_confidence),
        answer_key=answer,
        created=datetime.now(UTC),
        protocol=f"ask {software}",
        station_ae_title=settings.node.ae_title,
        folders=folders,
        predecessors={},
        only_findings=False,
        low_confidence=settings.results.low_confidence,
    )


def _as_json(reading: Reading, turns: int, paths: Sequence[Path], left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """What `answer.json` holds: the first part's answer at the top, as ever, and every part's under `parts`.

    Each with what was asked next under `follow_ups`. `turns`: how many questions each part answers.
    """
    header = read_series_header(paths[:1])
    entries = [answer.as_json() for answer in reading.answers]
    parts = [_shown(entries[start : start + turns]) for start in range(0, len(entries), turns)]
    return {
        **parts[0],
        "question": entries[0]["question"],
        "series": {
            "series_uid": header.series_uid,
            "modality": header.modality,
            "series_description": header.series_description,
            "instances": len(paths),
        },
        "model": asdict(reading.model),
        "terms": reading.model.terms,
        "results": [{"kind": one.kind.value, "path": str(one.path)} for one in reading.objects],
        "parts": [
            {"part": part.ordinal, "name": part.name, **shown} for part, shown in zip(reading.parts, parts, strict=True)
        ],
        "notes": list(reading.notes),
        "left_out": [
            {"sop_instance_uid": one.sop_instance_uid, "reason": one.reason.value, "detail": one.detail}
            for one in left_out
        ],
    }


def _shown(conversation: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A part's first answer, with what was asked next."""
    first, *others = [{"text": answer["answer"], **{name: answer[name] for name in _SHOWN}} for answer in conversation]
    asked = (answer["question"] for answer in conversation[1:])
    return {**first, "follow_ups": [{"question": text, **one} for text, one in zip(asked, others, strict=True)]}


_SHOWN = ("findings", "not_seen", "not_assessed", "compared")


@dataclass(frozen=True)
class FoundSeries:
    """The DICOM files under a path by Series Instance UID, and why each other file was passed over."""

    series: dict[str, list[Path]]
    passed_over: tuple[DicomNodeError, ...]

    def told(self) -> list[str]:
        """How many files were passed over and the first reasons, a line each; nothing if there is nothing to say."""
        if not self.passed_over:
            return []
        rest = len(self.passed_over) - _FIRST_REASONS
        count = f"{len(self.passed_over)} files were passed over:"
        reasons = [f"  {reason}" for reason in self.passed_over[:_FIRST_REASONS]]
        return [count, *reasons, *([f"  and {rest} more"] if rest > 0 else [])]


_FIRST_REASONS = 3


def look_for_series(path: Path) -> FoundSeries:
    """Look at every file under a path. Raises CallError if there is no such path, or it is one file of no use."""
    if not path.exists():
        raise CallError(f"{path} does not exist")
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    series: dict[str, list[Path]] = {}
    passed_over: list[DicomNodeError] = []
    for file in files:
        try:
            series.setdefault(read_identifiers(file).series_uid, []).append(file)
        except DicomNodeError as error:
            if path.is_file():
                raise CallError(str(error)) from error
            passed_over.append(error)
    # What is DICOM and wrong is worth more of the few lines than what is not DICOM.
    passed_over.sort(key=lambda error: isinstance(error, UnparseableInstance))
    return FoundSeries(series, tuple(passed_over))


def series_in(path: Path) -> dict[str, list[Path]]:
    """The DICOM files under a path by Series Instance UID; other files are passed over."""
    return look_for_series(path).series


def _one_series(looked: FoundSeries, path: Path, series_uid: str | None) -> Sequence[Path]:
    found = looked.series
    if not found:
        none = f"{path} holds no DICOM files"
        if any(not isinstance(error, UnparseableInstance) for error in looked.passed_over):
            none = f"no file under {path} can be read"
        raise CallError("\n".join([none, *looked.told()]))
    if series_uid is None and len(found) == 1:
        return next(iter(found.values()))
    listed = "\n".join([*(f"  {_described(files)}" for _uid, files in sorted(found.items())), *looked.told()])
    if series_uid is None:
        raise CallError(f"{path} holds {len(found)} series; name one with --series:\n{listed}")
    if series_uid not in found:
        raise CallError(f"{path} holds no series {series_uid}, but:\n{listed}")
    return found[series_uid]


def _described(files: Sequence[Path]) -> str:
    header = read_series_header(files[:1])
    what = f"{header.modality} {header.series_description}".strip()
    _, study = read_file_header(files[0], ("PatientID", "StudyDate"))
    whose = ", ".join(filter(None, [f"patient {text(study, 'PatientID')}", text(study, "StudyDate")]))
    return f"{header.series_uid} {what} ({len(files)} instances; {whose})"
