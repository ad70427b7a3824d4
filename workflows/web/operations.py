"""What an administrator wants to see at three in the morning: each thing with how it stands, why, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from shutil import disk_usage

from dicom_node.storage.backlog import backlog
from workflows.bootstrap import Node
from workflows.quarantine import Quarantine
from workflows.state.states import StudyState
from workflows.steps.room import told_of_room

__all__ = ["Sign", "Standing", "standings"]

_SILENT_S = 10.0
_OLD_S = 60.0
_EXPECTED = ("scp", "scheduler", "io", "inference")
_GB = 1e9


class Sign(Enum):
    """How a thing stands."""

    OK = "ok"
    WAIT = "warn"
    BAD = "bad"


@dataclass(frozen=True)
class Standing:
    """One thing: what it is, how it stands, and what to do where that is not well. `told`, `remedy`: sentences."""

    name: str
    sign: Sign
    told: str
    remedy: str = ""


def standings(node: Node) -> list[Standing]:
    """All of them; nothing here waits for a service."""
    return [*_roles(node.folder.run), _intake(node), _room(node), _quarantine(node), _queue(node), *_studies(node)]


def _roles(run: Path) -> Iterator[Standing]:
    """Each role beats into the time of a file; one on another machine has its own."""
    beats: dict[str, float] = {}
    for path in run.glob("*@*.alive"):
        try:
            beats[path.stem] = path.stat().st_mtime
        except OSError:  # it has just ended
            continue
    alive = {name for name, at in beats.items() if abs(time.time() - at) < _SILENT_S}
    for role in _EXPECTED:
        where = sorted(name.partition("@")[2] for name in alive if name.partition("@")[0] == role)
        known = sorted(name for name in beats if name.partition("@")[0] == role)
        if where:
            yield Standing(f"role {role}", Sign.OK, f"alive on {', '.join(where)}")
        elif known:
            last = datetime.fromtimestamp(max(beats[name] for name in known), UTC).isoformat(timespec="seconds")
            yield Standing(
                f"role {role}", Sign.BAD, f"silent since {last}", "Look at its log; `medseg-node up` replaces it."
            )
        else:
            yield Standing(f"role {role}", Sign.BAD, "does not run", "Start `medseg-node up`, or this role's service.")


def _intake(node: Node) -> Standing:
    try:
        waits = backlog(node.folder.intake)
    except OSError as error:
        return Standing("intake", Sign.BAD, f"cannot be read: {error.strerror}", "Look whether data_dir is mounted.")
    if not waits.count:
        return Standing("intake", Sign.OK, "all that was received is indexed")
    age = 0.0 if waits.oldest is None else (datetime.now(UTC) - waits.oldest).total_seconds()
    told = f"{waits.count} instances wait to be indexed, the oldest for {age:.0f} s"
    if age < _OLD_S:
        return Standing("intake", Sign.OK, told)
    remedy = "Look at the scp role's log: the database or the disk is slow or away. Nothing is lost."
    return Standing("intake", Sign.BAD, told, remedy)


def _room(node: Node) -> Standing:
    told, refused = told_of_room(node.folder)
    if told:
        remedy = "Purge old studies, shorten [retention], or raise budget_gb."
        return Standing("room", Sign.BAD if refused else Sign.WAIT, told, remedy)
    try:
        free = disk_usage(node.folder.root).free
    except OSError as error:
        return Standing("room", Sign.BAD, f"cannot be read: {error.strerror}", "Look whether data_dir is mounted.")
    short = free < 2 * node.settings.node.minimum_free_mb * 1024 * 1024
    remedy = "Below [node] minimum_free_mb no instance is taken: make room on this disk." if short else ""
    return Standing("room", Sign.WAIT if short else Sign.OK, f"{free / _GB:.1f} GB are free", remedy)


def _quarantine(node: Node) -> Standing:
    count = len(Quarantine(node.folder.quarantine))
    if not count:
        return Standing("quarantine", Sign.OK, "empty")
    told = f"{count} received and not indexed"
    return Standing("quarantine", Sign.WAIT, told, "Each says why, below: release it once that is mended.")


def _queue(node: Node) -> Standing:
    counts = node.repository.backlog_counts()
    told = (
        f"jobs that wait: {counts['planned']}, being read: {counts['reading']}, questions: {counts['questions']}; "
        f"results to send: {counts['sending']}, to take back: {counts['retracting']}"
    )
    return Standing("queue", Sign.OK, told)


_REMEDIES = {
    StudyState.FAILED: "Mend the cause that each names, then requeue them.",
    StudyState.UNMATCHED: "No protocol asks them. Change the protocols, then read them again.",
    StudyState.HELD: "Send the corrected images, or read them as they are where each series is right.",
}


def _studies(node: Node) -> Iterator[Standing]:
    counts = node.repository.count_states()
    for state, remedy in _REMEDIES.items():
        count = counts.get(state, 0)
        calm = not count or state is StudyState.UNMATCHED
        yield Standing(
            f"studies {state.value}", Sign.OK if calm else Sign.WAIT, str(count) if count else "none",
            remedy if count else "",
        )  # fmt: skip
