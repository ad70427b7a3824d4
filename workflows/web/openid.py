"""Signing in by an OpenID Connect provider: code with PKCE, state and nonce (OpenID Connect Core 1.0, 3.1).

Everything is read anew from the provider's discovery document after an hour, and its keys whenever one is unknown.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from workflows.settings import OidcSettings
from workflows.state.people import Role, account_name, make_token
from workflows.web.exposure import is_loopback

__all__ = ["Flow", "OpenIDProvider", "ProviderAway", "SignInRefused", "VouchedFor"]

_ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]  # signed with a key that the provider publishes; never none
_TIMEOUT_S = 10.0
_KEEP_S = 3600.0
_LEEWAY_S = 60


class ProviderAway(Exception):
    """The provider does not answer, or not as a provider does; the message says what to look at."""


class SignInRefused(Exception):
    """The provider's answer does not hold, or it vouches for nobody; the message says what to do."""


@dataclass(frozen=True)
class Flow:
    """A sign-in that has begun. `state` goes to the browser; `nonce` and `verifier` are kept here until it ends."""

    address: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class VouchedFor:
    """A person whom the provider has vouched for. `role`: None where none of the claim's values makes one."""

    issuer: str
    subject: str
    account: str
    name: str
    role: Role | None


class OpenIDProvider:
    """One provider, as `[web.oidc]` names it. `transport`: how it is reached; None: over the network."""

    def __init__(self, settings: OidcSettings, transport: httpx2.BaseTransport | None = None) -> None:
        self._settings, self._transport = settings, transport
        self._lock = threading.Lock()
        self._found: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._until = 0.0

    def begin(self, redirect_uri: str) -> Flow:
        """Begin a sign-in. Raises ProviderAway."""
        nonce, verifier = make_token(), make_token() + make_token()
        found = self._discovered()
        with self._client(redirect_uri) as client:
            address, state = client.create_authorization_url(
                found["authorization_endpoint"], code_verifier=verifier, nonce=nonce, state=make_token()
            )
        return Flow(address, state, nonce, verifier)

    def finish(self, query: Mapping[str, str], redirect_uri: str, nonce: str, verifier: str) -> VouchedFor:
        """Whom the provider vouches for, once its answer is found to hold. `query`: of the address it sent back to.

        Raises SignInRefused, ProviderAway.
        """
        if "error" in query:
            raise SignInRefused(f"The provider did not sign you in ({_word(query['error'])}).")
        found = self._discovered()
        if query.get("iss", found["issuer"]) != found["issuer"]:  # RFC 9207: an answer of another provider
            raise SignInRefused("The answer is of another provider.")
        try:
            with self._client(redirect_uri) as client:
                tokens = client.fetch_token(found["token_endpoint"], code=query.get("code", ""), code_verifier=verifier)
                claims = self._verified(str(tokens.get("id_token", "")), nonce)
                claims = {**self._user(client, found, claims["sub"]), **claims}
        except (AuthlibBaseError, JoseError) as error:
            raise SignInRefused(
                f"The provider's answer does not hold ({_word(str(error.error))}). Sign in again."
            ) from error
        except (httpx2.HTTPError, ValueError, TypeError, KeyError) as error:
            raise ProviderAway(f"its answer could not be read ({type(error).__name__})") from error
        return self._vouched_for(claims, found["issuer"])

    def _client(self, redirect_uri: str) -> OAuth2Client:
        secret = self._settings.client_secret.get_secret_value()
        return OAuth2Client(
            self._settings.client_id,
            secret or None,
            scope=self._settings.scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            timeout=_TIMEOUT_S,
            transport=self._transport,
        )

    def _discovered(self) -> dict[str, Any]:
        with self._lock:
            if not self._found or time.monotonic() > self._until:
                self._found = self._discover()
                self._keys, self._until = None, time.monotonic() + _KEEP_S
            return self._found

    def _discover(self) -> dict[str, Any]:
        issuer = self._settings.issuer
        found = self._fetched(f"{issuer}/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != issuer:
            raise ProviderAway("its discovery document names another issuer than [web.oidc] issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _require_tls(str(found.get(name, "")))
        return found

    def _fetched(self, address: str) -> dict[str, Any]:
        _require_tls(address)
        away = f"{urlsplit(address).netloc} does not answer as it should"
        try:
            with httpx2.Client(timeout=_TIMEOUT_S, transport=self._transport) as client:
                answer = client.get(address, headers={"Accept": "application/json"})
                answer.raise_for_status()
                found = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderAway(f"{away} ({type(error).__name__})") from error
        if not isinstance(found, dict):
            raise ProviderAway(away)
        return found

    def _verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token that holds (OpenID Connect Core 1.0, 3.1.3.7). Raises JoseError, SignInRefused."""
        try:
            token = jwt.decode(id_token, self._key_set(), algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            token = jwt.decode(id_token, self._key_set(anew=True), algorithms=_ALGORITHMS)
        jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._found["issuer"]},
            aud={"essential": True, "value": self._settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(token.claims)
        claims: dict[str, Any] = token.claims
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self._settings.client_id:
            raise SignInRefused("The provider's answer is for another application.")
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise SignInRefused("The provider's answer names nobody.")
        return claims

    def _key_set(self, anew: bool = False) -> KeySet:
        with self._lock:
            if self._keys is None or anew:
                self._keys = KeySet.import_key_set(self._fetched(self._found["jwks_uri"]))  # type: ignore[arg-type]
            return self._keys

    def _user(self, client: OAuth2Client, found: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """What the provider's UserInfo says of the person, where it has one (OpenID Connect Core 1.0, 5.3)."""
        address = str(found.get("userinfo_endpoint", ""))
        if not address:
            return {}
        _require_tls(address)
        answer = client.get(address)
        if answer.status_code != 200 or "json" not in answer.headers.get("content-type", ""):
            return {}
        said: dict[str, Any] = answer.json()
        if said.get("sub") != subject:
            raise SignInRefused("The provider's answers name two persons.")
        return said

    def _vouched_for(self, claims: Mapping[str, Any], issuer: str) -> VouchedFor:
        subject = str(claims["sub"])
        names = (str(claims.get(claim, "")) for claim in ("preferred_username", "email", "sub"))
        account = next((name for name in map(account_name, names) if name), "person")
        return VouchedFor(issuer, subject, account, _person_name(claims) or account, self._role(claims))

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        """The highest role that the claim's values make."""
        value: Any = claims
        if self._settings.roles_claim in claims:  # a name that has dots in it itself, as some providers' do
            value = claims[self._settings.roles_claim]
        else:
            for part in self._settings.roles_claim.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        held = set(value.split() if isinstance(value, str) else map(str, value) if isinstance(value, list) else ())
        for role, values in (
            (Role.ADMINISTRATOR, self._settings.administrators),
            (Role.REVIEWER, self._settings.reviewers),
            (Role.VIEWER, self._settings.viewers),
        ):
            if held & set(values):
                return role
        return None


def _require_tls(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ProviderAway("one of its addresses is not https://")


def _person_name(claims: Mapping[str, Any]) -> str:
    """A person name (PS3.5 6.2, VR PN) from the provider's claims."""
    parts = [str(claims.get(claim, "")) for claim in ("family_name", "given_name")]
    if not any(parts):
        parts = [str(claims.get("name", ""))]
    clean = ["".join(" " if one in "^=\\" or not one.isprintable() else one for one in part) for part in parts]
    return "^".join(" ".join(part.split())[:31] for part in clean).strip("^ ")


def _word(text: str) -> str:
    """An error code of the provider: letters only, since it comes from outside."""
    return re.sub(r"[^\w-]", " ", text, flags=re.ASCII)[:60].strip() or "no reason given"
