"""Prior: the earlier result that a job is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicom_node.results.earlier import EarlierResult

__all__ = ["Prior"]


@dataclass(frozen=True)
class Prior:
    """The earlier result that a job is compared with, fixed when it is planned, so that predicting needs no network.

    `answer_key`: of the earlier job in this database; `sop_instance_uid`, `archive`: of the SR that an archive has.
    `study_uid`: of the earlier study. `result`: what it says; None: there is none. `note`: why there is none, or what
    else a person should know of the search; it identifies nothing. `review`: number of the review that `result` is as
    its reviewer has it; None: as the model answered.
    """

    answer_key: str | None
    sop_instance_uid: str | None = None
    archive: str = ""
    study_uid: str = ""
    result: EarlierResult | None = None
    note: str = ""
    review: int | None = None

    @property
    def identifying(self) -> dict[str, Any] | None:
        """What a request depends on; None where there is no earlier result."""
        if self.answer_key is None and self.sop_instance_uid is None:
            return None
        result = None if self.result is None else self.result.as_json()
        return {"answer": self.answer_key, "instance": self.sop_instance_uid, "result": result}

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        return {**vars(self), "result": None if self.result is None else self.result.as_json()}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> Prior:
        """The inverse of `as_json`."""
        result = entry.get("result")
        return Prior(**{**entry, "result": None if result is None else EarlierResult.from_json(result)})
