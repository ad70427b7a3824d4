"""Doctor: could a node run with this configuration? One check per thing that stops it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from kombu import Connection

from dicom_node.audit.syslog import check_receiver
from dicom_node.errors import PeerError, PeerRejected
from dicom_node.network.storage_scu import Peer, Timeouts, echo
from dicom_node.volumes.decoders import decodable_syntaxes
from inference.errors import RemoteFailed
from inference.open import describe_predictor
from workflows.bootstrap import Node, receiver_of, repository_to_read
from workflows.commands.archive_checks import check_archive
from workflows.commands.checks import Check, Outcome, Warned, run_check
from workflows.commands.protocol_checks import check_protocols, check_protocols_for_a_start
from workflows.commands.quarantine import in_quarantine
from workflows.commands.web import check_accounts, check_pages
from workflows.data_folder import DataFolder
from workflows.errors import SettingsError
from workflows.ownership import check_own_folder
from workflows.settings import PredictorSettings, Settings
from workflows.state.engine import find_database
from workflows.state.records import Instance
from workflows.steps.inputs import is_intact
from workflows.steps.room import told_of_room

__all__ = ["Check", "Outcome", "as_json", "examine", "require_usable"]

_LOOKED_AT = 5


def examine(settings: Settings) -> list[Check]:
    """Look at everything the node needs; nothing is made or changed."""
    checks: dict[str, Callable[[Settings], str]] = {
        "data directory": _data_directory,
        "database": _database,
        "node": _node,
        "quarantine": _quarantine,
        "room": _room,
        "files": _files,
        "broker": _broker,
        "port": _port_or_node,
        "checkpoint": _checkpoint,
        "protocols": check_protocols,
        "pixels": _pixels,
        "pages": check_pages,
        "accounts": check_accounts,
        "audit": _audit,
    }
    if not settings.destinations:
        checks["archive"] = _no_archive
    own = [_run(name, check, settings) for name, check in checks.items()]
    return [*own, *(check for archive in settings.destinations for check in check_archive(archive, settings))]


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks, and each compressed transfer syntax with the decoders that are installed for it."""
    return {
        "checks": [{"name": one.name, "outcome": one.outcome.value, "detail": one.detail} for one in checks],
        "transfer_syntaxes": [asdict(syntax) for syntax in decodable_syntaxes()],
    }


def require_usable(node: Node, *names: str) -> None:
    """Raise SettingsError for what would make a role useless from its start: `names` of port, checkpoint, protocols.

    The archive, the broker and the database may be down: they are tried again.
    """
    wrong = [
        one for one in (_run(name, _REQUIRED[name], node.settings) for name in names) if one.outcome is Outcome.FAILED
    ]
    if wrong:
        raise SettingsError("\n".join(f"{one.name}: {one.detail}" for one in wrong))


def _run(name: str, check: Callable[[Settings], str], settings: Settings) -> Check:
    return run_check(name, partial(check, settings))


def _data_directory(settings: Settings) -> str:
    wanted = settings.node.data_dir.resolve()
    there = next(one for one in (wanted, *wanted.parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise SettingsError(f"[node] data_dir {wanted} cannot be used: {there} is no folder that this user may write")
    return str(wanted) if there == wanted else f"{wanted} (the node will make it)"


def _database(settings: Settings) -> str:
    file = find_database(settings.database_url)
    return settings.database_url.split("@")[-1] if file is None else f"{file} (the node will make it)"


def _node(settings: Settings) -> str:
    """Whether data directory and database are one node's."""
    if find_database(settings.database_url) is not None:
        return "none has run here yet"
    try:
        repository = repository_to_read(settings)
    except SettingsError as error:  # no table yet, or a schema that the node brings up to date
        raise Warned(str(error)) from error
    uid = check_own_folder(DataFolder(settings.node.data_dir), repository)
    return f"{uid[:8]}, data directory and database are one node's" if uid else "none has run here yet"


def _quarantine(settings: Settings) -> str:
    if told := in_quarantine(DataFolder(settings.node.data_dir)):
        raise Warned(told)
    return "empty"


def _room(settings: Settings) -> str:
    """What a running node has counted of `[retention] budget_gb`."""
    told, full = told_of_room(DataFolder(settings.node.data_dir))
    if full:
        raise SettingsError(told)
    if told:
        raise Warned(told)
    budget = settings.retention.budget_gb
    return f"below {settings.retention.warn_at:.0%} of {budget:g} GB" if budget else "as much as the disk has"


def _files(settings: Settings) -> str:
    """Whether some of the newest images are as they were received."""
    if find_database(settings.database_url) is not None:
        return "none has come yet"
    try:
        newest = repository_to_read(settings).newest_instances(_LOOKED_AT)
    except SettingsError as error:
        raise Warned(str(error)) from error
    folder = DataFolder(settings.node.data_dir)
    wrong = [str(folder.absolute(one.path)) for one in newest if not _as_received(one, folder)]
    if wrong:
        raise SettingsError(
            f"{len(wrong)} of the newest {len(newest)} instances are gone or damaged, such as {wrong[0]}: look at the "
            "disk; a running node asks for them again once they are to be read"
        )
    return f"the newest {len(newest)} instances are as they were received" if newest else "none has come yet"


def _as_received(instance: Instance, folder: DataFolder) -> bool:
    try:
        return is_intact(instance, folder)
    except OSError:
        return False


def _broker(settings: Settings) -> str:
    if settings.broker_url.startswith("filesystem:"):
        return settings.broker_url
    with Connection(settings.broker_url, connect_timeout=5) as connection:
        connection.ensure_connection(max_retries=1)
    return settings.broker_url.split("@")[-1]


def _port_or_node(settings: Settings) -> str:
    """The port is free, or a DICOM application has it, as it is while the node runs."""
    node = settings.node
    try:
        return _port(settings)
    except SettingsError as taken:
        try:
            echo(Peer(node.ae_title, node.host, node.port), node.ae_title, timeouts=Timeouts(2, 2, 2, 2))
        except PeerError as error:
            if isinstance(error, PeerRejected) or "rejected" in str(error):
                return f"{node.host}:{node.port} is taken by a DICOM application: this node, if it runs"
            raise taken from error
        return f"{node.host}:{node.port} answers C-ECHO: a node runs there"


def _port(settings: Settings) -> str:
    node = settings.node
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((node.host, node.port))
        except OSError as error:
            raise SettingsError(
                f"{node.host}:{node.port} cannot be listened on ({error.strerror}); stop what listens there or set "
                "another [node] port"
            ) from error
    return f"{node.host}:{node.port} is free"


def _checkpoint(settings: Settings) -> str:
    """Who would answer, the predictors that questions name too; a remote one may be away, and is asked again."""
    told, away = list[str](), list[str]()
    for model in (settings.model, *settings.predictors):
        try:
            found = describe_predictor(
                model.checkpoint, model.accept_research_use, model.accept_uncalibrated, access=model.access
            )
        except RemoteFailed as error:
            away.append(str(error))
            continue
        terms = f", {found.terms.upper()}" if found.terms else ""
        name = f"{model.name}: " if isinstance(model, PredictorSettings) else ""
        told.append(f"{name}{found.name} {found.version}, sha256 {found.digest[:12]}{terms}")
    if away:
        raise Warned("; ".join(away + told))
    return "; ".join(told)


def _audit(settings: Settings) -> str:
    """Whether the audit record repository takes connections, and how many rows wait for it."""
    if not settings.audit.syslog.host:
        return "kept in the database; [audit.syslog] host would send it to a repository too"
    answered = check_receiver(receiver_of(settings))
    if find_database(settings.database_url) is not None:
        return answered
    try:
        repository = repository_to_read(settings)
    except SettingsError as error:
        raise Warned(str(error)) from error
    waiting = repository.audit_head().count - repository.audit_receiver().number
    return f"{answered}; {waiting} rows wait for it"


def _pixels(_settings: Settings) -> str:
    """A line for each transfer syntax; native ones need no decoder."""
    syntaxes = decodable_syntaxes()
    listed = "\n".join(f"       {one.name} ({one.uid}): {', '.join(one.decoders) or 'none'}" for one in syntaxes)
    missing = [one.uid for one in syntaxes if not one.decoders]
    if missing:
        raise Warned(
            f"{len(missing)} of {len(syntaxes)} compressed transfer syntaxes do not decode; their images are refused: "
            f"pip install imagecodecs python-gdcm\n{listed}"
        )
    return f"uncompressed, deflated, and {len(syntaxes)} compressed transfer syntaxes decode, with:\n{listed}"


_REQUIRED = {"port": _port, "checkpoint": _checkpoint, "protocols": check_protocols_for_a_start}


def _no_archive(_settings: Settings) -> str:
    raise Warned("none: results are saved and not sent; name one under [[archives]] to have them delivered")
