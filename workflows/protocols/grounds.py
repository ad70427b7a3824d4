"""Grounds: why a protocol says what it says, condition by condition, by the decisions of `match`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.headers.study import StudyHeader
from workflows.protocols.conditions import AllOf, AnyOf, Condition, Count, Not
from workflows.protocols.deciding import Deciding
from workflows.protocols.evaluating import Evaluation
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.verdicts import Ground

__all__ = ["Grounds", "grounds"]


@dataclass(frozen=True)
class Grounds:
    """Why a protocol says what it says, condition by condition: of the study, and of each series by its UID.

    The ground of a series is made of two: whether its kind of images is asked, and `series.where`.
    """

    when: Ground
    series: dict[str, Ground]


def grounds(study: StudyHeader, protocol: ReadingProtocol) -> Grounds:
    """The same decisions as `match` makes, told in full, for explanations and pages."""
    deciding = Deciding(study)
    when = deciding.of_study(protocol)
    of_series = {}
    outcomes = deciding.of_series(protocol, when)
    for index, (series, outcome) in enumerate(zip(deciding.series, outcomes, strict=True)):
        hygiene = deciding.hygiene(protocol, index)
        beneath = (
            Ground("series.include", hygiene.truth, hygiene.told),
            _ground(protocol.series.where, index, deciding.evaluation, "series.where"),
        )
        of_series[series.series_uid] = Ground("series", outcome.truth, outcome.told, outcome.missing, beneath)
    return Grounds(_ground(protocol.when, None, deciding.evaluation, "when"), of_series)


def _ground(condition: Condition, index: int | None, evaluation: Evaluation, at: str) -> Ground:
    """`at`: its place, where the condition does not say it itself."""
    outcome = evaluation.of_study(condition) if index is None else evaluation.of_series(condition)((index,))[0]
    where = condition.where or at
    beneath: tuple[Ground, ...] = ()
    if isinstance(condition, AllOf | AnyOf):
        parts = enumerate(condition.conditions, start=1)
        beneath = tuple(_ground(part, index, evaluation, f"{where}[{number}]") for number, part in parts)
    elif isinstance(condition, Not):
        beneath = (_ground(condition.condition, index, evaluation, f"{where}.not"),)
    elif isinstance(condition, Count):
        every = range(len(evaluation.series))
        beneath = tuple(_ground(condition.condition, each, evaluation, f"{where}.of") for each in every)
    return Ground(where, outcome.truth, outcome.told, outcome.missing, beneath)
