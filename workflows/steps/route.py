"""Route: one archive and how it is spoken to, so that a step need not know by which service."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.errors import UnparseableInstance
from dicom_node.network.archive import ArchiveAddress, open_archive
from dicom_node.network.commitment import CommitmentAnswer, request_commitment
from dicom_node.network.orthanc import delete_instances
from dicom_node.network.storage_scu import SendOutcome, Timeouts, send
from dicom_node.network.stow import store
from workflows.errors import DatabaseUnavailable, defect
from workflows.settings import Supersede
from workflows.state.records import ResultObject
from workflows.state.repository import Repository
from workflows.state.retrying import Backoff, spread_s

__all__ = ["Route", "Sender", "name_archives", "no_route", "require_intact"]

log = structlog.get_logger()

_RESTART = "and restart the node: then it is sent at once"
_SHORT = Timeouts(connection_s=5, acse_s=10, dimse_s=30, network_s=30)
"""For questions: what waits behind them is more urgent than their answers."""


@dataclass(frozen=True)
class Route:
    """Where an archive is, how results go there, whether it commits itself, and what becomes of old results in it."""

    address: ArchiveAddress
    calling_ae_title: str
    stow: bool = False
    commitment: bool = False
    supersede: Supersede = Supersede.KOS

    @property
    def title(self) -> str:
        """The archive's AE title, for messages."""
        return self.address.peer.ae_title

    def send(self, paths: Sequence[Path]) -> Generator[SendOutcome, None, None]:
        """As `network.storage_scu.send`, or by STOW-RS."""
        return store(paths, self.address) if self.stow else send(paths, self.address.peer, self.calling_ae_title)

    def ask_commitment(self, transaction_uid: str, objects: Sequence[ResultObject]) -> CommitmentAnswer | None:
        """As `network.commitment.request_commitment`."""
        instances = [(one.sop_class_uid, one.sop_instance_uid) for one in objects]
        return request_commitment(self.address.peer, self.calling_ae_title, transaction_uid, instances, timeouts=_SHORT)

    def shown(self, study_uid: str, objects: Sequence[ResultObject]) -> set[str]:
        """Which of these objects a query shows, as SOP Instance UIDs."""
        archive = open_archive(self.address, self.calling_ae_title, timeouts=_SHORT)
        wanted: set[str] = {one.sop_instance_uid for one in objects}
        series = dict.fromkeys(one.series_uid for one in objects if one.series_uid)
        if any(not one.series_uid for one in objects):  # saved by an earlier version, which did not keep it
            series |= dict.fromkeys(one.series_uid for one in archive.series(study_uid))
        found = {one.sop_instance_uid for uid in series for one in archive.instances(study_uid, uid)}
        return wanted & found

    def delete(self, objects: Sequence[ResultObject]) -> dict[str, bool]:
        """As `network.orthanc.delete_instances`."""
        return delete_instances(self.address, [one.sop_instance_uid for one in objects])


@dataclass(frozen=True)
class Sender:
    """Who speaks to archives, and the way to each. `default`: the archive that objects without one go to, or ""."""

    owner: str
    routes: Mapping[str, Route] = field(default_factory=dict)
    default: str = ""
    lease_s: float = 120.0
    heartbeat_s: float = 30.0
    longest_wait_s: float = 300.0
    retry_s: float = 30.0
    chance: Callable[[], float] = random.random

    def route(self, archive: str) -> Route | None:
        """The way to an archive; None where it is not configured."""
        return self.routes.get(archive or self.default)

    def named(self, job_key: str, archive: str, repository: Repository, *, to_send: bool = False) -> str:
        """As `named_for_study`, for the study of a job."""
        if archive or not self.default:
            return archive
        try:
            study_uid = repository.job(job_key).study_uid
        except LookupError:  # purged meanwhile
            return archive
        return self.named_for_study(study_uid, archive, repository, to_send=to_send)

    def named_for_study(self, study_uid: str, archive: str, repository: Repository, *, to_send: bool = False) -> str:
        """The name of an archive; for "" that of the default one, under which a study's results are recorded then.

        "" stays where the name is not known: none is configured; or several are, and nothing is `to_send` any more.
        """
        only = len(self.routes) == 1
        if archive or not self.default or not (only or to_send):
            return archive
        repository.name_archive(study_uid, self.default, sent_too=only)
        return self.default

    def wait_s(self, attempts: int) -> float:
        """Seconds to wait after so many attempts that failed: from 2 s on doubled, and shorter by chance."""
        return Backoff(2.0, self.longest_wait_s, self.chance).delay_s(attempts)

    def spread_s(self, pause_s: float) -> float:
        """A fixed pause in seconds, shorter by chance, so that what waits for an archive does not come all at once."""
        return spread_s(pause_s, self.chance)


def require_intact(path: Path, result: ResultObject) -> None:
    """Raise UnparseableInstance for a file that is not what was saved, OSError for one that cannot be read."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != result.digest:
            raise UnparseableInstance(f"{path} is not what was saved: it is made again")


def name_archives(repository: Repository, sender: Sender, beat: Callable[[], object] = lambda: None) -> None:
    """When a node starts: what waited for an archive that is configured now goes there at once, by its name.

    `beat`: called for each study, so that nobody takes a long list for a process that stands still. A study with which
    it fails is tried again at the next start.
    """
    sent_too = len(sender.routes) == 1
    for study_uid in repository.studies_without_archive(sent_too=sent_too) if sender.default else ():
        beat()
        try:
            repository.name_archive(study_uid, sender.default, sent_too=sent_too)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            log.exception("study_not_named", study_uid=study_uid, reason=defect(error))
    for archive in sender.routes:
        beat()
        repository.archive_is_back(archive, no_route(archive))


def no_route(archive: str) -> str:
    """Why there is no way to an archive, and what to do."""
    if not archive:
        return f"no archive to send to: name one under [[archives]] and [results] archive, {_RESTART}"
    return f"the archive {archive!r} is not configured any more: put it back under [[archives]], {_RESTART}"
