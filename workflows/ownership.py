"""The right folder: a data folder and a database belong to one node, or nothing starts."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from workflows.data_folder import DataFolder, new_node_uid
from workflows.errors import SettingsError
from workflows.state.records import Instance
from workflows.state.repository import Repository

__all__ = ["check_own_folder", "require_own_folder"]

log = structlog.get_logger()

_SAMPLE = 50


def require_own_folder(folder: DataFolder, repository: Repository) -> str:
    """Return the identity that folder and database share; give both one where neither has it yet.

    Raises what `check_own_folder` raises. A database and folder of version 0.1 are adopted.
    """
    known = check_own_folder(folder, repository)
    if known is None:
        log.warning("new_node_made", data_dir=str(folder.root))  # or a mount that is missing, its database with it
    uid = repository.claim_database(known or new_node_uid())
    if folder.claim(uid) != uid:
        raise SettingsError(f"[node] data_dir {folder.root} was taken by another node at the same moment: start again")
    return uid


def check_own_folder(folder: DataFolder, repository: Repository) -> str | None:
    """Return the identity that folder or database has, None where neither has one yet; nothing is changed.

    A missing mount looks like an empty folder: were it used, every instance would count as lost, and new ones would go
    into the mount point. Raises SettingsError, naming the remedy, for the folder of another node, and for one that has
    not the files that the database knows.
    """
    marked, known = folder.node_uid(), repository.node_uid()
    holds = repository.holds_instances()
    if marked is not None and known is not None:
        if marked != known:
            raise SettingsError(
                f"[node] data_dir {folder.root} belongs to another node ({marked[:8]}; this database's is "
                f"{known[:8]}): check data_dir, its mount, and [database] url"
            )
        if holds and not folder.has_instances():
            raise SettingsError(
                f"{folder.instances} is empty, and the database knows instances: mount or restore it and start again; "
                f"if its files are gone for good, make the folder {folder.instances}/gone and start"
            )
    elif holds:
        _require_known_files(folder, known or marked, repository.newest_instances(_SAMPLE))
    elif marked is not None and folder.has_instances():
        raise SettingsError(
            f"[node] data_dir {folder.root} belongs to node {marked[:8]}, and this database knows no node: check "
            f"[database] url; if that node's database is lost, remove {folder.marker}: its files are indexed anew"
        )
    return marked or known


def _require_known_files(folder: DataFolder, uid: str | None, instances: Sequence[Instance]) -> None:
    """Raise SettingsError unless one of the instances that came last lies here."""
    if any(folder.absolute(instance.path).is_file() for instance in instances):
        return
    empty = "is empty" if not folder.has_instances() else "has none of the files that the database knows"
    mark = f', then write {{"node": "{uid}"}} to {folder.marker}; the SCP asks for the rest again' if uid else ""
    raise SettingsError(
        f"[node] data_dir {folder.root} {empty}: mount or restore the folder of this node and start again; "
        f"if its files are gone for good, restore what there is{mark}"
    )
