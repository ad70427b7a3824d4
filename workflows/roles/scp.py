"""The SCP role: the port is open first; then files and rows are made to agree, while instances come in."""

from __future__ import annotations

import pickle
import socket
import threading

import structlog

from dicom_node.network.sockets import listening_socket
from dicom_node.network.storage_scp import SharedStorageSCP
from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable, defect
from workflows.roles.acceptors import Acceptors, AcceptorSettings
from workflows.roles.liveness import Liveness
from workflows.steps.sweep import reconcile

__all__ = ["run_scp"]

log = structlog.get_logger()

_GRACE_S = 5.0


def run_scp(node: Node, stop: threading.Event) -> None:
    """Receive instances until `stop`: this process listens and indexes, `[node] acceptors` others serve associations.

    A node that has run before takes instances though its database is away: the journal holds them.
    """
    settings = node.scp_settings
    listening = listening_socket(settings.host, settings.port)  # before anything else: another node may run here
    try:
        node.repository  # noqa: B018  one migration, before the acceptors ask for the schema
    except DatabaseUnavailable:
        if node.folder.node_uid() is None:  # perhaps a mount is missing
            listening.close()
            raise
    with node.indexing():
        _receive(node, listening, stop)


def _receive(node: Node, listening: socket.socket, stop: threading.Event) -> None:
    settings = node.scp_settings
    told = AcceptorSettings(node.intake, node.settings.node.log_format, pickle.dumps(node.settings))
    acceptors = Acceptors(told, node.settings.node.acceptors)
    acceptors.start(stop)
    scp = SharedStorageSCP(settings, node.scp_offer, lambda: acceptors.links)
    scp.start(listening)
    try:
        threading.Thread(target=_sweep, args=(node, stop), name="sweep", daemon=True).start()
        Liveness("scp", node.settings.node.data_dir).until(stop)
    finally:
        scp.stop(_GRACE_S)
        acceptors.stop(_GRACE_S)


def _sweep(node: Node, stop: threading.Event) -> None:
    """Sweep once; again while the database is away."""
    opened = False
    while not stop.is_set():
        try:
            if not opened:
                node.repository.wait_anew(node.quiet_period_s)
                opened = True
            found, lost = reconcile(node.receiver)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))
            stop.wait(node.settings.node.rewake_s)
        except Exception as error:
            log.exception("sweep_failed", reason=defect(error))
            return
        else:
            log.info("swept", indexed=found, lost=lost)
            return
