"""Commission: a synthetic body to an archive and back, with results as a node makes them, and a report of the way."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dicom_node.commissioning.body import Body, make_body
from dicom_node.commissioning.body_headers import PATIENT_ID, PATIENT_NAME
from dicom_node.commissioning.check import BodyVerdict, SentResult, check_body, read_returned
from dicom_node.commissioning.page import PageFacts, write_page
from dicom_node.errors import PeerError, PeerRejected
from dicom_node.headers.instance import read_identifiers
from dicom_node.identifiers import derived_uid
from dicom_node.network.archive import Archive, open_archive
from dicom_node.network.commitment import CommitmentAnswer, failure_told, request_commitment
from dicom_node.network.orthanc import delete_study
from dicom_node.network.storage_scu import SendOutcome, send
from dicom_node.network.stow import store
from dicom_node.volumes.load import load_series
from inference.open import open_predictor
from workflows.bootstrap import address_of
from workflows.errors import CallError, CommissioningStopped
from workflows.reading import ReadingContext, read
from workflows.settings import COMMISSIONING, ArchiveSettings, Settings
from workflows.settings.sections import Delivery
from workflows.steps.plan import COMMISSIONING_QUESTION

__all__ = ["Commissioned", "Connections", "archive_named", "as_json", "commission", "connections_to"]

Tell = Callable[[str], None]
_PATIENCE_S = 60.0
_PAUSE_S = 0.5
_COMMITMENT_WAIT_S = 10.0


@dataclass(frozen=True)
class Connections:
    """The ways to and from one archive.

    `delete`: takes a study away and says whether it is gone; None where the archive has no way for it. `commit`: as
    `network.commitment.request_commitment` with the transaction and the instances; None where it is not to be asked.
    """

    send: Callable[[Sequence[Path]], Iterable[SendOutcome]]
    archive: Archive
    delete: Callable[[str], bool] | None
    commit: Callable[[str, Sequence[tuple[str, str]]], CommitmentAnswer | None] | None = None


@dataclass(frozen=True)
class Commissioned:
    """What came of a run. `ending`: what became of the study; `folder`: of this run; `report`: the page.

    `commitment`: what the archive answered when it was asked to commit itself, "" where it was not asked;
    `not_committed`: that it does not.
    """

    archive: str
    profile: str
    study_uid: str
    created: datetime
    verdict: BodyVerdict
    not_shown: int
    removed: bool
    ending: str
    folder: Path
    report: Path
    commitment: str = ""
    not_committed: bool = False

    @property
    def ok(self) -> bool:
        """Whether all came back right, and the archive did not deny that it keeps it."""
        return self.verdict.ok and not self.not_committed


def archive_named(settings: Settings, name: str) -> ArchiveSettings:
    """The archive of `[[archives]]` with this name. Raises CallError."""
    for archive in settings.archives:
        if archive.name == name:
            return archive
    known = ", ".join(repr(archive.name) for archive in settings.archives) or "none; name one under [[archives]]"
    raise CallError(f"no archive is called {name!r}; the configuration has {known}")


def connections_to(archive: ArchiveSettings, settings: Settings) -> Connections:
    """The archive's own ways: C-STORE or STOW-RS, query and retrieve, and Orthanc's REST interface to delete."""
    address, own = address_of(archive), settings.node.ae_title
    by_web = archive.delivery is Delivery.STOW_RS
    return Connections(
        send=(lambda paths: store(paths, address)) if by_web else (lambda paths: send(paths, address.peer, own)),
        archive=open_archive(address, own),
        delete=(lambda study_uid: delete_study(address, study_uid)) if archive.orthanc_url else None,
        commit=(lambda uid, instances: request_commitment(address.peer, own, uid, instances, wait_s=_COMMITMENT_WAIT_S))
        if archive.commitment
        else None,
    )


def commission(
    archive: ArchiveSettings,
    settings: Settings,
    folder: Path,
    connections: Connections,
    *,
    keep: bool = False,
    tell: Tell = lambda _: None,
    patience_s: float = _PATIENCE_S,
) -> Commissioned:
    """Send the body, have it read, send the results, fetch all of it back, check it, and write the report.

    Everything lies in a folder of this run's own under `folder`. The study is removed at the end, also after an error,
    where the archive allows and unless `keep`. Raises CommissioningStopped where the archive ends the way.
    """
    created = datetime.now(UTC).replace(microsecond=0)
    run_id = f"{created:%Y%m%d%H%M%S}{secrets.token_hex(3)}"
    own = folder / run_id
    try:
        own.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise CallError(f"nothing can be written to {folder} ({error.strerror}): name another --out") from error
    body = make_body(own / "images", run_id, created)
    run = _Run(archive, settings, connections, body, own, created, tell, patience_s)
    try:
        verdict, not_shown, returned = run.go()
        commitment, not_committed = run.ask_commitment()
    except BaseException as error:
        ending = run.end(keep)[1] if run.sent else ""
        if ending and isinstance(error, (PeerError, CommissioningStopped)):
            raise CommissioningStopped(f"{error}. {ending}") from error
        raise
    removed, ending = run.end(keep)
    done = Commissioned(
        archive.name, settings.profile_of(archive).value, body.study_uid, created, verdict, not_shown, removed, ending,
        own, own / "report.pdf", commitment, not_committed,
    )  # fmt: skip
    _write(done, run, returned)
    return done


class _Run:
    """One run's way through an archive."""

    def __init__(
        self, archive: ArchiveSettings, settings: Settings, connections: Connections, body: Body, folder: Path,
        created: datetime, tell: Tell, patience_s: float,
    ) -> None:  # fmt: skip
        self.archive, self.settings, self.connections = archive, settings, connections
        self.body, self.folder, self.created = body, folder, created
        self._tell, self._patience_s = tell, patience_s
        self.sent = False
        self.results: list[SentResult] = []

    def go(self) -> tuple[BodyVerdict, int, dict[str, Any]]:
        """The verdict, how many instances a query did not show, and what came back by SOP Instance UID."""
        self._send_images()
        self.results = self._read()
        self._send_results()
        not_shown = self._await_shown()
        self._tell("fetching all of it back")
        try:
            paths = self.connections.archive.retrieve(self.body.study_uid, self._made("returned"))
        except PeerRejected as error:
            raise CommissioningStopped(f"{error}; allow this node to retrieve (C-GET or WADO-RS)") from error
        if not paths:
            raise CommissioningStopped(
                f"archive {self.archive.name} shows study {self.body.study_uid} and gives none of it back; look "
                f"whether {self.settings.node.ae_title} may retrieve there"
            )
        self._tell("checking what came back")
        returned = read_returned(paths)
        return check_body(self.body, self.results, returned), not_shown, returned

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _send(self, paths: Sequence[Path], what: str) -> dict[Path, str]:
        """Send files; what the archive said of each that it did not take."""
        refused: dict[Path, str] = {}
        for number, outcome in enumerate(self.connections.send(paths), start=1):
            self._tell(f"sending {what}: {number} of {len(paths)}")
            self.sent = True
            if not outcome.ok:
                refused[outcome.path] = outcome.told or "no reason given"
        return refused

    def _send_images(self) -> None:
        refused = self._send(self.body.files, "the body's images")
        if refused:
            first = next(iter(refused.values()))
            raise CommissioningStopped(
                f"archive {self.archive.name} did not take {len(refused)} of {len(self.body.files)} images: {first}"
            )

    def _read(self) -> list[SentResult]:
        """Results as a node makes them for this archive."""
        profile, wishes = self.settings.profile_of(self.archive), self.settings.wishes_of(self.archive)
        predictor = open_predictor(COMMISSIONING, "cpu", False)
        results = []
        for series in self.body.series:
            self._tell(f"reading {series.name}")
            folder = self._made(f"results/{series.name.replace(' ', '-')}")
            context = ReadingContext(
                job_key=f"commission {self.body.run_id} {series.name}",
                answer_key=f"commission {self.body.run_id} {series.name} answer",
                created=self.created,
                protocol=f"commission {version('medseg-node')}",
                station_ae_title=self.settings.node.ae_title,
                folders={profile: folder},
                predecessors={},
                low_confidence=self.settings.results.low_confidence,
                wishes={profile: (wishes,)},
            )
            reading = read(load_series(series.files), [COMMISSIONING_QUESTION], predictor, context)
            results += [SentResult(series.name, made.kind, made.path) for made in reading.objects]
        return results

    def _send_results(self) -> None:
        refused = self._send([result.path for result in self.results], "the results")
        self.results = [replace(result, refusal=refused.get(result.path, "")) for result in self.results]

    def _await_shown(self) -> int:
        """Ask until the archive shows whatever it took; how many instances it does not show in the end."""
        wanted: dict[str, set[str]] = {}
        for path in (*self.body.files, *(result.path for result in self.results if not result.refusal)):
            named = read_identifiers(path)
            wanted.setdefault(named.series_uid, set()).add(named.sop_instance_uid)
        total = sum(map(len, wanted.values()))
        deadline = time.monotonic() + self._patience_s
        while True:
            missing = self._still_missing(wanted)
            if not missing:
                return 0
            self._tell(f"waiting until the archive shows it: {total - missing} of {total} instances")
            if time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_S)
        if missing == total:
            raise CommissioningStopped(
                f"archive {self.archive.name} took the study and shows nothing of it by query within "
                f"{self._patience_s:g} s; look for study {self.body.study_uid} there, and whether "
                f"{self.settings.node.ae_title} may query"
            )
        return missing

    def _still_missing(self, wanted: dict[str, set[str]]) -> int:
        """Take what the archive shows out of `wanted`; how many are left."""
        for series_uid in [uid for uid, missing in wanted.items() if missing]:
            try:
                shown = self.connections.archive.instances(self.body.study_uid, series_uid)
            except PeerRejected as error:
                raise CommissioningStopped(
                    f"{error}; allow this node to query (C-FIND or QIDO-RS): without it nothing can be proved"
                ) from error
            wanted[series_uid] -= {one.sop_instance_uid for one in shown}
        return sum(map(len, wanted.values()))

    def ask_commitment(self) -> tuple[str, bool]:
        """What the archive says when asked to keep what it took, and whether it does not; ("", False): not asked."""
        if self.connections.commit is None:
            return "", False
        self._tell("asking for storage commitment")
        taken = (*self.body.files, *(result.path for result in self.results if not result.refusal))
        named = map(read_identifiers, taken)
        instances = [(one.sop_class_uid, one.sop_instance_uid) for one in named]
        transaction_uid = derived_uid("commission", self.body.run_id, "commitment")
        try:
            answer = self.connections.commit(transaction_uid, instances)
        except PeerError as error:
            return f"not given: {error}", True
        if answer is None:
            return "asked; its answer goes to the node's own port and is not seen here", False
        if missing := len({uid for _, uid in instances} - answer.committed):
            why = "; ".join(sorted({failure_told(reason) for reason in answer.failed.values()}))
            return f"not to {missing} of {len(instances)} instances{why and f': {why}'}", True
        return f"the archive committed itself to all {len(instances)} instances", False

    def end(self, keep: bool) -> tuple[bool, str]:
        """Remove the study where the archive allows: whether it is gone, and what to tell."""
        stays = (
            f"The study stays in archive {self.archive.name}: patient {PATIENT_ID}, Study Instance UID "
            f"{self.body.study_uid}"
        )
        if keep:
            return False, f"{stays}."
        if self.connections.delete is None:
            return False, f"{stays}; delete it there, or set orthanc_url where the archive is an Orthanc."
        try:
            if self.connections.delete(self.body.study_uid):
                return True, f"The study was removed from archive {self.archive.name}."
            return False, f"{stays}: it could not be removed, the archive still has it."
        except PeerError as error:
            return False, f"{stays}: it could not be removed ({error})."


def _write(done: Commissioned, run: _Run, returned: dict[str, Any]) -> None:
    archive, settings = run.archive, run.settings
    way = "STOW-RS" if archive.delivery is Delivery.STOW_RS else "C-STORE"
    back = "QIDO-RS and WADO-RS" if archive.dicomweb_url else "C-FIND and C-GET"
    shown = "" if not done.not_shown else f"{done.not_shown} instances were not shown by query. "
    facts = PageFacts(
        f"Commissioning of archive {archive.name}",
        (
            ("Archive", str(address_of(archive).peer)),
            ("When", f"{done.created:%Y-%m-%d %H:%M:%S} UTC"),
            ("Profile", f"{done.profile}; sent by {way}, back by {back}"),
            ("Study", done.study_uid),
            ("Patient", f"{PATIENT_NAME}, ID {PATIENT_ID}"),
            ("Node", f"MedSeg Node {version('medseg-node')}, AE title {settings.node.ae_title}"),
        ),
        f"{shown}{f'Storage commitment: {done.commitment}. ' if done.commitment else ''}{done.ending}",
        done.not_committed,
    )
    results: dict[str, list[Any]] = {}
    for result in run.results:
        uid = read_identifiers(result.path).sop_instance_uid
        if uid in returned:
            results.setdefault(result.series, []).append(returned[uid])
    write_page(done.report, run.body, done.verdict, results, returned, facts)
    (done.folder / "report.json").write_text(json.dumps(as_json(done), indent=2) + "\n", encoding="utf-8")


def as_json(done: Commissioned) -> dict[str, Any]:
    """What `--json` prints and report.json holds."""
    return {
        "ok": done.ok,
        "verdict": done.verdict.told,
        "unchecked": done.verdict.unchecked,
        "commitment": done.commitment,
        "archive": done.archive,
        "profile": done.profile,
        "study_uid": done.study_uid,
        "patient_id": PATIENT_ID,
        "created": done.created.isoformat(),
        "removed": done.removed,
        "ending": done.ending,
        "not_shown": done.not_shown,
        "strays": done.verdict.strays,
        "report": str(done.report),
        "series": [asdict(series) | {"ok": series.ok} for series in done.verdict.series],
    }
