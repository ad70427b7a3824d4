"""Served models: in this process where nothing is to die, in a child where something is."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn

from inference.conformance.phantom import Sample, abdomen
from inference.serve.app import Served, create_app

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[3]


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of doubles, which can be named `doubles:Class`, too."""
    monkeypatch.syspath_prepend(str(HERE))
    import doubles

    return doubles


@pytest.fixture(scope="session")
def sample() -> Sample:
    return abdomen()


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    """`serving(model, token=...)` serves it in this process and returns its address."""
    with contextlib.ExitStack() as stack:

        def start(model: Any, certificate: Path | None = None, key: Path | None = None, **how: Any) -> str:
            tls = {} if certificate is None else {"ssl_certfile": certificate, "ssl_keyfile": key}
            config = uvicorn.Config(
                create_app(Served(model, **how)), port=0, log_config=None, access_log=False, lifespan="off", **tls
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(20)

            stack.callback(stop)
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            return f"{'https' if certificate else 'http'}://127.0.0.1:{port}"

        yield start


@pytest.fixture
def serving_child() -> Iterator[Callable[..., tuple[str, subprocess.Popen[str]]]]:
    """`serving_child("doubles:Class")` runs `medseg-r serve` and returns its address and process."""
    children: list[subprocess.Popen[str]] = []

    def start(name: str, port: int = 0) -> tuple[str, subprocess.Popen[str]]:
        command = [sys.executable, "-m", "inference.cli", "serve", "--checkpoint", name, "--port", str(port)]
        environment = os.environ | {"PYTHONPATH": f"{CHECKOUT}:{HERE}", "NO_COLOR": "1"}
        child = subprocess.Popen(command, env=environment, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stderr is not None
        said = ""
        for line in child.stderr:
            said += line
            if found := re.search(r"model_served.*\bport=(\d+)", re.sub(r"\x1b\[[\d;]*m", "", line)):
                return f"http://127.0.0.1:{found[1]}", child
        raise AssertionError(f"it did not start: {said}")

    yield start
    for child in children:
        child.kill()
        child.communicate()
