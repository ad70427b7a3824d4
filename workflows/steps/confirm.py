"""Confirm: whether an archive keeps what it answered 0x0000 to, by its storage commitment, or seen by a query."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.identifiers import derived_uid
from dicom_node.network.commitment import CommitmentAnswer, failure_told, is_missing
from workflows.errors import DatabaseUnavailable, defect
from workflows.state.records import UnconfirmedObject
from workflows.state.repository import Repository
from workflows.steps.route import Route, Sender, no_route

__all__ = ["confirm_deliveries", "record_commitment"]

log = structlog.get_logger()

_ANSWER_WAITS_S = (60.0, 600.0, 3600.0)
"""How long an answer to each request for commitment may take; after the last one a query looks."""
_LOOKS_S = (10.0, 60.0, 300.0, 1800.0)
"""How long after a query that does not show an object the next one looks; after the last one it is sent again."""
_REFUSED_S = 600.0
_UNREACHABLE_S = 300.0
"""Between two tries at an archive that is away: nothing waits for what it would say."""


def confirm_deliveries(key: str, archive: str, repository: Repository, sender: Sender) -> bool:
    """Ask an archive about the objects of a job that it took and that nothing has confirmed yet.

    False: it could not be reached.
    """
    archive = sender.named(key, archive, repository)
    claimed = repository.claim_confirmations(key, archive, sender.lease_s)
    if not claimed:
        return True
    asking = _Asking(key, archive, repository, claimed, sender)
    route = sender.route(archive)
    if route is None:
        asking.postpone(claimed, no_route(archive), sender.longest_wait_s)
        return True
    try:
        asking.ask(route)
    except PeerUnreachable as error:
        log.warning("archive_unreachable", archive=archive, reason=str(error), next_attempt_s=_UNREACHABLE_S)
        asking.postpone(claimed, str(error), _UNREACHABLE_S, answered=False)
        return False
    except DatabaseUnavailable:  # they are due again by themselves
        raise
    except Exception as error:
        log.exception("confirm_failed", job_key=key, archive=archive)
        asking.postpone(claimed, defect(error), sender.longest_wait_s)
    return True


def record_commitment(answer: CommitmentAnswer, repository: Repository) -> None:
    """Keep what an archive answered, on whatever association. An answer that nobody asked for is logged."""
    failed = {uid: f"not committed: {failure_told(reason)}" for uid, reason in answer.failed.items()}
    missing = {uid for uid, reason in answer.failed.items() if is_missing(reason)}
    known = repository.record_commitment(answer.transaction_uid, answer.committed, failed, missing, _REFUSED_S)
    tell = log.info if known and not failed else log.warning
    tell(
        "commitment_answered" if known else "commitment_not_asked_for",
        transaction_uid=answer.transaction_uid,
        committed=len(answer.committed),
        failed=sorted(set(failed.values())),
    )


class _Asking:
    """The objects of one claim."""

    def __init__(
        self,
        key: str,
        archive: str,
        repository: Repository,
        claimed: Sequence[UnconfirmedObject],
        sender: Sender,
    ) -> None:
        self._key, self._archive, self._repository, self._claimed = key, archive, repository, claimed
        self._sender = sender
        self.attempt = max(one.attempts for one in claimed)

    def ask(self, route: Route) -> None:
        """By storage commitment where the archive has it, as long as it answers; else by a query."""
        if not route.commitment:
            self._look(route, self.attempt)
        elif self.attempt < len(_ANSWER_WAITS_S):
            self._ask_commitment(route)
        else:
            self._look(route, self.attempt - len(_ANSWER_WAITS_S), f"{route.title} did not answer for commitment; ")

    def _ask_commitment(self, route: Route) -> None:
        uids = sorted(one.result.sop_instance_uid for one in self._claimed)
        count = f"{self.attempt}.{sum(one.resends for one in self._claimed)}"
        transaction_uid = derived_uid("commitment", self._key, self._archive, count, *uids)
        self._repository.record_commitment_request(transaction_uid, self._key, self._archive)
        wait_s = _ANSWER_WAITS_S[self.attempt]
        # Before it is asked: its answer may come on another association while we still wait.
        self.postpone(self._claimed, f"{route.title} was asked for commitment and has not answered yet", wait_s)
        try:
            answer = route.ask_commitment(transaction_uid, [one.result for one in self._claimed])
            fault_point(FaultPoint.COMMITMENT_ASKED)
        except PeerRejected as error:
            log.warning("commitment_refused", archive=self._archive, reason=str(error))
            self._look(route, self.attempt, f"{route.title} does not commit itself ({error}); ")
            return
        except PeerUnreachable as error:
            # An archive that does not know us may break off: after several times a query looks.
            log.warning("commitment_not_asked", archive=self._archive, reason=str(error), next_attempt_s=wait_s)
            self.postpone(self._claimed, f"{route.title} could not be asked for commitment: {error}", wait_s)
            return
        if answer is not None:
            record_commitment(answer, self._repository)

    def _look(self, route: Route, looks: int, before: str = "") -> None:
        """Record what a query shows; what none of several shows was lost there, and is sent again."""
        try:
            shown = route.shown(self._claimed[0].study_uid, [one.result for one in self._claimed])
        except PeerRejected as error:
            self.postpone(self._claimed, f"{before}it cannot be queried: {error}", None)
            return
        self._repository.record_seen(self._key, self._archive, shown, before.removesuffix("; "))
        missing = [one for one in self._claimed if one.result.sop_instance_uid not in shown]
        if not missing:
            return
        reason = f"{before}a query does not show it"
        if looks < len(_LOOKS_S):
            self.postpone(missing, reason, _LOOKS_S[looks])
            return
        log.warning("delivered_and_not_there", job_key=self._key, archive=self._archive, objects=len(missing))
        told = f"{route.title} answered 0x0000, and {len(_LOOKS_S) + 1} queries did not show it"
        self._repository.send_again(self._key, self._archive, {one.result.sop_instance_uid: told for one in missing})

    def postpone(
        self, objects: Sequence[UnconfirmedObject], reason: str, after_s: float | None, *, answered: bool = True
    ) -> None:
        """Ask about these again after `after_s`, by chance sooner; None: never. `answered`: whether this counts as an
        attempt.
        """
        uids = [one.result.sop_instance_uid for one in objects]
        pause_s = None if after_s is None else self._sender.spread_s(after_s)
        self._repository.postpone_confirmation(self._key, self._archive, uids, reason, pause_s, answered=answered)
