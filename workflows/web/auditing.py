"""What the pages record in the audit: looks, refusals, exports; `told.py` has sign-ins.

All of it writes to the database: call it from a route that is no coroutine, or by `run_in_threadpool`. Where it cannot
be written DatabaseUnavailable is raised, and nothing is shown.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

from fastapi import Request

from workflows.state.auditing import AuditAction, AuditEvent, Detail, Outcome
from workflows.web.access import node_of, person_of

__all__ = [
    "AGAIN_S", "address_of", "audit_forbidden", "exported", "looked", "looked_at_audit", "recorded",
]  # fmt: skip

AGAIN_S = 600.0
"""A person who looks at the same study within this time again looks once."""
_REMEMBERED = 10_000


class _Looks:
    """Who looked at what a short while ago, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new(self, account: str, study_uid: str, now: float) -> bool:
        """Whether nothing is remembered of it; then it is from now on."""
        with self._lock:
            last = self._at.get((account, study_uid))
            if last is not None and now - last < AGAIN_S:
                return False
            self._at[account, study_uid] = now
            self._at.move_to_end((account, study_uid))
            while len(self._at) > _REMEMBERED:
                self._at.popitem(last=False)
            return True

    def forget(self, account: str, study_uid: str) -> None:
        """It could not be recorded: the next look is."""
        with self._lock:
            self._at.pop((account, study_uid), None)


def address_of(request: Request) -> str:
    """From where a request comes, as the server saw it."""
    return "" if request.client is None else request.client.host


def looked(request: Request, study_uid: str) -> None:
    """The signed-in person is shown images or results of a study: once every `AGAIN_S` for each person and study."""
    _once(request, AuditAction.LOOK, study_uid, study_uid)


def looked_at_audit(request: Request) -> None:
    """The signed-in person reads the audit: once every `AGAIN_S`."""
    _once(request, AuditAction.AUDIT_READ, "page", None)


def _once(request: Request, action: AuditAction, subject: str, study_uid: str | None) -> None:
    person, what = person_of(request), study_uid or action.value
    looks = _looks(request)
    if not looks.is_new(person.account, what, time.monotonic()):
        return
    try:
        recorded(request, action, subject, study_uid=study_uid)
    except BaseException:
        looks.forget(person.account, what)
        raise


def recorded(
    request: Request,
    action: AuditAction,
    subject: str,
    *,
    study_uid: str | None = None,
    outcome: Outcome = Outcome.SUCCESS,
    counts: Mapping[str, int] | None = None,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """The signed-in person did something that no transaction of the node records itself."""
    node_of(request).repository.record_event(
        AuditEvent(
            who=person_of(request).account,
            action=action,
            subject=subject,
            study_uid=study_uid,
            outcome=outcome,
            address=address_of(request),
            counts=counts or {},
            details=details or {},
        )
    )


def exported(request: Request, what: str, *, study_uid: str | None = None, count: int | None = None) -> None:
    """The signed-in person took something out of the node. `what`: a name such as `agreement.csv`; `count`: of rows."""
    counts = {} if count is None else {"rows": count}
    recorded(request, AuditAction.EXPORT, what, study_uid=study_uid, counts=counts)


def audit_forbidden(request: Request, account: str, what: str) -> None:
    """A signed-in person asked for something that the role has not: `what`, a permission's name."""
    recorded(request, AuditAction.FORBIDDEN, account, outcome=Outcome.MINOR_FAILURE, details={"needs": what})


def _looks(request: Request) -> _Looks:
    state = request.app.state
    if not hasattr(state, "looks"):
        state.looks = _Looks()
    looks = state.looks
    assert isinstance(looks, _Looks)
    return looks
