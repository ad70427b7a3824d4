"""AnswerRecord: an answer as the database and `answer.json` keep it, with plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from dicom_node.results.comparison import Change

__all__ = ["AnswerRecord", "ChangeRecord", "FindingRecord", "MeasurementRecord", "NotAssessedRecord"]


@dataclass(frozen=True)
class MeasurementRecord:
    """A measurement as it is shown everywhere. `kind`: as in `MeasurementKind`; `text`: number, unit, what holds of it.

    `at_least`: the finding was perhaps cut off by the edge of what was imaged. Of an axis: `sop_instance_uid` and
    `frame_number` (from 1) of the image that it was measured on, `slice` (from 1), its place in the stack, and `ends`,
    column and row of both ends; the corner of the image is 0, 0. `method`: the code of how the pixel spacing was come
    by, where that says what the value means.
    """

    kind: str
    name: str
    value: float
    unit: str
    text: str
    at_least: bool = False
    sop_instance_uid: str | None = None
    frame_number: int | None = None
    slice: int | None = None
    ends: tuple[tuple[float, float], tuple[float, float]] | None = None
    method: str | None = None

    @staticmethod
    def from_json(entry: dict[str, Any]) -> MeasurementRecord:
        """The inverse of `asdict`. An entry of version 0.1 has the first five alone."""
        ends = entry.get("ends")
        return MeasurementRecord(**{**entry, "ends": None if ends is None else (tuple(ends[0]), tuple(ends[1]))})


@dataclass(frozen=True)
class ChangeRecord:
    """A measurement then and now; dates are ISO dates of the studies. `text` says it all in a line.

    `before_at_least`, `after_at_least`: it is a lower bound. `difference`: None where either is; `per_cent`: also
    where it was 0.
    """

    name: str
    unit: str
    before: float
    after: float
    before_date: str
    after_date: str
    difference: float | None
    per_cent: float | None
    before_at_least: bool
    after_at_least: bool
    text: str

    @staticmethod
    def of(change: Change) -> ChangeRecord:
        """A change as it is kept; its difference without the dust of floating point."""
        return ChangeRecord(
            name=change.name,
            unit=change.unit,
            before=change.before,
            after=change.after,
            before_date="" if change.before_date is None else change.before_date.isoformat(),
            after_date="" if change.after_date is None else change.after_date.isoformat(),
            difference=None if change.difference is None else round(change.difference, 6),
            per_cent=None if change.per_cent is None else round(change.per_cent, 2),
            before_at_least=change.before_at_least,
            after_at_least=change.after_at_least,
            text=change.text,
        )

    @staticmethod
    def from_json(entry: dict[str, Any]) -> ChangeRecord:
        """The inverse of `asdict`. An older entry says only whether either is a lower bound: then both are taken so."""
        if "bounded" not in entry:
            return ChangeRecord(**entry)
        plain = dict(entry)
        if not plain.pop("bounded"):
            return ChangeRecord(**plain, before_at_least=False, after_at_least=False)
        then, now = (date.fromisoformat(plain[key]) if plain[key] else None for key in ("before_date", "after_date"))
        values = plain["before"], plain["after"]
        return ChangeRecord.of(Change(plain["name"], plain["unit"], *values, then, now, True, True))


@dataclass(frozen=True)
class FindingRecord:
    """One thing that was named and marked. `confidence`: 0 to 1; `low_confidence`: too low to measure anything.

    `changes`: since an earlier result. `tracking_uid`: of its segment and measurements; "" where it was not kept.
    """

    phrase: str
    label: str
    confidence: float
    voxels: int
    measurements: tuple[MeasurementRecord, ...] = ()
    low_confidence: bool = False
    changes: tuple[ChangeRecord, ...] = ()
    tracking_uid: str = ""

    @property
    def at_least(self) -> bool:
        """Whether the finding was perhaps cut off, so that its sizes are lower bounds."""
        return any(one.at_least for one in self.measurements)

    def value_of(self, kind: str) -> float | None:
        """The number of one kind of measurement; None where the image does not give it."""
        return next((one.value for one in self.measurements if one.kind == kind), None)

    def as_json(self) -> dict[str, Any]:
        """The finding for `status --json`, `answer.json` and the database; volume and area also by their own names."""
        plain = asdict(self)  # its measurements too, as a tuple
        plain["measurements"], plain["changes"] = list(plain["measurements"]), list(plain["changes"])
        sizes = {"volume_ml": self.value_of("volume"), "area_mm2": self.value_of("area")}
        return {**plain, **sizes, "at_least": self.at_least}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> FindingRecord:
        """The inverse of `as_json`. An entry of version 0.1 has volume and area alone."""
        measurements = tuple(MeasurementRecord.from_json(one) for one in entry.get("measurements", ()))
        if "measurements" not in entry:
            old = (("volume", "Volume", entry.get("volume_ml"), "ml"), ("area", "Area", entry.get("area_mm2"), "mm2"))
            measurements = tuple(
                MeasurementRecord(kind, name, value, unit, f"{value:.3g} {unit}")
                for kind, name, value, unit in old
                if value is not None
            )
        return FindingRecord(
            phrase=entry["phrase"],
            label=entry["label"],
            confidence=entry["confidence"],
            voxels=entry["voxels"],
            measurements=measurements,
            low_confidence=entry.get("low_confidence", False),
            changes=tuple(ChangeRecord.from_json(one) for one in entry.get("changes", ())),
            tracking_uid=entry.get("tracking_uid", ""),
        )


@dataclass(frozen=True)
class NotAssessedRecord:
    """Something that was asked for and not looked for. `why`: a word for programs; `reason`: a sentence for people."""

    label: str
    why: str
    reason: str

    @property
    def told(self) -> str:
        """What it is called, and why it was not assessed."""
        return f"{self.label}: {self.reason}"


@dataclass(frozen=True)
class AnswerRecord:
    """One question of a job, asked of one part, with its answer.

    `not_seen`: labels of what was asked for and not seen; None: not recorded. `compared`: sentences on an earlier
    result beside the changes of findings. `not_assessed`: what was asked for and not looked for. `goes_on`: it goes on
    from the answer before it, of the same part, and has only what that one does not say. `not_asked`: the question was
    not asked, and `text` says why: nothing was looked for, and there is nothing to judge.
    """

    question: str
    text: str
    findings: tuple[FindingRecord, ...]
    not_seen: tuple[str, ...] | None
    part: int = 0
    compared: tuple[str, ...] = ()
    not_assessed: tuple[NotAssessedRecord, ...] = ()
    goes_on: bool = False
    not_asked: bool = False

    def as_json(self) -> dict[str, Any]:
        """The answer as a job's row keeps it."""
        return {
            "question": self.question,
            "answer": self.text,
            "findings": [finding.as_json() for finding in self.findings],
            "not_seen": None if self.not_seen is None else list(self.not_seen),
            "part": self.part,
            "compared": list(self.compared),
            "not_assessed": [asdict(one) for one in self.not_assessed],
            "goes_on": self.goes_on,
            **({"not_asked": True} if self.not_asked else {}),
        }

    @staticmethod
    def from_json(entry: dict[str, Any]) -> AnswerRecord:
        """The inverse of `as_json`. An older entry has neither `not_assessed` nor `goes_on`; few have `not_asked`."""
        not_seen = entry.get("not_seen")
        return AnswerRecord(
            question=entry["question"],
            text=entry["answer"],
            findings=tuple(FindingRecord.from_json(finding) for finding in entry.get("findings", ())),
            not_seen=None if not_seen is None else tuple(not_seen),
            part=entry.get("part", 0),
            compared=tuple(entry.get("compared", ())),
            not_assessed=tuple(NotAssessedRecord(**one) for one in entry.get("not_assessed", ())),
            goes_on=entry.get("goes_on", False),
            not_asked=entry.get("not_asked", False),
        )
