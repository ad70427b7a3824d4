"""Ask: one question about a DICOM file or folder, without any node."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dicom_node.errors import DicomNodeError
from dicom_node.headers.headers import read_identifiers, read_series_header
from dicom_node.results.codes import concepts_in
from dicom_node.results.finding import ResultContext
from dicom_node.volumes.load import load_series
from inference.open import describe_predictor, open_predictor
from workflows.errors import CallError
from workflows.protocols.schema import ProtocolQuestion
from workflows.settings import Settings
from workflows.steps.predict import answer_series, answers_as_json, save_objects

__all__ = ["ask", "series_in"]


def ask(
    path: Path,
    question: str,
    settings: Settings,
    folder: Path,
    series_uid: str | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Answer `question`, write SEG, SR, overlay and `answer.json` to `folder`, and return what that file holds.

    `tell` hears what is being done now. Raises CallError for a path without images or with several series, and what
    loading and predicting raise.
    """
    if not question.strip():
        raise CallError("the question is empty: ask something, such as 'Where is the liver?'")
    model = settings.model
    describe_predictor(model.checkpoint, model.accept_research_use)  # a wrong checkpoint shows before torch is loaded
    paths = _one_series(series_in(path), path, series_uid)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CallError(f"nothing can be written to {folder} ({error.strerror}): name another --out") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CallError(f"nothing can be written to {folder} (permission denied): name another --out")
    tell(f"reading {len(paths)} instances")
    volume = load_series(paths)
    tell("loading the model")
    predictor = open_predictor(model.checkpoint, model.device, model.accept_research_use)
    description = predictor.description
    digests = sorted(hashlib.sha256(one.read_bytes()).hexdigest() for one in paths)
    key = hashlib.sha256(json.dumps([digests, question, description.digest]).encode()).hexdigest()
    asked = ProtocolQuestion("ask", question, concepts_in(question))  # one that is not seen can then be told
    tell("asking")
    answers = answer_series(
        volume,
        [asked],
        predictor,
        key,
        only_findings=False,
        progress=lambda done, total: tell(f"drawing: slice {done} of {total}"),
    )
    tell("writing the results")
    context = ResultContext(
        job_key=key,
        created=datetime.now(UTC),
        algorithm_name=description.name,
        algorithm_version=description.version,
        weights_digest=description.digest,
        terms=description.terms,
        protocol=f"ask {version('medseg-node')}",
        station_ae_title=settings.node.ae_title,
        profile=settings.results.profile,
    )
    results = save_objects(volume, answers, context, folder.resolve())
    [entry] = answers_as_json(volume, answers)
    header = read_series_header(paths[:1])
    answer = {
        "text": entry["answer"],
        "findings": entry["findings"],
        "not_seen": entry["not_seen"],
        "question": question,
        "series": {
            "series_uid": header.series_uid,
            "modality": header.modality,
            "series_description": header.series_description,
            "instances": len(paths),
        },
        "terms": description.terms,
        "results": [{"kind": one.kind, "path": one.path} for one in results],
    }
    (folder / "answer.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    return answer


def series_in(path: Path) -> dict[str, list[Path]]:
    """The DICOM files under a path by Series Instance UID; files that are not DICOM are passed over."""
    if not path.exists():
        raise CallError(f"{path} does not exist")
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    found: dict[str, list[Path]] = {}
    for file in files:
        try:
            identifiers = read_identifiers(file)
        except DicomNodeError as error:
            if path.is_file():
                raise CallError(str(error)) from error
            continue
        found.setdefault(identifiers.series_uid, []).append(file)
    return found


def _one_series(found: dict[str, list[Path]], path: Path, series_uid: str | None) -> Sequence[Path]:
    if not found:
        raise CallError(f"{path} holds no DICOM files")
    if series_uid is None and len(found) == 1:
        return next(iter(found.values()))
    listed = "\n".join(f"  {_described(files)}" for _uid, files in sorted(found.items()))
    if series_uid is None:
        raise CallError(f"{path} holds {len(found)} series; name one with --series:\n{listed}")
    if series_uid not in found:
        raise CallError(f"{path} holds no series {series_uid}, but:\n{listed}")
    return found[series_uid]


def _described(files: Sequence[Path]) -> str:
    header = read_series_header(files[:1])
    what = f"{header.modality} {header.series_description}".strip()
    return f"{header.series_uid} {what} ({len(files)} instances)"
