"""Signing in by the hospital's OpenID Connect provider."""

from __future__ import annotations

from datetime import timedelta

import structlog
from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from workflows.errors import AccountRefused
from workflows.state.people import OneTimeKind
from workflows.web.access import base_path_of, node_of
from workflows.web.cookies import Cookie, cookie_of, drop_cookie, set_cookie
from workflows.web.failures import draw_failure
from workflows.web.openid import OpenIDProvider, ProviderAway, SignInRefused
from workflows.web.rendering import render
from workflows.web.sessions import own_path, start_session
from workflows.web.told import tell_audit

__all__ = ["router"]

log = structlog.get_logger()

router = APIRouter(prefix="/sign-in/oidc")
_LASTS = timedelta(minutes=10)
_AGAIN = "That sign-in took too long, or was begun in another browser. Begin again."


@router.get("")
def begin(request: Request, next: str = "") -> Response:
    """Send the browser to the provider."""
    try:
        flow = _provider(request).begin(_redirect_uri(request))
    except ProviderAway as error:
        return _away(request, error)
    content = {"state": flow.state, "nonce": flow.nonce, "verifier": flow.verifier, "next": own_path(next)}
    token = node_of(request).repository.make_one_time(OneTimeKind.FLOW, _LASTS, content=content)
    response = RedirectResponse(flow.address, 303)
    set_cookie(request, response, Cookie.FLOW, token)
    return response


@router.get("/callback")
def finish(request: Request) -> Response:
    """Take what the provider sends back; sign in whom it vouches for, once that is found to hold."""
    provider, repository = _provider(request), node_of(request).repository
    used = repository.use_one_time(OneTimeKind.FLOW, cookie_of(request, Cookie.FLOW))
    if used is None or not used[1].get("state") or request.query_params.get("state") != used[1]["state"]:
        return draw_failure(request, 400, _AGAIN)
    flow = used[1]
    try:
        person = provider.finish(request.query_params, _redirect_uri(request), flow["nonce"], flow["verifier"])
        if person.role is None:
            tell_audit(request, "", "sign-in refused", "provider, no role")
            return _no_role(request, person.account)
        account = repository.account_of_provider(
            person.issuer, person.subject, person.account, person.name, person.role
        )
        response: Response = RedirectResponse(base_path_of(request) + own_path(flow["next"]), 303)
        start_session(request, response, account)
    except ProviderAway as error:
        return _away(request, error)
    except SignInRefused as refusal:
        tell_audit(request, "", "sign-in refused", "provider")
        return draw_failure(request, 403, str(refusal))
    except AccountRefused as refusal:
        tell_audit(request, "", "sign-in refused", "provider, disabled")
        return draw_failure(request, 403, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
    drop_cookie(request, response, Cookie.FLOW)
    tell_audit(request, account.account, "sign-in", "provider")
    return response


def _provider(request: Request) -> OpenIDProvider:
    settings = node_of(request).settings.web.oidc
    if not settings.issuer:
        raise HTTPException(404)
    held = getattr(request.app.state, "openid_provider", None)
    if not isinstance(held, OpenIDProvider):
        held = request.app.state.openid_provider = OpenIDProvider(settings)
    return held


def _redirect_uri(request: Request) -> str:
    """Where the provider sends the browser back to: the name under which the browser knows us, which was checked."""
    path = f"{base_path_of(request)}/sign-in/oidc/callback"
    return f"{request.url.scheme}://{request.headers['host']}{path}"


def _away(request: Request, error: ProviderAway) -> Response:
    log.warning("openid_provider_away", reason=str(error))
    sentence = f"The hospital's sign-in cannot be used now: {error}. Accounts with a password here can still sign in."
    return draw_failure(request, 502, sentence)


def _no_role(request: Request, account: str) -> Response:
    return render(request, "no_role.html", 403, account=account, oidc=node_of(request).settings.web.oidc)
