"""Replaying a history: a node's own studies through rules, in several processes where there are many; only read.

The history is cut into stretches of time. Each process has its own connection and asks for the studies of a stretch, so
that neither holds more than some hundred of them, whatever else the node does meanwhile.
"""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

from workflows.data_folder import DataFolder
from workflows.protocols.conditions import Pattern
from workflows.protocols.costing import Cost, cost_of
from workflows.protocols.replaying import Difference, KnownStudy, difference, joined_differences
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.summing import Summary, joined_summaries, summary
from workflows.state.engine import open_existing_engine
from workflows.state.repository import Repository
from workflows.steps.kept_headers import history

__all__ = ["NodeHistory", "Progress", "cost_here", "difference_over", "summary_over"]

Progress = Callable[[int, int], None]
"""Is told how many studies are done, and of how many."""
_STRETCH = 500
_FEW = 2_000
"""Studies up to which another process would cost more than it saves."""

copyreg.pickle(Pattern, lambda pattern: (Pattern, (pattern.expression,)))  # what RE2 has compiled stays here


@dataclass(frozen=True)
class NodeHistory:
    """The studies that a node planned, received from `since` on and before `until`; None: not bounded."""

    database_url: str
    data_dir: Path
    since: datetime | None = None
    until: datetime | None = None

    def studies(self, repository: Repository) -> Iterator[KnownStudy]:
        """One by one, the newest first."""
        return history(repository, DataFolder(self.data_dir), self.since, self.until)


@dataclass(frozen=True)
class _Rules:
    """What each process replays with. `after`: None for a summary."""

    before: tuple[ReadingProtocol, ...]
    after: tuple[ReadingProtocol, ...] | None
    at_most: int | None
    cost: Cost | None

    def over(self, studies: Iterator[KnownStudy]) -> Summary | Difference:
        """What the rules make of the studies."""
        if self.after is None:
            return summary(studies, self.before, self.at_most, self.cost)
        return difference(studies, self.before, self.after, self.at_most, self.cost)


def cost_here(repository: Repository) -> Cost:
    """What the node's own jobs took."""
    return cost_of(repository.measured_answers())


def summary_over(
    found: NodeHistory,
    protocols: Sequence[ReadingProtocol],
    at_most: int | None = None,
    cost: Cost | None = None,
    *,
    progress: Progress = lambda _done, _of: None,
    processes: int | None = None,
) -> Summary:
    """What one set of protocols makes of a node's history. `processes`: None: as many as help."""
    parts = _parts(found, _Rules(tuple(protocols), None, at_most, cost), progress, processes)
    return joined_summaries([one for one in parts if isinstance(one, Summary)])


def difference_over(
    found: NodeHistory,
    before: Sequence[ReadingProtocol],
    after: Sequence[ReadingProtocol],
    at_most: int | None = None,
    cost: Cost | None = None,
    *,
    progress: Progress = lambda _done, _of: None,
    processes: int | None = None,
) -> Difference:
    """What `after` asks otherwise than `before` over a node's history. `processes`: None: as many as help."""
    parts = _parts(found, _Rules(tuple(before), tuple(after), at_most, cost), progress, processes)
    return joined_differences([one for one in parts if isinstance(one, Difference)])


def _parts(found: NodeHistory, rules: _Rules, progress: Progress, processes: int | None) -> list[Summary | Difference]:
    repository = Repository(open_existing_engine(found.database_url))
    times = repository.times_of_receipt(found.since, found.until)
    many = processes or (1 if len(times) <= _FEW else min(4, len(os.sched_getaffinity(0))))
    stretches = _stretches(found, times)
    try:
        if many == 1:
            return list(_counted(map(partial(_over, repository, rules), stretches), progress, len(times)))
        with ProcessPoolExecutor(many, get_context("spawn"), _begin, (found.database_url, rules)) as pool:
            return list(_counted(pool.map(_in_process, stretches), progress, len(times)))
    finally:
        repository.close()


def _counted(parts: Iterable[Summary | Difference], progress: Progress, of: int) -> Iterator[Summary | Difference]:
    done = 0
    for part in parts:
        done += part.studies
        progress(done, max(of, done))
        yield part


def _stretches(found: NodeHistory, times: Sequence[datetime]) -> list[NodeHistory]:
    """The history cut into stretches of some hundred studies each, the first one last; at least one."""
    cuts = sorted(set(times[_STRETCH::_STRETCH]))
    bounds = [found.since, *cuts, found.until]
    return [NodeHistory(found.database_url, found.data_dir, since, until) for since, until in pairwise(bounds)][::-1]


def _over(repository: Repository, rules: _Rules, stretch: NodeHistory) -> Summary | Difference:
    return rules.over(stretch.studies(repository))


_own: tuple[Repository, _Rules] | None = None  # of a process of the pool


def _begin(database_url: str, rules: _Rules) -> None:
    global _own
    _own = Repository(open_existing_engine(database_url)), rules


def _in_process(stretch: NodeHistory) -> Summary | Difference:
    assert _own is not None
    return _over(*_own, stretch)
