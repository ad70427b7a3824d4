"""The studies of the last days, as they were planned, for a change of rules that is tried on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dicom_node.headers.study import study_header
from workflows.bootstrap import Node
from workflows.protocols.costing import Cost, cost_of
from workflows.protocols.replaying import KnownStudy
from workflows.state.views import Selection

__all__ = ["PastStudies", "past_studies"]


@dataclass(frozen=True)
class PastStudies:
    """`studies`: those that came last, the newest first. `left_out`: earlier ones of the same days, beyond the bound.

    `unknown`: studies of which no headers were kept. `cost`: what this node has measured of its model.
    """

    studies: tuple[KnownStudy, ...]
    left_out: int
    unknown: int
    cost: Cost


def past_studies(node: Node, days: int, most: int) -> PastStudies:
    """Planned studies of the last `days`, `most` of them at most."""
    since = datetime.now(UTC) - timedelta(days=days)
    planned = list(node.repository.kept_studies(since, limit=most))
    known = tuple(
        KnownStudy(study_header(one.kept), one.accession_number, one.received_at) for one in planned if one.kept
    )
    all_of_them = node.repository.count_studies(Selection(since=since)) if len(planned) == most else len(planned)
    return PastStudies(
        studies=known,
        left_out=max(0, all_of_them - len(planned)),
        unknown=len(planned) - len(known),
        cost=cost_of(node.repository.measured_answers(since)),
    )
