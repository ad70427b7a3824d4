"""The operator's hands on studies: what an order would do to each, and doing it. Commands and the page use the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import assert_never

import structlog

from workflows.state.repository import Repository
from workflows.state.requeueing import StudyOutcome
from workflows.state.views import Selection
from workflows.steps.reread import Candidate, candidates, candidates_as_is, reopen, reopen_as_is

__all__ = ["Action", "Order", "carry_out", "foresee"]

log = structlog.get_logger()


class Action(Enum):
    """What an operator may want of studies."""

    REREAD = "reread"
    REREAD_AS_IS = "reread-as-is"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    RESEND = "resend"

    @property
    def told(self) -> str:
        """What it does, in a sentence."""
        return _TOLD[self]

    @property
    def shown(self) -> str:
        """Its name on the page; commands and addresses have `value`."""
        return _SHOWN[self]


_SHOWN = {
    Action.REREAD: "Read again",
    Action.REREAD_AS_IS: "Read each series under its own patient",
    Action.REQUEUE: "Put back what failed",
    Action.CANCEL: "Stop",
    Action.RESEND: "Send again",
}
_TOLD = {
    Action.REREAD: "Plan studies again with today's protocols, weights and software; what none of them changes is not "
    "asked again. For UNMATCHED studies too.",
    Action.REREAD_AS_IS: "Read HELD studies with each series under its own patient, in this generation only.",
    Action.REQUEUE: "Put back what failed or was cancelled, as it is: the same weights, the same UIDs.",
    Action.CANCEL: "Stop what waits, is read or is sent. What an archive has stays there.",
    Action.RESEND: "Send saved results to their archives again: the same bytes, but nothing that is retracted.",
}


@dataclass(frozen=True)
class Order:
    """What is wanted, by whom. `protocol`: only of jobs of that name; `archive`: resend to that one alone."""

    action: Action
    by: str
    protocol: str | None = None
    archive: str | None = None


def foresee(repository: Repository, order: Order, study_uids: Sequence[str]) -> list[StudyOutcome]:
    """What the order would do to each study, in their order; nothing is changed. Unknown studies are left out."""
    known = [uid for uid in study_uids if repository.study(uid) is not None]
    match order.action:
        case Action.REREAD | Action.REREAD_AS_IS:
            choose = candidates if order.action is Action.REREAD else candidates_as_is
            return [_outcome(one) for uid in known for one in choose(repository, Selection(study_uid=uid))]
        case Action.REQUEUE | Action.CANCEL | Action.RESEND:
            return [_wish(repository, order, uid, dry_run=True) for uid in known]
        case action:
            assert_never(action)


def carry_out(repository: Repository, order: Order, foreseen: Sequence[StudyOutcome]) -> list[StudyOutcome]:
    """Do what was foreseen for those studies that are ready; the audit names who wanted it. May run twice."""
    ready = [one for one in foreseen if one.ready]
    match order.action:
        case Action.REREAD | Action.REREAD_AS_IS:
            chosen = [Candidate(one.study_uid, one.generation, one.state, True, one.outcome) for one in ready]
            if order.action is Action.REREAD:
                done = reopen(repository, chosen, order.by)
            else:
                done = reopen_as_is(repository, chosen, order.by)
            after = {one.study_uid: _outcome(one) for one in done}
        case Action.REQUEUE | Action.CANCEL | Action.RESEND:
            after = {one.study_uid: _wish(repository, order, one.study_uid, dry_run=False) for one in ready}
        case action:
            assert_never(action)
    for one in after.values():
        log.warning(order.action.value, study_uid=one.study_uid, wanted_by=order.by, jobs=one.jobs, objects=one.objects)
    return [after.get(one.study_uid, one) for one in foreseen]


def _wish(repository: Repository, order: Order, study_uid: str, *, dry_run: bool) -> StudyOutcome:
    match order.action:
        case Action.REQUEUE:
            return repository.requeue(study_uid, order.by, order.protocol, dry_run=dry_run)
        case Action.CANCEL:
            return repository.cancel(study_uid, order.by, order.protocol, dry_run=dry_run)
        case Action.RESEND:
            return repository.resend(study_uid, order.by, order.archive, order.protocol, dry_run=dry_run)
        case _:
            raise ValueError(f"{order.action.value} is planned, not wished")


def _outcome(candidate: Candidate) -> StudyOutcome:
    return StudyOutcome(**asdict(candidate), jobs=0, objects=0)
