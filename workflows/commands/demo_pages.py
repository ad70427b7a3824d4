"""The end of the demo on a terminal: the pages over what was just read, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from workflows.bootstrap import Node
from workflows.settings import Settings
from workflows.state.people import OneTimeKind, Role
from workflows.web.exposure import EXTRA, missing_packages

__all__ = ["show_pages"]

_ACCOUNT = "demo"
_LINK_LASTS = timedelta(hours=1)
_PATIENCE_S = 60.0


def show_pages(settings: Settings, folder: Path, console: Console) -> None:
    """Start the node of an act again, with its pages, and print a link that opens the worklist; return after Ctrl-C.

    `folder`: where the act has left its medseg-node.toml. The pages listen on the loopback interface.
    """
    if missing := missing_packages():
        console.print(f"the pages need {missing}: {escape(EXTRA)}", highlight=False)
        return
    port = _free_port()
    with (folder / "pages.log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "workflows.commands.cli", "up", "--config", str(folder / "medseg-node.toml")],
            stdout=log,
            stderr=log,
            env=_environment(port),
            start_new_session=True,  # Ctrl-C is for us: we let it drain
        )
    try:
        if not _listens(port, node):
            console.print(f"the pages did not start: read {escape(str(folder / 'pages.log'))}", highlight=False)
            return
        link = f"http://127.0.0.1:{port}/link/{_token(settings)}"
        console.print(f"\n[bold]The worklist is up[/]: open {escape(link)}", highlight=False, soft_wrap=True)
        console.print("the link works once, on this machine; Ctrl-C ends the node and its pages", highlight=False)
        node.wait()
    except KeyboardInterrupt:
        console.print("\nending the node", highlight=False)
    finally:
        node.send_signal(signal.SIGTERM)
        with contextlib.suppress(KeyboardInterrupt):
            node.wait(90)


def _token(settings: Settings) -> str:
    """A link for the demo's own account, which has no password."""
    repository = Node(settings).repository
    if repository.account(_ACCOUNT) is None:
        repository.add_account(_ACCOUNT, "Demo^Reader", Role.ADMINISTRATOR)
    return repository.make_one_time(OneTimeKind.LINK, _LINK_LASTS, _ACCOUNT, {"next": "/worklist"})


def _environment(port: int) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    pages = {"MEDSEG_NODE__WEB__ENABLED": "true", "MEDSEG_NODE__WEB__PORT": str(port)}
    return {**environment, **pages, "MEDSEG_NODE__WEB__HOST": "127.0.0.1"}


def _listens(port: int, node: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _PATIENCE_S
    while node.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.1)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
