"""Answering: the inference role's one lane. It watches the predicting child from outside and replaces it.

A child that dies, hangs or takes too much is ended, its job says why, and another child takes its place.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack

import structlog

from workflows.bootstrap import Node
from workflows.errors import DatabaseUnavailable
from workflows.roles.child import Child, ChildEnded
from workflows.roles.predicting import Claimed, Done, Ready, Wake
from workflows.settings import Settings
from workflows.state.records import Trouble, TroubleKind
from workflows.state.waker import Waker
from workflows.steps.lease import kept
from workflows.steps.predict import Inference

__all__ = ["Answering"]

log = structlog.get_logger()

_POLL_S = 0.2
_STANDS_STILL_S = 10.0
_LONGEST_PAUSE_S = 14.0
_MOMENT_S = 5.0
"""How long a child may go on with a job that is not held any more: it may just be saving it."""
_GB = 1e9


class Answering:
    """Has a child answer jobs, one at a time. Everything here runs in one thread, but for `drain`.

    `child`: starts one, from settings, owner and environment.
    """

    def __init__(
        self,
        node: Node,
        waker: Waker,
        *,
        child: Callable[[Settings, str, Mapping[str, str]], Child] = Child,
        drain_s: float = 45.0,
    ) -> None:
        self._node, self._waker, self._start_child, self._drain_s = node, waker, child, drain_s
        self._limits = node.settings.limits
        self._drain = threading.Event()
        self._child: Child | None = None
        self._ready = False
        self._deaths = 0  # in a row, before it was ready
        self._not_before = 0.0
        self._stood_since: float | None = None
        self._environment = dict(os.environ)

    def drain(self) -> None:
        """From another thread: what is being answered may be finished, within `drain_s`; then it is given back."""
        self._drain.set()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    # --- The child ----------------------------------------------------------------------------------------------------

    def keep_a_child(self) -> None:
        """Start a child where there is none, and replace one that has died or stands still; costs no waiting."""
        child = self._child
        if child is None:
            if time.monotonic() >= self._not_before and not self._drain.is_set():
                self._start()
            return
        try:
            if not self._ready and isinstance(child.receive(0), Ready):
                self._is_ready(child)
            if child.ended:
                raise ChildEnded(child.kill())
            if self._stands_still(child):
                child.kill()
                raise ChildEnded(f"it stood still for {_STANDS_STILL_S:g} s")
        except ChildEnded as ended:
            self._has_ended(str(ended))

    def _start(self) -> None:
        self._child, self._ready, self._stood_since = None, False, None
        self._child = self._start_child(self._node.settings, self._node.owner, self._environment)
        log.info("predicting_started", pid=self._child.pid)

    def _is_ready(self, child: Child) -> None:
        self._ready, self._deaths = True, 0
        log.info("predicting_ready", pid=child.pid)

    def _has_ended(self, how: str) -> float:
        """The child is gone: start another at once, or after a pause if it keeps dying at its start; the pause."""
        child, was_ready = self._child, self._ready
        self._child = None
        if child is not None:
            child.kill()
        self._deaths = 0 if was_ready else self._deaths + 1
        pause_s = 0.0 if was_ready else min(_LONGEST_PAUSE_S, 2.0 ** (self._deaths - 1))
        log.error("predicting_died", how=how, ready=was_ready, restart_in_s=pause_s)
        self._not_before = time.monotonic() + pause_s
        if not pause_s and not self._drain.is_set():
            self._start()
        return pause_s

    def _stands_still(self, child: Child) -> bool:
        if not child.stands_still:
            self._stood_since = None
        elif self._stood_since is None:
            self._stood_since = time.monotonic()
        return self._stood_since is not None and time.monotonic() - self._stood_since > _STANDS_STILL_S

    def _await_ready(self) -> Child | None:
        """A child that can take a job; None: there is none for now. Loading weights may take long, as a job may."""
        end = time.monotonic() + self._limits.job_s
        while not self._drain.is_set():
            self.keep_a_child()
            if self._child is None:
                return None
            if self._ready:
                return self._child
            if time.monotonic() > end:
                self._child.kill()
                self._has_ended(f"the model was not loaded within {self._limits.job_s:g} s ([limits] job_s)")
                return None
            self._drain.wait(_POLL_S)
        return None

    # --- A job --------------------------------------------------------------------------------------------------------

    def answer(self, job_key: str) -> bool:
        """Have a job answered. False: there is no child that could, and the job says why it waits."""
        child = self._await_ready()
        if child is None:
            if not self._drain.is_set():
                told = f"the predicting process died {self._deaths} times at its start; the log of the worker says why"
                self._node.repository.hold_job(job_key, told, _LONGEST_PAUSE_S)
            return self._drain.is_set()
        watch = _Watch(job_key, child, self)
        try:
            child.predict(job_key)
            watch.until_done()
        except ChildEnded as ended:
            self._has_ended(str(ended))
            watch.settle(Trouble(TroubleKind.WORKER_DIED, f"the predicting process died: {ended}"))
        for wake in watch.wakes:
            self._waker.publish(wake.job_key, wake.archive)
        return True


class _Watch:
    """One job in a child's hands."""

    def __init__(self, job_key: str, child: Child, answering: Answering) -> None:
        self._key, self._child, self._answering = job_key, child, answering
        self._repository = answering._node.repository
        self._inference: Inference = answering._node.inference()
        self._limits = answering._limits
        self._end = time.monotonic() + self._limits.job_s
        self._claimed = False
        self._lost: threading.Event | None = None
        self._not_held_since: float | None = None
        self._drained_since: float | None = None
        self.wakes: list[Wake] = []

    def until_done(self) -> None:
        """Listen to the child until the job is done, or must be stopped. Raises ChildEnded for one that died."""
        with ExitStack() as stack:
            while True:
                message = self._child.receive(_POLL_S)
                match message:
                    case Claimed():
                        self._claimed, self._end = True, time.monotonic() + self._limits.job_s
                        self._lost = stack.enter_context(self._kept_lease())
                    case Wake():
                        self.wakes.append(message)
                    case Done():
                        if message.unfinished and self._claimed:
                            self._give_back(message.unfinished)
                        return
                    case _ if message is None and self._must_stop():
                        return
                    case _:
                        pass

    def _kept_lease(self) -> AbstractContextManager[threading.Event]:
        inference = self._inference
        extend = lambda: self._repository.extend_lease(self._key, inference.owner, inference.lease_s)  # noqa: E731
        return kept(extend, min(inference.heartbeat_s, _MOMENT_S), job_key=self._key)

    def _must_stop(self) -> bool:
        """End the child where the job may not go on; True: it has been ended, and the job says why."""
        now, limits = time.monotonic(), self._limits
        if now > self._end:
            return self._stop(TroubleKind.DEADLINE, f"not answered within {limits.job_s:g} s ([limits] job_s)")
        held = self._child.memory_bytes
        if self._claimed and 0 < limits.job_memory_gb * _GB < held:
            told = f"took {held / _GB:.1f} GB of memory, {limits.job_memory_gb:g} are allowed ([limits] job_memory_gb)"
            return self._stop(TroubleKind.MEMORY, told)
        if self._answering._stands_still(self._child):
            return self._stop(TroubleKind.WORKER_DIED, f"the predicting process stood still for {_STANDS_STILL_S:g} s")
        if self._lost is not None and self._lost.is_set():
            self._not_held_since = self._not_held_since or now
            if now - self._not_held_since > _MOMENT_S:
                log.warning(
                    "job_stopped", job_key=self._key, reason="replaced, cancelled, or taken up by another worker"
                )
                self._end_child("its job is not held any more")
                return True
        if self._answering._drain.is_set():
            self._drained_since = self._drained_since or now
            if now - self._drained_since > self._answering._drain_s:
                self._end_child("the worker is stopped")
                self._give_back("the worker that answered it was stopped")
                return True
        return False

    def _stop(self, kind: TroubleKind, told: str) -> bool:
        log.warning("job_stopped", job_key=self._key, reason=told)
        self._end_child(told)
        self.settle(Trouble(kind, told))
        return True

    def _end_child(self, why: str) -> None:
        self._child.kill()
        self._answering._has_ended(why)

    def settle(self, trouble: Trouble) -> None:
        """The job's attempt came to nothing; one that was not even claimed waits."""
        inference = self._inference
        if not self._claimed:
            self._told(lambda: self._repository.hold_job(self._key, trouble.reason, self._wait_s()))
            return
        log.warning("job_not_answered", job_key=self._key, reason=trouble.reason)
        note = lambda: self._repository.record_trouble(  # noqa: E731
            self._key, inference.owner, trouble, inference.maximum_attempts, self._wait_s()
        )
        self._told(note)

    def _wait_s(self) -> float:
        return self._inference.wait_s(self._repository.job(self._key))

    def _give_back(self, reason: str) -> None:
        self._told(lambda: self._repository.give_back(self._key, self._inference.owner, reason, 0.0))

    def _told(self, tell: Callable[[], None]) -> None:
        """Tell the database; one that is away is tried until the lease has run out, which says the same."""
        end = time.monotonic() + self._inference.lease_s
        while True:
            try:
                tell()
                return
            except DatabaseUnavailable as error:
                if time.monotonic() > end or self._answering._drain.wait(1.0):
                    log.error("database_unavailable", reason=str(error))
                    return
