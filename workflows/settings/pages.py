"""The sections of the pages and of the audit: [web], [web.oidc], [audit], [audit.syslog]."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from workflows.settings.values import Folder, Section, listed, of_scheme

__all__ = ["AuditSettings", "OidcSettings", "SyslogSettings", "WebSettings"]


class OidcSettings(Section):
    """[web.oidc]: sign-in by an OpenID Connect provider."""

    issuer: str = Field(
        default="", description="The provider's address, such as https://login.hospital/realms/x; empty: off."
    )
    client_id: str = Field(default="", description="Our client id there.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret; empty for a public client (PKCE).")
    scopes: str = Field(
        default="openid profile email", description="What is asked for there; some providers have one for roles."
    )
    roles_claim: str = Field(default="roles", description="The claim that holds a person's roles; dots go inside.")
    viewers: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=("viewer",), description="Values of the claim that make a viewer."
    )
    reviewers: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=("reviewer",), description="Values of the claim that make a reviewer."
    )
    administrators: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=("administrator",), description="Values of the claim that make an administrator."
    )

    @field_validator("issuer")
    @classmethod
    def _web(cls, value: str) -> str:
        return of_scheme(value, "http", "https").rstrip("/")


class WebSettings(Section):
    """[web]: the review worklist."""

    enabled: bool = Field(default=True, description="Whether `up` starts the pages.")
    host: str = Field(default="127.0.0.1", description="Address that the pages listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the pages; 0 takes a free one.")
    certificate: Folder | None = Field(default=None, description="Certificate file (PEM); with it the pages speak TLS.")
    key: Folder | None = Field(default=None, description="Its key (PEM).")
    base_path: str = Field(default="", description="Path below which a proxy shows the pages, such as /medseg.")
    hosts: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(), description="Names that the pages answer to, beside the address itself and localhost."
    )
    proxies: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="Addresses or networks of proxies that end TLS before the pages; their X-Forwarded- headers count.",
    )
    session_hours: float = Field(default=10.0, gt=0, description="Hours after which one has to sign in again.")
    idle_minutes: float = Field(default=30.0, gt=0, description="Minutes without a sign of life that end a session.")
    organisation: str = Field(default="", description="Organisation that verifies reports, as they say it.")
    undo_s: float = Field(default=10.0, ge=0, description="Seconds in which a signed review can be undone.")
    viewer_url: str = Field(
        default="", description="The site's OHIF, such as https://viewer/; a study opens there by its UID."
    )
    oidc: OidcSettings = Field(default_factory=OidcSettings)

    @field_validator("base_path")
    @classmethod
    def _path(cls, value: str) -> str:
        path = value.strip("/")
        if path and not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", path, re.ASCII):
            raise ValueError("a path has letters, digits, . ~ _ - and / in it, such as /medseg")
        return f"/{path}" if path else ""

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(f"{proxy!r} is neither an address nor a network such as 10.0.0.0/8") from None
        return value

    @field_validator("viewer_url")
    @classmethod
    def _web(cls, value: str) -> str:
        return of_scheme(value, "http", "https").rstrip("/")

    @model_validator(mode="after")
    def _both(self) -> WebSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: name both, or none")
        return self


class SyslogSettings(Section):
    """[audit.syslog]: where audit messages go too (PS3.15 A.5, RFC 5424 over TLS)."""

    host: str = Field(default="", description="The audit record repository's address; empty: off.")
    port: int = Field(default=6514, ge=1, le=65535, description="Its port.")
    tls: bool = Field(default=True, description="Speak TLS (RFC 5425); false: plain TCP, for a trusted network only.")
    ca: Folder | None = Field(
        default=None, description="Certificates that its own must be signed by (PEM); empty: the system's."
    )
    certificate: Folder | None = Field(default=None, description="Our certificate (PEM), where it asks for one.")
    key: Folder | None = Field(default=None, description="Its key (PEM).")

    @model_validator(mode="after")
    def _both(self) -> SyslogSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: name both, or none")
        return self


class AuditSettings(Section):
    """[audit]: who did what."""

    source_id: str = Field(default="", description="Audit Source ID; empty: the node's AE title and host.")
    syslog: SyslogSettings = Field(default_factory=SyslogSettings)
