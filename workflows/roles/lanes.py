"""Lanes: threads that do one kind of work each, one piece after the other, as the database says that it is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import structlog

from workflows.errors import DatabaseUnavailable, SettingsError, defect
from workflows.roles.liveness import BEAT_S, Liveness

__all__ = ["LOOK_S", "Lane", "run_lanes"]

log = structlog.get_logger()

LOOK_S = 2.0
"""How often an idle lane looks by itself: what a lost wake-up costs."""
LONGEST_PAUSE_S = 60.0

Due = TypeVar("Due", bound=Hashable)


class Lane(Generic[Due]):
    """Takes what is due, does it, and looks again until nothing is; then waits for a ring, `look_s` at most.

    `take`: the next piece of work, or None. `work`: does it; False says that whoever it is for cannot be reached, and
    only this lane then pauses, twice as long each time. An error ends one look, never the lane. `idle` is called while
    nothing is due.
    """

    def __init__(
        self,
        name: str,
        queue: str,
        take: Callable[[], Due | None],
        work: Callable[[Due], bool],
        *,
        idle: Callable[[], None] | None = None,
        longest_pause_s: float = LONGEST_PAUSE_S,
        look_s: float = LOOK_S,
    ) -> None:
        self.name, self.queue = name, queue
        self._take, self._work, self._idle = take, work, idle
        self._longest_pause_s, self._look_s = longest_pause_s, look_s
        self._bell, self._stop = threading.Event(), threading.Event()
        self._last: Due | None = None
        self._away = 0
        self._database_away = False
        self.thread = self._new_thread()

    def ring(self) -> None:
        """Something may be due."""
        self._bell.set()

    def start(self) -> None:
        """Start the lane's thread, or another one after it has died."""
        if self.thread.ident is not None:
            self.thread = self._new_thread()
        self.thread.start()

    def stop(self) -> None:
        """Take no more."""
        self._stop.set()
        self._bell.set()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name=self.name, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._bell.clear()  # before the look: what rings from now on is looked at again
            pause_s = self._look()
            if pause_s is None:
                self._bell.wait(self._look_s)
            elif pause_s > 0:
                self._stop.wait(pause_s)

    def _look(self) -> float | None:
        """One piece of work; seconds until the next look, None: nothing is due."""
        try:
            due = self._take()
            self._database_away = False
            if due is None or due == self._last:  # the same again: nobody could do anything with it
                self._last = None
                if self._idle is not None:
                    self._idle()
                return None
            self._last = due
            reached = self._work(due)
        except DatabaseUnavailable as error:
            if not self._database_away:
                log.error("database_unavailable", lane=self.name, reason=str(error))
            self._database_away = True
            return LOOK_S
        except SettingsError as error:  # such as a data folder that is not this node's
            log.error("cannot_work", lane=self.name, reason=str(error))
            return LOOK_S
        except Exception as error:
            log.exception("lane_failed", lane=self.name, reason=defect(error))
            return LOOK_S
        self._away = 0 if reached else min(self._away + 1, 16)
        return 0.0 if reached else min(self._longest_pause_s, 2.0**self._away)


def run_lanes(
    lanes: Sequence[Lane[Hashable]], stop: threading.Event, alive: Liveness, *, drain_s: float = 50.0
) -> None:
    """Keep the lanes at work until `stop`, and beat; then let each finish what it has in hand, `drain_s` at most."""
    for lane in lanes:
        lane.start()
    alive.beat()
    while not stop.wait(BEAT_S):
        alive.beat()
        for lane in lanes:
            if not lane.thread.is_alive():
                log.error("lane_died", lane=lane.name)
                lane.start()
    for lane in lanes:
        lane.stop()
    end = time.monotonic() + drain_s
    while working := [lane for lane in lanes if lane.thread.is_alive()]:
        if time.monotonic() > end:
            log.warning("left_unfinished", lanes=[lane.name for lane in working])
            return
        alive.beat()
        working[0].thread.join(BEAT_S)
