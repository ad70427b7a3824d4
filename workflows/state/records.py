"""What the steps hand to the repository and get from it, beside the rows themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Due", "JobPlan", "NewInstance", "SavedResult"]


@dataclass(frozen=True)
class NewInstance:
    """An instance whose file is already safe on disk."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    bytes: int
    digest: str
    calling_ae_title: str
    modality: str = ""
    series_description: str = ""
    accession_number: str = ""


@dataclass(frozen=True)
class JobPlan:
    """A job as planned: everything its key is made from, and the key."""

    job_key: str
    series_uid: str
    protocol: str
    protocol_version: str
    questions: list[dict[str, Any]]
    inputs: list[str]
    model: dict[str, Any]
    profile: str


@dataclass(frozen=True)
class SavedResult:
    """A result object whose bytes are already safe on disk."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str
    digest: str


@dataclass(frozen=True)
class Due:
    """What the scheduler has to wake: ids only."""

    plans: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
