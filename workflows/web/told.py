"""What is recorded of people and their accounts: in the log, and in the audit."""

from __future__ import annotations

import structlog
from fastapi import Request

from workflows.state.auditing import AuditAction, AuditEvent, Outcome
from workflows.web.access import Person, node_of
from workflows.web.auditing import address_of

__all__ = ["tell_audit"]

log = structlog.get_logger()


def tell_audit(request: Request, account: str, action: str, how: str) -> None:
    """Record what was done to or by an account. `account`: a name that is one, or "" for what somebody has typed.

    `action`: a value of `AuditAction`. `how`: by which way, or what was changed.
    """
    repository = node_of(request).repository
    known = account if account and repository.account(account) is not None else "unknown"
    person = getattr(request.state, "person", None)
    who = person.account if isinstance(person, Person) else known
    log.info("account", action=action, account=known, by=who, how=how)
    done = AuditAction(action)
    outcome = Outcome.MINOR_FAILURE if done is AuditAction.LOGIN_REFUSED else Outcome.SUCCESS
    repository.record_event(
        AuditEvent(who, done, known, outcome=outcome, address=address_of(request), details={"how": how})
    )
