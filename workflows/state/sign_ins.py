"""Signing in: sessions, one-time secrets, and attempts that are slowed down.

Who guesses waits longer and longer, by account and by address. A browser that has signed in to an account before is
counted for itself, so that strangers who fail cannot lock a person out (OWASP, device cookies); nor does a one-time
link wait. Attempts are counted before the password is looked at: many at once are no way around.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from workflows.errors import AccountRefused, RowRefused
from workflows.state.people import Account, OneTimeKind, SignedIn, digest_of, make_token
from workflows.state.people_tables import AccountRow, AttemptRow, KnownDeviceRow, OneTimeRow, SessionRow
from workflows.state.transactions import Transactions, changed_one

__all__ = ["SignIns"]

_TOUCH = timedelta(seconds=20)
_DEVICE = timedelta(days=180)
_FORGET = timedelta(hours=24)
_BUCKETS = {  # attempts that cost nothing, and the longest wait
    "account": (5, timedelta(minutes=5)),
    "address": (20, timedelta(minutes=15)),
    "device": (5, timedelta(minutes=15)),
}


class SignIns(Transactions):
    """Transactions of signing in."""

    # --- Sessions -----------------------------------------------------------------------------------------------------

    def start_session(self, account: Account, hours: float) -> tuple[str, str]:
        """The token of a new session, of which only the digest is kept, and its CSRF token.

        `account`: as it was when its owner proved who they are. Raises AccountRefused where it changed since then.
        """
        now, token, csrf = self._clock(), make_token(), make_token()
        with self._writing() as session:
            row = session.get(AccountRow, account.account, with_for_update=True)
            if row is None or row.disabled_at is not None or row.version != account.version:
                raise AccountRefused(f"the account {account.account} has just been changed; sign in again")
            row.signed_in_at = now
            session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
            session.add(
                SessionRow(
                    digest=digest_of(token),
                    account=row.account,
                    version=row.version,
                    csrf=csrf,
                    created_at=now,
                    seen_at=now,
                    expires_at=now + timedelta(hours=hours),
                )
            )
        return token, csrf

    def session_of(self, token: str, idle: timedelta, *, touch: bool = True) -> SignedIn | None:
        """Who is signed in with a token; None: nobody, or not any more. `touch`: a person did something just now."""
        now, digest = self._clock(), digest_of(token)
        with self._reading() as session:
            found = session.execute(
                select(SessionRow, AccountRow)
                .join(AccountRow, AccountRow.account == SessionRow.account)
                .where(SessionRow.digest == digest)
            ).one_or_none()
        if found is None:
            return None
        held, row = found
        ended = held.expires_at <= now or held.seen_at + idle <= now
        if ended or row.disabled_at is not None or row.version != held.version:
            self.end_session(token)
            return None
        if touch and now - held.seen_at > min(_TOUCH, idle / 4):
            with self._writing() as session:
                session.execute(update(SessionRow).where(SessionRow.digest == digest).values(seen_at=now))
        return SignedIn(row.record(), held.csrf, held.expires_at)

    def end_session(self, token: str) -> None:
        """The browser with this token is signed out."""
        with self._writing() as session:
            session.execute(delete(SessionRow).where(SessionRow.digest == digest_of(token)))

    # --- What works once ----------------------------------------------------------------------------------------------

    def make_one_time(
        self,
        kind: OneTimeKind,
        lasts: timedelta,
        account: str | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> str:
        """A secret that works once, for `lasts`; only its digest is kept. Raises AccountRefused."""
        now, token = self._clock(), make_token()
        with self._writing() as session:
            if account is not None:
                row = session.get(AccountRow, account)
                if row is None or row.disabled_at is not None:
                    raise AccountRefused(f"there is no account {account} that may sign in")
            session.execute(delete(OneTimeRow).where(OneTimeRow.expires_at <= now))
            session.add(
                OneTimeRow(
                    digest=digest_of(token),
                    kind=kind,
                    account=account,
                    content=dict(content or {}),
                    expires_at=now + lasts,
                )
            )
        return token

    def known_one_time(self, kind: OneTimeKind, token: str) -> tuple[Account, dict[str, Any]] | None:
        """Whom a secret would sign in, and what was put into it; it works still. None: nobody."""
        with self._reading() as session:
            row = session.get(OneTimeRow, digest_of(token))
            if row is None or row.kind is not kind or row.expires_at <= self._clock() or row.account is None:
                return None
            return session.get_one(AccountRow, row.account).record(), row.content

    def use_one_time(self, kind: OneTimeKind, token: str) -> tuple[Account | None, dict[str, Any]] | None:
        """Use a secret up: whose it is, and what was put into it. None: used already, too late, or never made."""
        with self._writing() as session:
            digest = digest_of(token)
            row = session.get(OneTimeRow, digest, with_for_update=True)
            if row is None or row.kind is not kind:
                return None
            if not changed_one(session.execute(delete(OneTimeRow).where(OneTimeRow.digest == digest))):
                return None
            if row.expires_at <= self._clock():
                return None
            owner = None if row.account is None else session.get_one(AccountRow, row.account).record()
            return owner, row.content

    # --- Attempts -----------------------------------------------------------------------------------------------------

    def begin_attempt(self, account: str, address: str, device: str) -> float:
        """Count an attempt to sign in before it is looked at. Seconds to wait: above 0 it must not be looked at.

        `device`: the token of a browser that has signed in before, or "".
        """
        now = self._clock()
        try:
            return self._begin_attempt(account, address, device, now)
        except RowRefused:  # two first attempts at once: the other one made the row
            return self._begin_attempt(account, address, device, now)

    def _begin_attempt(self, account: str, address: str, device: str, now: datetime) -> float:
        with self._writing() as session:
            session.execute(delete(AttemptRow).where(AttemptRow.last_at < now - _FORGET))
            known = _knows(session, account, device, now)
            kinds = ("device",) if known else ("account", "address")
            names = {kind: _bucket(kind, account, address, device) for kind in kinds}
            rows = {kind: session.get(AttemptRow, names[kind], with_for_update=True) for kind in sorted(kinds)}
            until = [row.blocked_until for row in rows.values() if row is not None and row.blocked_until is not None]
            if waits := [(moment - now).total_seconds() for moment in until if moment > now]:
                return max(waits)  # not counted: who is refused anyway makes nobody wait longer
            for kind, row in rows.items():
                if row is None:
                    row = AttemptRow(bucket=names[kind], failures=0, last_at=now)
                    session.add(row)
                _count(row, kind, now)
        return 0.0

    def attempt_succeeded(self, account: str, address: str, device: str) -> str:
        """Forget what was counted against the account; the token of the browser, which is known from now on."""
        now = self._clock()
        with self._writing() as session:
            for kind in ("account", "device"):
                gone = AttemptRow.bucket == _bucket(kind, account, address, device)
                session.execute(delete(AttemptRow).where(gone))
            row = session.get(AttemptRow, _bucket("address", account, address, device), with_for_update=True)
            if row is not None:  # this one came to something; others from there did not
                row.failures = max(0, row.failures - 1)
                row.blocked_until = None if row.failures < _BUCKETS["address"][0] else row.blocked_until
            session.execute(delete(KnownDeviceRow).where(KnownDeviceRow.seen_at < now - _DEVICE))
            token = device if _knows(session, account, device, now) else make_token()
            session.merge(KnownDeviceRow(digest=digest_of(token), account=account, seen_at=now))
        return token


def _knows(session: Session, account: str, device: str, now: datetime) -> bool:
    if not device:
        return False
    row = session.get(KnownDeviceRow, (digest_of(device), account))
    return row is not None and now - row.seen_at < _DEVICE


def _bucket(kind: str, account: str, address: str, device: str) -> str:
    """Digests: what is typed as a name may be a password."""
    counted = {"account": account, "address": address, "device": f"{account}\n{device}"}[kind]
    return digest_of(f"{kind}\n{counted}")


def _count(row: AttemptRow, kind: str, now: datetime) -> None:
    free, longest = _BUCKETS[kind]
    row.failures, row.last_at = row.failures + 1, now
    over = row.failures - free
    if over >= 0:
        row.blocked_until = now + min(longest, timedelta(seconds=2.0 ** min(over, 20)))
