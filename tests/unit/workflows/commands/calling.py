"""`medseg-node` as a person calls it, in this process: one of its own takes four seconds to import the node."""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from unittest import mock

from workflows.commands.cli import main

__all__ = ["Done", "called"]

PREFIX = "MEDSEG_NODE__"


@dataclass(frozen=True)
class Done:
    """How a call ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def called(*words: str, typed: str = "", settings: dict[str, str] | None = None) -> Done:
    """What `medseg-node WORDS` does in a process of its own: its exit code and its streams, `typed` on standard input.

    `settings`: values by SECTION__KEY, and no other of the environment. Signals and the environment stay as they were.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    given = {f"{PREFIX}{name}": value for name, value in (settings or {}).items()}
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with (
            mock.patch.dict(os.environ, own | given, clear=True),
            mock.patch.object(sys, "argv", ["medseg-node", *words]),
            mock.patch.object(sys, "stdin", io.StringIO(typed)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = contextvars.copy_context().run(_ended)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())


def _ended() -> int:
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):  # as Python does with a text
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0
