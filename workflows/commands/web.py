"""The command `web`, and what `up` and `doctor` look at before the pages are served."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from workflows.bootstrap import Node, repository_to_read
from workflows.commands.checks import Warned
from workflows.errors import SettingsError
from workflows.logs import configure_logging
from workflows.roles.liveness import is_alive
from workflows.settings import Settings, WebSettings, load_settings
from workflows.state.engine import find_database
from workflows.state.people import Role
from workflows.web.exposure import EXTRA, is_loopback, missing_packages, require_protected

__all__ = ["check_accounts", "check_pages", "register", "why_no_pages"]

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
_SOON_DAYS = 30
_ANSWER_S = 3.0


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(web)


def web(config: Config = None) -> None:
    """Serve the pages: the worklist, the studies, the accounts. `up` starts this too.

    Example: medseg-node web --config /etc/medseg-node/medseg-node.toml
    """
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    if missing := missing_packages():
        raise SettingsError(f"the pages need {missing}: {EXTRA}")
    from workflows.web.serving import run_web

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_web(Node(settings), stop)


def why_no_pages(settings: Settings) -> str:
    """Why `up` does not start the pages, with the remedy; "": it does. Raises SettingsError for an open address."""
    if not settings.web.enabled:
        return "[web] enabled is false"
    require_protected(settings.web)
    if missing := missing_packages():
        return f"the pages are not started, since {missing} is not installed: {EXTRA}"
    return ""


def check_pages(settings: Settings) -> str:
    """Whether the pages could be served: the extra, the address, the certificate, the port. For `doctor`.

    The port is free, or this node's own pages answer there, as they do while it runs.
    """
    web = settings.web
    if not web.enabled:
        return "off: [web] enabled is false"
    require_protected(web)
    if missing := missing_packages():
        raise Warned(f"{missing} is not installed, so that `up` starts no pages: {EXTRA}")
    told = _certificate(web.certificate, web.key) if web.certificate is not None and web.key is not None else ""
    state, where = "is free", f"http{'s' if told else ''}://{web.host}:{web.port}{web.base_path}"
    with socket.socket(socket.AF_INET6 if ":" in web.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((web.host, web.port))
        except OSError as error:
            if not (is_alive("web", settings.node.data_dir) and _pages_answer(web)):
                raise Warned(
                    f"{where}: the port cannot be listened on ({error.strerror}); stop what listens there, or set "
                    "another [web] port"
                ) from error
            state = "answers: this node's own pages run there"
    if not told and not is_loopback(web.host):
        raise Warned(f"{where} is plain HTTP: TLS has to end at {', '.join(web.proxies)}, and nobody else may reach it")
    return f"{where} {state}{told}"


def _pages_answer(web: WebSettings) -> bool:
    """Whether what listens on the pages' port answers as they do."""
    try:
        asking = http.client.HTTPConnection(web.host, web.port, timeout=_ANSWER_S)
        if web.certificate is not None:  # unverified: it may be for another name, and nothing is told to it
            unverified = ssl._create_unverified_context()
            asking = http.client.HTTPSConnection(web.host, web.port, timeout=_ANSWER_S, context=unverified)
        try:
            asking.request("GET", f"{web.base_path}/healthz")
            answer = asking.getresponse()
            return answer.status == http.HTTPStatus.OK and answer.read(16) == b"ok"
        finally:
            asking.close()
    except (OSError, http.client.HTTPException):
        return False


def check_accounts(settings: Settings) -> str:
    """Whether anybody could sign in, and manage accounts. For `doctor`."""
    if not settings.web.enabled:
        return "not needed: [web] enabled is false"
    first = "medseg-node users add NAME --role administrator --config FILE, with the file of this node"
    if find_database(settings.database_url) is not None:
        raise Warned(f"no account yet: {first}")
    try:
        accounts = [one for one in repository_to_read(settings).accounts() if one.disabled_at is None]
    except SettingsError as error:  # no table yet, or a schema that the node brings up to date
        raise Warned(str(error)) from error
    if not accounts and not settings.web.oidc.issuer:
        raise Warned(f"no account yet, so that nobody can sign in: {first}")
    if not any(one.role is Role.ADMINISTRATOR for one in accounts) and not settings.web.oidc.issuer:
        raise Warned(f"no administrator: {first}")
    return f"{len(accounts)} may sign in"


def _certificate(certificate: Path, key: Path) -> str:
    """Until when a certificate that fits its key holds. Raises SettingsError, Warned."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"[web] certificate or key cannot be used: {error.strerror or error}") from error
    try:
        decoded = ssl._ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(decoded["notAfter"]), UTC)
    except (AttributeError, KeyError, ValueError, OSError):
        return ", TLS"
    days = (until - datetime.now(UTC)).days
    if days < _SOON_DAYS:
        what = "is over" if days < 0 else f"is over in {days} days"
        raise Warned(f"the time of [web] certificate {what} ({until:%Y-%m-%d}): have it renewed")
    return f", TLS until {until:%Y-%m-%d}"
