"""The tables of people: accounts, sessions, one-time secrets, attempts to sign in. Only `workflows.state` imports it.

No table names a study, so that a purge leaves them alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from workflows.state.columns import JSON, Key, String, Text
from workflows.state.people import Account, AccountSource, OneTimeKind, Role
from workflows.state.tables import Base, EnumColumn, UtcDateTime

__all__ = ["AccountRow", "AttemptRow", "KnownDeviceRow", "OneTimeRow", "SessionRow"]


class AccountRow(Base):
    """Somebody who may sign in. `subject`: a digest of issuer and subject, where a provider knows the person."""

    __tablename__ = "accounts"

    account: Mapped[str] = mapped_column(Key(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(256))
    role: Mapped[Role] = mapped_column(EnumColumn(Role))
    source: Mapped[AccountSource] = mapped_column(EnumColumn(AccountSource))
    subject: Mapped[str | None] = mapped_column(Key(), unique=True, default=None)
    password_hash: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    signed_in_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    def record(self) -> Account:
        return Account(
            account=self.account,
            name=self.name,
            role=self.role,
            source=self.source,
            version=self.version,
            created_at=self.created_at,
            disabled_at=self.disabled_at,
            has_password=bool(self.password_hash),
            signed_in_at=self.signed_in_at,
        )


class SessionRow(Base):
    """A browser that is signed in; of its token only the digest is kept. `version`: the account's at that time."""

    __tablename__ = "web_sessions"

    digest: Mapped[str] = mapped_column(Key(), primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.account"))
    version: Mapped[int]
    csrf: Mapped[str] = mapped_column(Key())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_web_sessions_account", "account"), Index("ix_web_sessions_expires_at", "expires_at"))


class OneTimeRow(Base):
    """A secret that works once, by its digest: a link that signs in, or a sign-in that a provider is to finish."""

    __tablename__ = "one_time_secrets"

    digest: Mapped[str] = mapped_column(Key(), primary_key=True)
    kind: Mapped[OneTimeKind] = mapped_column(EnumColumn(OneTimeKind))
    account: Mapped[str | None] = mapped_column(ForeignKey("accounts.account"), default=None)
    content: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_one_time_secrets_expires_at", "expires_at"),)


class KnownDeviceRow(Base):
    """A browser that somebody has signed in from: strangers who fail elsewhere do not slow it down."""

    __tablename__ = "known_devices"

    digest: Mapped[str] = mapped_column(Key(), primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.account"), primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AttemptRow(Base):
    """Attempts to sign in that came to nothing. `bucket`: a digest of the account, the address or the device."""

    __tablename__ = "sign_in_attempts"

    bucket: Mapped[str] = mapped_column(Key(), primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)
    blocked_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (Index("ix_sign_in_attempts_last_at", "last_at"),)
