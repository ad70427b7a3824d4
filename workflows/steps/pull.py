"""Pull: studies that an archive has and that were never routed here are found by query and fetched.

What comes goes the way that every instance comes: the archive sends it to the node's port, or it is copied and handed
to intake. The node's own results are left out, and so is what is here already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum

import structlog

from dicom_node.errors import DicomNodeError, PeerUnreachable
from dicom_node.network.archive import FoundInstance, FoundSeries, FoundStudy
from workflows.state.auditing import AuditAction, AuditEvent, Outcome
from workflows.state.repository import Repository
from workflows.steps.evidence import ArchiveSource

__all__ = ["PullState", "PullStudy", "PullWish", "Pulled", "Puller", "in_order"]

log = structlog.get_logger()

_AT_ONCE = 200
"""Instances of one series that are asked for at once."""
_SILENT_S = 5.0
"""Seconds in which none of the instances that were asked for is indexed: then nothing more is waited for."""
_LOOK_S = 0.2


@dataclass(frozen=True)
class PullWish:
    """Which studies of an archive are meant. `since`, `until`: Study Date, both included. Empty: any.

    `modality`: of at least one series; the study is fetched whole. `description`: a part of Study Description, in any
    case. Raises ValueError where no key is left that an archive can be asked by.
    """

    study_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""
    since: date | None = None
    until: date | None = None
    modality: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not (self.study_uid or self.accession_number or self.patient_id or self.since or self.until):
            raise ValueError("an archive is asked by study, accession number, patient or date")
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"{self.since} is after {self.until}")

    @property
    def study_date(self) -> str:
        """The range of Study Date as a key (PS3.4 C.2.2.2.5), "" for any."""
        if self.since is None and self.until is None:
            return ""
        begin, end = (f"{day:%Y%m%d}" if day else "" for day in (self.since, self.until))
        return begin if begin == end else f"{begin}-{end}"


class PullState(Enum):
    """Where a study of an archive stands here."""

    COMPLETE = "complete"
    MISSING = "missing"
    NOTHING = "nothing"
    NOT_ASKED = "not asked"
    FETCHED = "fetched"
    TAKEN = "taken"
    FAILED = "failed"


@dataclass(frozen=True)
class PullStudy:
    """A study of an archive. `named`: instances that it names and this node keeps; `here`: those that are here.

    `outcome`: in a sentence.
    """

    study_uid: str
    study_date: str
    accession_number: str
    description: str
    modalities: tuple[str, ...]
    named: int
    here: int
    state: PullState
    outcome: str

    @property
    def missing(self) -> int:
        return self.named - self.here

    @property
    def went_wrong(self) -> bool:
        """Whether it is to be asked for again."""
        return self.state in (PullState.NOT_ASKED, PullState.FAILED)


@dataclass(frozen=True)
class Pulled:
    """A study and the instances of it that are not here."""

    study: PullStudy
    missing: tuple[FoundInstance, ...] = ()


def in_order(studies: Iterable[FoundStudy], description: str) -> list[FoundStudy]:
    """The studies whose description has the text in it, the newest first."""
    wanted = [one for one in studies if description.casefold() in one.study_description.casefold()]
    return sorted(wanted, key=lambda one: (one.study_date, one.study_uid), reverse=True)


@dataclass
class Puller:
    """Looks for studies in one archive and fetches them. `by`: who wants it, for the audit.

    `waiting`: how many instances are taken here and not indexed yet; where the node does not run they stay so.
    """

    source: ArchiveSource
    repository: Repository
    by: str
    waiting: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _silent: int = field(default=0, init=False)
    _indexing: bool = field(default=True, init=False)

    def find(self, wish: PullWish, limit: int) -> Iterator[Pulled]:
        """What the archive has, the newest first, until `limit` studies lack something here.

        A study about which it gives no answer says so; after two in a row the rest is not asked for. Raises
        PeerUnreachable and PeerRejected where it cannot be asked for studies at all.
        """
        studies = self.source.archive().studies(
            patient_id=wish.patient_id,
            accession_number=wish.accession_number,
            study_uid=wish.study_uid,
            study_date=wish.study_date,
        )
        lacking = 0
        for study in in_order(studies, wish.description):
            if lacking == limit:
                return
            found = self._look(study, wish.modality)
            if found is not None:
                lacking += found.study.state in (PullState.MISSING, PullState.NOT_ASKED)
                yield found

    def _look(self, study: FoundStudy, modality: str) -> Pulled | None:
        """How much of a study is here; None: it has no series of the modality."""
        if self._silent >= 2:
            return Pulled(_told(study, (), 0, 0, PullState.NOT_ASKED, f"{self.source.name} does not answer any more"))
        try:
            series = self.source.series(study.study_uid)
            if modality and modality.upper() not in {one.modality.upper() for one in series}:
                return None
            named = self.source.instances_of(series)
        except DicomNodeError as error:
            self._silent = self._silent + 1 if isinstance(error, PeerUnreachable) else 0
            return Pulled(_told(study, (), 0, 0, PullState.NOT_ASKED, str(error)))
        self._silent = 0
        ours = self.repository.objects_known_here([one.sop_instance_uid for one in named])
        kept = [one for one in named if one.sop_instance_uid not in ours]
        here = self.repository.instances_here(study.study_uid)
        missing = tuple(one for one in kept if one.sop_instance_uid not in here)
        if not kept:
            told = _told(study, series, 0, 0, PullState.NOTHING, "nothing that this node keeps")
        elif not missing:
            told = _told(study, series, len(kept), len(kept), PullState.COMPLETE, "all here")
        else:
            outcome = f"{len(missing)} of {len(kept)} instances are missing"
            told = _told(study, series, len(kept), len(kept) - len(missing), PullState.MISSING, outcome)
        return Pulled(told, missing)

    def fetch(self, found: Pulled) -> PullStudy:
        """Have what is missing come, portion by portion, and see it come. May run twice."""
        study, came, why = found.study, 0, ""
        for portion in _portions(found.missing):
            try:
                self.source.fetch(portion)
            except DicomNodeError as error:
                why = str(error)
            left = self._left(study.study_uid, portion)
            came += len(portion) - len(left)
            if why:
                break
        done = replace(study, here=study.here + came)
        if not done.missing:
            done = replace(done, state=PullState.FETCHED, outcome=f"{_instances(came)} fetched")
        elif not why and self.waiting() >= done.missing:
            outcome = f"{_instances(done.missing)} taken and not indexed yet: a node that runs does it (medseg-node up)"
            done = replace(done, state=PullState.TAKEN, outcome=outcome)
        else:
            outcome = f"{done.missing} of {_instances(len(found.missing))} did not come"
            done = replace(done, state=PullState.FAILED, outcome=f"{outcome}: {why}" if why else outcome)
        self._record(done, came)
        return done

    def _left(self, study_uid: str, portion: Sequence[FoundInstance]) -> set[str]:
        """What of a portion is not here once nothing more of it comes. Where nobody indexes, only once is waited."""
        left = {one.sop_instance_uid for one in portion} - self.repository.instances_here(study_uid)
        until = self.monotonic() + (_SILENT_S if self._indexing else 0)
        while left and self.monotonic() < until:
            self.sleep(_LOOK_S)
            still = left - self.repository.instances_here(study_uid)
            if len(still) < len(left):
                left, until = still, self.monotonic() + _SILENT_S
        self._indexing = len(left) < len(portion)
        return left

    def _record(self, done: PullStudy, came: int) -> None:
        log.warning("pulled", study_uid=done.study_uid, source=self.source.name, instances=came, missing=done.missing)
        outcome = Outcome.MINOR_FAILURE if done.went_wrong else Outcome.SUCCESS
        counts = {"instances": came, "missing": done.missing}
        details = {"archive": self.source.name}
        uid = done.study_uid
        self.repository.record_event(
            AuditEvent(self.by, AuditAction.PULL, uid, uid, outcome, counts=counts, details=details)
        )


def _portions(missing: Sequence[FoundInstance]) -> Iterator[Sequence[FoundInstance]]:
    by_series: dict[str, list[FoundInstance]] = {}
    for instance in missing:
        by_series.setdefault(instance.series_uid, []).append(instance)
    for instances in by_series.values():
        for first in range(0, len(instances), _AT_ONCE):
            yield instances[first : first + _AT_ONCE]


def _told(
    study: FoundStudy, series: Sequence[FoundSeries], named: int, here: int, state: PullState, outcome: str
) -> PullStudy:
    return PullStudy(
        study_uid=study.study_uid,
        study_date=study.study_date,
        accession_number=study.accession_number,
        description=study.study_description,
        modalities=tuple(sorted({one.modality for one in series} - {""})),
        named=named,
        here=here,
        state=state,
        outcome=outcome,
    )


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"
