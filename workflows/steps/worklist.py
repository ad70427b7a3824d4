"""Keep the worklist: make the rows of studies that changed. It is a view only: without any row it is made again.

Every process that shows the worklist looks for itself. It finds what changed since its last look by when rows say that
they changed, with an overlap that bridges clocks which differ; a slow pass over all studies finds what that misses,
such as what a clock that jumped stamped. A study whose stamp is the row's is left alone, so a row is made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.study_facts import StudyFacts, read_study_facts
from workflows.data_folder import DataFolder
from workflows.errors import RowRefused
from workflows.state.records import Instance
from workflows.state.repository import Repository
from workflows.state.worklist_records import WorklistRow, WorklistSource
from workflows.steps.kept_headers import kept_header_path
from workflows.steps.worklist_row import row_of

__all__ = ["Look", "refresh"]

log = structlog.get_logger()

_OVERLAP = timedelta(seconds=30)
_AT_ONCE = 100
_A_PASS = 500
_A_LOOK = 100
"""Studies of the slow pass at each look: 10,000 take less than a minute."""
_FIRST_LOOK = timedelta(hours=12)
"""What changed so lately a process makes before all else when it starts; the slow pass comes to the rest."""


@dataclass
class Look:
    """What one process remembers between its looks. `since`: when it looked last; None: it never did.

    `stamps`: of the studies that changed lately, so that each change is told once. `open`: who had what open. `after`:
    how far the slow pass has come. `size`: how many rows there were.
    """

    since: datetime | None = None
    stamps: dict[str, str] = field(default_factory=dict)
    open: set[tuple[str, str]] = field(default_factory=set)
    after: str = ""
    size: int = -1


def refresh(repository: Repository, folder: DataFolder, look: Look | None = None) -> set[str]:
    """Make the rows that are not as they should be; returns the studies whose rows changed since the last look.

    With `look` what changed lately and the next portion of all studies; without, every study. "" among what it
    returns: a row is gone.
    """
    return _refresh_all(repository, folder) if look is None else _refresh_recent(repository, folder, look)


def _refresh_all(repository: Repository, folder: DataFolder) -> set[str]:
    changed, after = set(repository.drop_orphaned_worklist_rows()), ""
    while uids := repository.study_uids_after(after, _A_PASS):
        changed |= _make(repository, folder, repository.worklist_stamps(uids))
        after = uids[-1]
    return changed


def _refresh_recent(repository: Repository, folder: DataFolder, look: Look) -> set[str]:
    now = _now()
    last = look.since or now - _FIRST_LOOK
    since = min(last, now) - _OVERLAP  # a clock that was put back must not hide what follows
    candidates = repository.studies_changed_since(since)
    stamps = repository.worklist_stamps(candidates)
    changed = _make(repository, folder, stamps) | _refresh_portion(repository, folder, look)
    changed |= {uid for uid, (stamp, _) in stamps.items() if look.stamps.get(uid, stamp) != stamp}
    changed |= {uid for uid in stamps if uid not in look.stamps}
    changed |= repository.studies_overdue_between(last, now)
    if not look.after:
        changed |= set(repository.drop_orphaned_worklist_rows())
    opened = repository.open_studies()
    changed |= {uid for uid, _ in opened ^ look.open}
    size = repository.worklist_size()
    if size < look.size:
        changed.add("")
    look.since, look.open, look.size = now, opened, size
    look.stamps = {uid: stamp for uid, (stamp, _) in stamps.items()}
    return changed


def _refresh_portion(repository: Repository, folder: DataFolder, look: Look) -> set[str]:
    """The next step of the slow pass: a short one, so that no change waits for it."""
    portion = repository.study_uids_after(look.after, _A_LOOK)
    stamps = repository.worklist_stamps(portion)
    look.after = portion[-1] if len(portion) == _A_LOOK else ""
    return _make(repository, folder, stamps)


def _make(repository: Repository, folder: DataFolder, stamps: dict[str, tuple[str, str | None]]) -> set[str]:
    """Make the rows whose stamps are not the studies'."""
    stale = sorted(uid for uid, (stamp, kept) in stamps.items() if stamp != kept)
    for start in range(0, len(stale), _AT_ONCE):
        _make_some(repository, folder, stale[start : start + _AT_ONCE])
    return set(stale)


def _make_some(repository: Repository, folder: DataFolder, study_uids: Sequence[str]) -> None:
    sources = repository.worklist_sources(study_uids)
    rows = [row_of(source, _facts(source, folder)) for source in sources]
    try:
        repository.keep_worklist_rows(rows)
    except RowRefused:  # one of them cannot be kept: the others are
        for row in rows:
            _keep_alone(repository, row)


def _keep_alone(repository: Repository, row: WorklistRow) -> None:
    try:
        repository.keep_worklist_rows([row])
    except RowRefused as error:
        log.warning("worklist_row_refused", study_uid=row.study_uid, reason=str(error))


def _facts(source: WorklistSource, folder: DataFolder) -> StudyFacts:
    """What the study's header says: read once for each generation."""
    if source.facts is not None:
        return source.facts
    if source.first is None:
        return StudyFacts()
    try:
        return read_study_facts(_header_path(source.first, folder))
    except (UnparseableInstance, OSError) as error:
        # The row shows what the database knows; what else stands in the header is not worth a study that is missing.
        log.warning("worklist_header_unread", study_uid=source.study.study_uid, reason=type(error).__name__)
        return StudyFacts()


def _header_path(first: Instance, folder: DataFolder) -> Path:
    if first.removed_at is not None:
        return kept_header_path(first.study_uid, first.series_uid, folder)
    return folder.absolute(first.path)


def _now() -> datetime:
    return datetime.now(UTC)
