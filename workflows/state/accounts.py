"""Accounts: made, changed, disabled. A change that takes something away ends the account's sessions with it."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from workflows.errors import AccountRefused
from workflows.state.people import Account, AccountSource, Role
from workflows.state.people_tables import AccountRow, KnownDeviceRow, OneTimeRow, SessionRow
from workflows.state.transactions import Transactions

__all__ = ["Accounts"]


class Accounts(Transactions):
    """Transactions of accounts. Every account is named as `people.account_name` has it."""

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        with self._reading() as session:
            return [row.record() for row in session.scalars(select(AccountRow).order_by(AccountRow.account))]

    def account(self, account: str) -> Account | None:
        """One account; None: there is none of that name."""
        with self._reading() as session:
            row = session.get(AccountRow, account)
            return None if row is None else row.record()

    def password_of(self, account: str) -> tuple[Account, str] | None:
        """A local account that may sign in, and the hash of its password; None: there is none of that name."""
        with self._reading() as session:
            row = session.get(AccountRow, account)
            fit = row is not None and row.source is AccountSource.LOCAL and row.disabled_at is None
            return (row.record(), row.password_hash) if row is not None and fit and row.password_hash else None

    def add_account(self, account: str, name: str, role: Role, password_hash: str = "") -> Account:
        """A new local account; without a hash only a one-time link signs it in. Raises AccountRefused."""
        with self._writing() as session:
            if session.get(AccountRow, account) is not None:
                raise AccountRefused(f"there is an account {account} already; choose another name")
            row = AccountRow(
                account=account,
                name=name,
                role=role,
                source=AccountSource.LOCAL,
                password_hash=password_hash,
                version=1,
                created_at=self._clock(),
            )
            session.add(row)
            session.flush()
            return row.record()

    def set_password(self, account: str, password_hash: str) -> Account:
        """A new password, which ends every session of the account. Raises AccountRefused."""
        with self._writing() as session:
            row = _existing(session, account)
            if row.source is not AccountSource.LOCAL:
                raise AccountRefused(f"{account} signs in by the hospital's provider; its password is changed there")
            row.password_hash = password_hash
            _end_sessions(session, row)
            return row.record()

    def replace_hash(self, account: str, version: int, password_hash: str) -> None:
        """The same password, hashed anew with today's cost; nothing where it was changed meanwhile."""
        with self._writing() as session:
            row = _existing(session, account)
            if row.version == version:
                row.password_hash = password_hash

    def set_role(self, account: str, role: Role) -> Account:
        """Another role, which ends every session of the account. Raises AccountRefused."""
        with self._writing() as session:
            row = _existing(session, account)
            if row.role is not role:
                _keep_an_administrator(session, row)
                row.role = role
                _end_sessions(session, row)
            return row.record()

    def disable_account(self, account: str) -> Account:
        """The account signs in no more, and its sessions end. What it did keeps its name. Raises AccountRefused."""
        with self._writing() as session:
            row = _existing(session, account)
            if row.disabled_at is None:
                _keep_an_administrator(session, row)
                row.disabled_at = self._clock()
                _end_sessions(session, row)
            return row.record()

    def enable_account(self, account: str) -> Account:
        """The account may sign in again. Raises AccountRefused."""
        with self._writing() as session:
            row = _existing(session, account)
            row.disabled_at = None
            return row.record()

    def account_of_provider(self, issuer: str, subject: str, wanted: str, name: str, role: Role) -> Account:
        """The account of a person whom an OpenID Connect provider has just vouched for; made or brought up to date.

        It is known by issuer and subject, never by its name: a person there who is called like an account here gets a
        name of their own. Raises AccountRefused for one that is disabled.
        """
        known_as = hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()
        now = self._clock()
        with self._writing() as session:
            chosen = select(AccountRow).where(AccountRow.subject == known_as).with_for_update()
            row = session.scalars(chosen).one_or_none()
            if row is None:
                free = session.get(AccountRow, wanted) is None
                row = AccountRow(
                    account=wanted if free else f"{wanted[:55]}-{known_as[:8]}",
                    name=name,
                    role=role,
                    source=AccountSource.OIDC,
                    subject=known_as,
                    version=1,
                    created_at=now,
                )
                session.add(row)
                session.flush()
                return row.record()
            if row.disabled_at is not None:
                raise AccountRefused(f"the account {row.account} is disabled; an administrator can enable it")
            row.name = name
            if row.role is not role:
                row.role = role
                _end_sessions(session, row)
            return row.record()


def _existing(session: Session, account: str) -> AccountRow:
    row = session.get(AccountRow, account, with_for_update=True)
    if row is None:
        raise AccountRefused(f"there is no account {account}; `medseg-node users list` has all")
    return row


def _end_sessions(session: Session, row: AccountRow) -> None:
    """Whoever is signed in with the account is not any more; nor does a link or a browser of before help."""
    row.version += 1
    for table in (SessionRow, OneTimeRow, KnownDeviceRow):
        session.execute(delete(table).where(table.account == row.account))


def _keep_an_administrator(session: Session, row: AccountRow) -> None:
    """Refuse what would leave nobody to manage accounts. Locks them, so that two do not disable each other."""
    if row.role is not Role.ADMINISTRATOR or row.disabled_at is not None:
        return
    able = (AccountRow.role == Role.ADMINISTRATOR, AccountRow.disabled_at.is_(None))
    names = session.scalars(select(AccountRow.account).where(*able).with_for_update()).all()
    if len(names) == 1:
        raise AccountRefused(f"{row.account} is the only administrator; make another one first")
