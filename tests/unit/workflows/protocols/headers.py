"""Headers and protocols that tests of rules begin with."""

from __future__ import annotations

from dicom_node.headers.study import SeriesHeader, StudyHeader
from dicom_node.results.codes import LABELS
from workflows.protocols.conditions import ALWAYS, AllOf, Condition, Equals, Pattern, Test
from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol, SeriesSelector

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES = SeriesHeader(
    series_uid="1.2.3", modality="CT", sop_class_uids=(CT,), instances=40, series_description="Abdomen venous"
)
STUDY = StudyHeader(study_uid="1.2", series=(SERIES,))
LIVER = ProtocolQuestion("liver", "Where is the liver?", (LABELS["liver"],))


def pattern(field: str, *expressions: str, if_missing: bool | None = None) -> Test:
    return Test(field, tuple(map(Pattern, expressions)), if_missing)


def equals(field: str, *values: str, if_missing: bool | None = None) -> Test:
    return Test(field, (Equals(values),), if_missing)


ABDOMEN = AllOf((equals("modality", "CT"), pattern("description", "abdomen")))


def protocol(
    where: Condition = ABDOMEN, name: str = "abdomen", *, when: Condition = ALWAYS, **changes: object
) -> ReadingProtocol:
    """`changes`: of the protocol; `prefer`, `take` and `include` of its series."""
    selector = {key: changes.pop(key) for key in ("prefer", "take", "include") if key in changes}
    series = SeriesSelector(where, **selector)  # type: ignore[arg-type]
    return ReadingProtocol(name, "1", name, (LIVER,), **{"when": when, "series": series, **changes})  # type: ignore[arg-type]
