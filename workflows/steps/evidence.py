"""Evidence: the source of a quiet study is asked what it has of it, and what is missing here is fetched.

Each source is asked on a thread of its own: one that is silent costs its own time, and nobody waits for it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import structlog

from dicom_node.errors import DicomNodeError, InstanceRefused, PeerRejected, PeerUnreachable
from dicom_node.headers.elements import read_file_header, text
from dicom_node.headers.instance import IDENTIFIER_KEYWORDS
from dicom_node.network.archive import Archive, FoundInstance, FoundSeries
from dicom_node.network.contexts import ACCEPTED_STORAGE_CLASSES
from dicom_node.results.equipment import MANUFACTURER
from dicom_node.sop_classes import WRITTEN_CLASSES
from dicom_node.storage.part10 import data_set_offset
from dicom_node.storage.sink import InstanceSink, StoreRequest
from workflows.errors import DatabaseUnavailable, defect
from workflows.state.completion import assumed
from workflows.state.records import QuietStudy
from workflows.state.repository import Repository

__all__ = ["ArchiveSource", "Asking", "Evidence", "Source", "take_file"]

log = structlog.get_logger()

_ATTEMPTS = 3
"""How often a source is asked, since the last instance came, before its study counts as complete without proof."""
_FIRST_WAIT_S = 10.0
"""How long after an attempt in vain the next one is; after each it is three times as long."""
_FETCHED_WAIT_S = 2.0
"""How long after instances were fetched the source is asked again: they have to pass through intake."""
_SILENT_S = 10.0
"""How long the answer of a source that could not be reached holds for its other studies too."""
_CHUNK = 1024 * 1024
_LONGEST_S = 60.0
"""Seconds that all questions about a study may take together."""


class Source(Protocol):
    """Where studies come from, and what can be asked there. Raises PeerUnreachable, and PeerRejected if refused."""

    @property
    def name(self) -> str:
        """How it is called in a sentence."""

    def instances(self, study_uid: str) -> Sequence[FoundInstance]:
        """What it has of a study, without what this node never keeps."""

    def fetch(self, missing: Sequence[FoundInstance]) -> None:
        """Have these instances of one study come in the way that every instance comes, as far as it gives them."""


@dataclass(frozen=True)
class ArchiveSource:
    """A source that answers queries. `archive`: opens it.

    `move`: has it send instances of a series (study, series and SOP Instance UIDs) to the node's own AE title, where it
    can; else they are copied, and `take` hands each file to intake as if the source had sent it.
    """

    name: str
    archive: Callable[[], Archive]
    take: Callable[[Path], object]
    move: Callable[[str, str, Sequence[str]], None] | None = None

    def instances(self, study_uid: str) -> list[FoundInstance]:
        return self.instances_of(self.series(study_uid))

    def series(self, study_uid: str) -> list[FoundSeries]:
        """The series that it has of a study. Raises as `Source` says."""
        return self.archive().series(study_uid)

    def instances_of(self, all_series: Sequence[FoundSeries]) -> list[FoundInstance]:
        """What it has of these series, without what this node never keeps. Raises as `Source` says."""
        archive, end = self.archive(), time.monotonic() + _LONGEST_S
        found: list[FoundInstance] = []
        for series in all_series:
            if time.monotonic() > end:
                raise PeerUnreachable(f"{self.name} takes more than {_LONGEST_S:g} s to name a study's instances")
            ours = series.manufacturer == MANUFACTURER
            named = archive.instances(series.study_uid, series.series_uid)
            found += [one for one in named if _is_kept(one.sop_class_uid, ours=ours)]
        return found

    def fetch(self, missing: Sequence[FoundInstance]) -> None:
        end = time.monotonic() + _LONGEST_S
        for (study_uid, series_uid), uids in _by_series(missing).items():
            if time.monotonic() > end:
                raise PeerUnreachable(f"{self.name} takes more than {_LONGEST_S:g} s to send what is missing")
            if self.move is not None:
                try:
                    self.move(study_uid, series_uid, uids)
                    continue
                except PeerRejected as error:
                    log.info("move_refused", source=self.name, reason=str(error))
            self._copy(study_uid, series_uid, uids)

    def _copy(self, study_uid: str, series_uid: str, uids: Sequence[str]) -> None:
        with TemporaryDirectory(prefix="medseg-missing-") as name:
            folder = Path(name)
            try:
                self.archive().retrieve(study_uid, folder, series_uid=series_uid, sop_instance_uids=uids)
            finally:  # it may have sent some of them
                for path in sorted(folder.glob("*.dcm")):
                    self.take(path)


def take_file(path: Path, calling_ae_title: str, sink: InstanceSink) -> bool:
    """Hand a Part 10 file to intake as if a peer had sent it. False: intake refuses it, which is logged."""
    meta, header = read_file_header(path, IDENTIFIER_KEYWORDS)
    request = StoreRequest(
        sop_class_uid=text(header, "SOPClassUID"),
        sop_instance_uid=text(header, "SOPInstanceUID"),
        transfer_syntax_uid=text(meta, "TransferSyntaxUID"),
        calling_ae_title=calling_ae_title,
    )
    try:
        writer = sink.open(request)
        try:
            with path.open("rb") as file:
                file.seek(data_set_offset(file))
                while chunk := file.read(_CHUNK):
                    writer.write(chunk)
            writer.commit()
        except BaseException:
            writer.abandon()
            raise
    except InstanceRefused as error:
        log.warning("fetched_instance_refused", source=calling_ae_title, reason=str(error))
        return False
    return True


def _is_kept(sop_class_uid: str, *, ours: bool) -> bool:
    """Whether intake keeps an instance: of a class that it accepts ("": not told), and no node's own result."""
    if sop_class_uid and sop_class_uid not in ACCEPTED_STORAGE_CLASSES:
        return False
    return not (ours and sop_class_uid in WRITTEN_CLASSES)


def _by_series(instances: Sequence[FoundInstance]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for one in instances:
        found.setdefault((one.study_uid, one.series_uid), []).append(one.sop_instance_uid)
    return found


@dataclass
class Asking:
    """One question after another to one source. `completed` is told the UID of each complete study, and why it is."""

    source: Source
    repository: Repository
    completed: Callable[[str, str], None]
    monotonic: Callable[[], float] = time.monotonic
    _silent_until: float = field(default=float("-inf"), init=False)
    _why: str = field(default="", init=False)

    def ask(self, quiet: QuietStudy) -> None:
        """Complete a study, or have what is missing fetched; it is then looked at again."""
        if self.monotonic() < self._silent_until:
            self._in_vain(quiet, self._why)
            return
        try:
            named = self.source.instances(quiet.study_uid)
            ours = self.repository.objects_known_here([one.sop_instance_uid for one in named])
            here = self.repository.instances_here(quiet.study_uid) | ours
            kept = {one.sop_instance_uid for one in named} - ours
            missing = [one for one in named if one.sop_instance_uid not in here]
        except DatabaseUnavailable:
            raise
        except DicomNodeError as error:
            if isinstance(error, PeerUnreachable):
                self._silent_until, self._why = self.monotonic() + _SILENT_S, str(error)
            self._in_vain(quiet, str(error))
            return
        if not kept:
            self._complete(quiet, assumed(quiet, f"{self.source.name} names no instance of this study"))
        elif not missing:
            self._complete(quiet, f"proved: {self.source.name} names {_instances(len(kept))}, all here")
        else:
            self._fetch(quiet, missing, len(kept))

    def _fetch(self, quiet: QuietStudy, missing: Sequence[FoundInstance], named: int) -> None:
        told = f"{len(missing)} of {_instances(named)} that {self.source.name} names"
        log.warning("instances_missing", study_uid=quiet.study_uid, source=self.source.name, missing=len(missing))
        if quiet.attempts >= _ATTEMPTS:
            self._complete(quiet, assumed(quiet, f"{told} did not come"), f"{told} did not come")
            return
        why = "fetched"
        try:
            self.source.fetch(missing)
        except DatabaseUnavailable:
            raise
        except DicomNodeError as error:
            why = f"to be fetched again: {error}"
            log.warning("fetch_failed", study_uid=quiet.study_uid, source=self.source.name, reason=str(error))
        wait_s = _FETCHED_WAIT_S if why == "fetched" and quiet.attempts == 0 else _wait_s(quiet.attempts)
        self.repository.wait_longer(quiet, f"waits for {told}: {why}", wait_s)

    def _in_vain(self, quiet: QuietStudy, why: str) -> None:
        told = f"{self.source.name} could not be asked: {why}"
        if quiet.attempts + 1 >= _ATTEMPTS:
            self._complete(quiet, assumed(quiet, told))
            return
        log.warning("source_not_asked", study_uid=quiet.study_uid, source=self.source.name, reason=why)
        self.repository.wait_longer(quiet, f"asked again whether it is complete: {told}", _wait_s(quiet.attempts))

    def _complete(self, quiet: QuietStudy, evidence: str, attention: str = "") -> None:
        if self.repository.complete_study(quiet, evidence, attention):
            self.completed(quiet.study_uid, evidence)


def _wait_s(attempts: int) -> float:
    return float(_FIRST_WAIT_S * 3 ** min(attempts, 5))


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"


class Evidence:
    """Every source that can be asked, by AE title, each with a thread that begins with its first question."""

    def __init__(self, askings: Mapping[str, Asking]) -> None:
        self._askings = askings
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._questions: dict[str, queue.SimpleQueue[QuietStudy]] = {}

    def take_up(self, quiet: QuietStudy) -> bool:
        """Ask a study's source, later; True also while it is being asked. False: nobody can be asked."""
        if quiet.source_ae_title not in self._askings:
            return False
        with self._lock:
            if quiet.study_uid in self._asked:
                return True
            self._asked.add(quiet.study_uid)
            if quiet.source_ae_title not in self._questions:
                self._questions[quiet.source_ae_title] = queue.SimpleQueue()
                name = f"evidence of {quiet.source_ae_title}"
                threading.Thread(target=self._run, args=(quiet.source_ae_title,), name=name, daemon=True).start()
        self._questions[quiet.source_ae_title].put(quiet)
        return True

    def _run(self, ae_title: str) -> None:
        asking, questions = self._askings[ae_title], self._questions[ae_title]
        while True:
            quiet = questions.get()
            try:
                asking.ask(quiet)
            except DatabaseUnavailable as error:  # it is still due
                log.error("database_unavailable", reason=str(error))
            except Exception as error:
                log.exception("evidence_failed", study_uid=quiet.study_uid, reason=defect(error))
            finally:
                with self._lock:
                    self._asked.discard(quiet.study_uid)
