"""Who may sign in to the pages: `users add|list|disable|enable|role|password`. A password is never an argument."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.markup import escape

from workflows.bootstrap import Node, repository_to_read
from workflows.commands.reread import operator
from workflows.errors import AccountRefused, CallError, SettingsError
from workflows.logs import configure_logging
from workflows.settings import Settings, load_settings
from workflows.state.engine import find_database
from workflows.state.people import Account, OneTimeKind, Role, account_name
from workflows.web.exposure import EXTRA, missing_packages

__all__ = ["register"]

log = structlog.get_logger()

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; MEDSEG_NODE__SECTION__KEY overrides it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]
Link = Annotated[
    bool, typer.Option("--link", help="Ask for no password: print a link by which its owner chooses one, once.")
]
_NAMING = ("MEDSEG_NODE__NODE__DATA_DIR", "MEDSEG_NODE__DATABASE__URL")
_LINK_LASTS = timedelta(hours=24)
out = Console(soft_wrap=True)
users_app = typer.Typer(no_args_is_help=True, help="Who may sign in to the pages.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(users_app, name="users")


@users_app.command("add")
def add(
    account: Name,
    config: Config = None,
    role: Annotated[Role, typer.Option(help="What the person may do.")] = Role.VIEWER,
    name: Annotated[
        str, typer.Option(help="The person's name as reports have it: Family^Given. Without it the account's.")
    ] = "",
    link: Link = False,
    as_json: AsJson = False,
) -> None:
    """Add an account. The password is asked for, or is the first line of standard input.

    Example: medseg-node users add reader1 --role reviewer --name "PHANTOM^Reader"
    """
    known, settings = _known(account), _settings(config)
    _require_node(config, settings)
    hashed = "" if link else _password(known)
    node = Node(settings)
    made = node.repository.add_account(known, name or known, role, hashed)
    _record(node, known, f"account added: {role.value}")
    _show(node, made, as_json=as_json, told=f"{known}: {role.value}", link=link)


@users_app.command("list")
def show(config: Config = None, as_json: AsJson = False) -> None:
    """List the accounts.

    Example: medseg-node users list --json
    """
    accounts = repository_to_read(_settings(config)).accounts()
    if as_json:
        print(json.dumps([_as_json(one) for one in accounts], indent=2))
        return
    for one in accounts:
        state = "disabled" if one.disabled_at else one.role.value
        last = f"signed in {one.signed_in_at:%Y-%m-%d %H:%M} UTC" if one.signed_in_at else "never signed in"
        line = f"{one.account:<24} {state:<14} {one.source.value:<6} {one.name}  {last}"
        out.print(line, markup=False, highlight=False)
    if not accounts:
        out.print(
            "no account yet: medseg-node users add NAME --role administrator, with the same --config", highlight=False
        )


@users_app.command("disable")
def disable(account: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Let an account sign in no more, and sign it out everywhere. What it did keeps its name.

    Example: medseg-node users disable reader1
    """
    node = _node(config)
    changed = node.repository.disable_account(_known(account))
    _record(node, changed.account, "disabled")
    _show(node, changed, as_json=as_json, told=f"{changed.account} is disabled and signed out")


@users_app.command("enable")
def enable(account: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Let a disabled account sign in again.

    Example: medseg-node users enable reader1
    """
    node = _node(config)
    changed = node.repository.enable_account(_known(account))
    _record(node, changed.account, "enabled")
    _show(node, changed, as_json=as_json, told=f"{changed.account} may sign in again")


@users_app.command("role")
def change_role(
    account: Name, role: Annotated[Role, typer.Argument()], config: Config = None, as_json: AsJson = False
) -> None:
    """Give an account another role, and sign it out everywhere.

    Example: medseg-node users role reader1 administrator
    """
    node = _node(config)
    changed = node.repository.set_role(_known(account), role)
    _record(node, changed.account, f"role {role.value}")
    _show(node, changed, as_json=as_json, told=f"{changed.account}: {role.value}")


@users_app.command("password")
def password(account: Name, config: Config = None, link: Link = False, as_json: AsJson = False) -> None:
    """Give an account another password, and sign it out everywhere. It is asked for, or comes on standard input.

    Example: medseg-node users password reader1 --link
    """
    known, node = _known(account), _node(config)
    held = node.repository.account(known)
    if held is None:
        raise CallError(f"there is no account {known}; `medseg-node users list` has all")
    if not link:
        held = node.repository.set_password(known, _password(known))
        _record(node, known, "password")
    _show(node, held, as_json=as_json, told="" if link else f"{known} has another password", link=link)


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.node.log_format)
    return settings


def _node(config: Path | None) -> Node:
    settings = _settings(config)
    _require_node(config, settings)
    return Node(settings)


def _require_node(config: Path | None, settings: Settings) -> None:
    """Raise CallError where an account would go to a node that nobody has named: one made where the command happens
    to be called.
    """
    named = config is not None or any(name in os.environ for name in _NAMING)
    if not named and (absent := find_database(settings.database_url)) is not None:
        raise CallError(
            f"no node has run here ({absent} does not exist): name the settings of yours with --config FILE"
        )


def _known(account: str) -> str:
    name = account_name(account)
    if name is None:
        raise CallError(f"{account!r} is no name of an account: letters, digits and . _ @ -, 64 at most")
    return name


def _password(account: str) -> str:
    """The hash of a password that somebody types, twice, or that comes on standard input. Raises CallError."""
    if missing := missing_packages():
        raise SettingsError(f"accounts need {missing}: {EXTRA}")
    from workflows.web.passwords import hash_password, why_no_password

    if sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if wrong := why_no_password(given, account):
        raise CallError(wrong)
    return hash_password(given)


def _record(node: Node, account: str, what: str) -> None:
    log.info("account", action=what, account=account, by=operator())
    node.repository.record_audit(operator(), "account changed", f"{account}: {what}")


def _show(node: Node, account: Account, *, as_json: bool, told: str, link: bool = False) -> None:
    address = _link(node, account) if link else ""
    if as_json:
        print(json.dumps({**_as_json(account), **({"link": address} if link else {})}, indent=2))
        return
    if told:
        out.print(escape(told), highlight=False)
    if address:
        out.print(f"this works once, for 24 hours, and is shown only now:\n{escape(address)}", highlight=False)


def _link(node: Node, account: Account) -> str:
    web = node.settings.web
    try:
        token = node.repository.make_one_time(OneTimeKind.LINK, _LINK_LASTS, account.account, {"password": True})
    except AccountRefused as refusal:
        raise CallError(str(refusal)) from refusal
    _record(node, account.account, "link made")
    host = web.hosts[0] if web.hosts else "127.0.0.1" if web.host in ("0.0.0.0", "::") else web.host
    by_proxy = bool(web.proxies) and web.certificate is None
    port = "" if by_proxy else f":{web.port}"
    scheme = "https" if by_proxy or web.certificate is not None else "http"
    return f"{scheme}://{host}{port}{web.base_path}/link/{token}"


def _as_json(account: Account) -> dict[str, Any]:
    return {
        "account": account.account,
        "name": account.name,
        "role": account.role.value,
        "source": account.source.value,
        "has_password": account.has_password,
        "created_at": account.created_at.isoformat(),
        "disabled_at": account.disabled_at.isoformat() if account.disabled_at else None,
        "signed_in_at": account.signed_in_at.isoformat() if account.signed_in_at else None,
    }
