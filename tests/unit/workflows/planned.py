"""A study with one job, planned with a version of a protocol: no more than what the database keeps of it."""

from __future__ import annotations

from pathlib import Path

from dicom_node.results.profiles import Profile
from inference.interface import PredictorDescription
from workflows.state.records import Destination, JobPlan, NewInstance
from workflows.state.repository import Repository

__all__ = ["complete_study", "job_planned_with"]


def complete_study(repository: Repository, study: str = "1.2.9") -> None:
    """One that waits to be planned."""
    new = NewInstance(study, f"{study}.1", f"{study}.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1",
                      Path("1.dcm"), 10, "d", "CT1")  # fmt: skip
    repository.record_instances([new], lambda _title: 0)
    assert repository.complete_quiet_studies() == [study]


def job_planned_with(repository: Repository, digest: str, study: str = "1.2.9") -> None:
    """A job that a protocol of this digest asks."""
    complete_study(repository, study)
    weights = PredictorDescription("model", "1", "a" * 64, None)
    plan = JobPlan(study, study, study, f"{study}.1", "x", "1", (), (), weights, "1",
                   (Destination("", Profile.AIR),), protocol_digest=digest)  # fmt: skip
    assert repository.save_plan(study, 1, [plan], [], "planned")
