"""What identifies a request, an answer, a job and an object. All UIDs of results derive from these keys. Pure.

    request   study, series, inputs, protocol and version, questions,              what is asked of which images
              frames (unless the middle one), the earlier result (if any)
    answer    request, digest of the weights                                       what the weights say to it
    job       answer, version of the software, node, confidence below which        who reads it, once
              nothing is measured (unless 0.5)
    object    job, profile, edition (unless the first)                             the files that say so
    object    job, profile, edition (unless the first), number of the review       what a reviewer has made of them
    delivery  object, archive                                                      see `records.Delivery`

The generation is in none of them: an unchanged request carries over into a new generation. New weights or software
change only the lower keys, so they read nothing again by themselves; `reread` compares whole job keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dicom_node.results.profiles import Profile
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.interface import LOW_CONFIDENCE
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.records import Prior

__all__ = ["LOW_CONFIDENCE", "answer_key", "job_key", "object_key", "request_key"]


def request_key(
    study_uid: str,
    series_uid: str,
    inputs: Sequence[str],
    protocol: str,
    protocol_version: str,
    questions: Sequence[ProtocolQuestion],
    prior: Prior | None = None,
    frames: FrameChoice = MIDDLE_FRAME,
) -> str:
    """Digest of what is asked of which images. Findings are part of a question: they decide what may be marked."""
    parts: dict[str, Any] = {
        "study": study_uid,
        "series": series_uid,
        "inputs": list(inputs),
        "protocol": [protocol, protocol_version],
        "questions": [question.as_json() for question in questions],
    }
    if prior is not None and (earlier := prior.identifying) is not None:
        parts["prior"] = earlier
    if frames != MIDDLE_FRAME:
        parts["frames"] = frames.text
    return _digest(parts)


def answer_key(request: str, weights_digest: str) -> str:
    """Digest of a request and the weights that answer it."""
    return _digest({"request": request, "weights": weights_digest})


def job_key(answer: str, software: str, node_uid: str, low_confidence: float = LOW_CONFIDENCE) -> str:
    """Digest of an answer and of who gives it: a version of the software on a node, and what it takes for doubtful."""
    parts: dict[str, Any] = {"answer": answer, "software": software, "node": node_uid}
    if low_confidence != LOW_CONFIDENCE:
        parts["low_confidence"] = low_confidence
    return _digest(parts)


def object_key(job: str, profile: Profile, edition: int = 1, review: int | None = None) -> str:
    """Digest of a job and the profile that its objects are made for, and how often they were made anew.

    `review`: the number of the review that makes them.
    """
    parts: dict[str, Any] = {"job": job, "profile": profile.value}
    if edition != 1:
        parts["edition"] = edition
    if review is not None:
        parts["review"] = review
    return _digest(parts)


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
