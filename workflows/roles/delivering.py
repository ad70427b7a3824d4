"""The io role's lanes: planning, writing reviews, looking at the protocols; for each archive one sends, one asks.

No lane waits for another: an archive that is silent for minutes keeps its own two lanes, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from inference.errors import InferenceError
from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, ProtocolErrors, SettingsError, defect
from workflows.roles.lanes import Lane
from workflows.state.waker import Waker
from workflows.steps.confirm import confirm_deliveries
from workflows.steps.plan import plan_study
from workflows.steps.publish import publish_job
from workflows.steps.retract import retract_results
from workflows.steps.review import write_review

__all__ = ["io_lanes", "plan_or_hold"]

log = structlog.get_logger()

_PLANNERS = 2
_REVIEWS_LOOK_S = 0.5


def io_lanes(node: Node, waker: Waker) -> list[Lane[Any]]:
    """All lanes of the io role. What goes to an archive that is not configured has lanes too: it is told so."""
    lanes: list[Lane[Any]] = [_planning(f"plan-{number}", node, waker) for number in range(1, _PLANNERS + 1)]
    lanes.append(_writing_reviews(node, waker))
    if not node.is_commissioning:
        lanes.append(_watching_protocols(node))
    archives = [archive.name for archive in node.settings.archives]
    for archive in (*archives, None):
        name = archive or "others"
        lanes.append(_sending(f"send-{name}", node, archive, archives))
        lanes.append(_asking(f"confirm-{name}", node, waker, archive, archives))
    return lanes


def _planning(name: str, node: Node, waker: Waker) -> Lane[str]:
    def plan(study_uid: str) -> bool:
        plan_or_hold(study_uid, node, waker)
        return True

    return Lane(name, "planning", lambda: node.repository.take_plan(), plan)


def _writing_reviews(node: Node, waker: Waker) -> Lane[tuple[str, int]]:
    """Nobody is woken when an undo time is over: the lane looks often enough that a reader sees no wait."""

    def write(due: tuple[str, int]) -> bool:
        write_review(*due, node.repository, node.folder, node.review_writer(), waker)
        return True

    return Lane("reviews", "delivery", lambda: node.repository.next_review(), write, look_s=_REVIEWS_LOOK_S)


def _watching_protocols(node: Node) -> Lane[str]:
    """An edit of the protocols is taken or refused, and told, also while no study comes."""
    told = list[str]()

    def look() -> None:
        try:
            node.load_protocols()
            told.clear()
        except ProtocolErrors as error:  # a node that never had any: studies wait and say so
            if told != [str(error)]:
                log.error("no_protocols", mistakes=[str(mistake) for mistake in error.mistakes])
                told[:] = [str(error)]

    return Lane("protocols", "protocols", lambda: None, lambda _due: True, idle=look)


def _sending(name: str, node: Node, archive: str | None, archives: Sequence[str]) -> Lane[tuple[str, str]]:
    def send(due: tuple[str, str]) -> bool:
        return publish_job(*due, node.repository, node.folder, node.sender())

    return Lane(name, "delivery", lambda: node.repository.next_delivery(archive, archives), send)


def _asking(
    name: str, node: Node, waker: Waker, archive: str | None, archives: Sequence[str]
) -> Lane[tuple[str, str, str]]:
    """What an archive is asked, and what is taken back from it: first the one, then the other, as they are due."""

    def take() -> tuple[str, str, str] | None:
        if (asked := node.repository.next_confirmation(archive, archives)) is not None:
            return "confirm", *asked
        wanted = node.repository.next_retraction(archive, archives)
        return None if wanted is None else ("retract", *wanted)

    def ask(due: tuple[str, str, str]) -> bool:
        what, identifier, where = due
        if what == "confirm":
            return confirm_deliveries(identifier, where, node.repository, node.sender())
        retract = partial(retract_results, identifier, where, node.repository, node.folder, node.sender(), waker)
        return retract()

    return Lane(name, "delivery", take, ask)


def plan_or_hold(study_uid: str, node: Node, waker: Waker) -> None:
    """Plan a study; where that cannot be done now, or the program fails, the study says why."""
    repository = node.repository
    try:
        plan_study(study_uid, repository, node.folder, node.planner(), waker)
    except (ProtocolErrors, SettingsError, InferenceError) as error:
        log.error("cannot_plan", study_uid=study_uid, reason=str(error))
        study = repository.study(study_uid)
        if study is not None:
            repository.hold_plan(study_uid, study.generation, f"waits to be planned: {error}")
    except DatabaseUnavailable:
        raise
    except Exception as error:
        log.exception("plan_failed", study_uid=study_uid)
        repository.record_plan_defect(study_uid, defect(error))
