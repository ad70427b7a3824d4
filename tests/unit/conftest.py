"""Unit tests are hermetic: no service, no shared data, no program of a Debian package, no network.

What needs one of those carries the marker `service` or `shared_data`; what takes longer than about two seconds, mostly
because it loads the model or trains, carries `slow`. `make fast` runs the others. The markers of fixtures that a test
names come by themselves; a test that asks for more than its markers say fails.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

UNIT = Path(__file__).parent
CHECKOUT = UNIT.parents[1]
SERVICES = {"orthanc", "start_orthanc", "rabbitmq", "postgres"}
MODEL = [UNIT / "inference" / name for name in ("medseg_r", "medseg_qa", "training", "evaluation", "test_cli.py")]
"""The model and its data set: minutes in all, and torch takes seconds to import. `make fast` does not collect them."""


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        names = set(getattr(item, "fixturenames", ())) if item.path.is_relative_to(UNIT) else set()
        for name in sorted(names & SERVICES):
            item.add_marker(pytest.mark.service(name))
        if "shared_data" in names:
            item.add_marker("shared_data")
        if any(item.path.is_relative_to(folder) for folder in MODEL):
            item.add_marker("slow")


class Guard:
    """Refuses connections to other machines and programs of the system while a test without `service` runs."""

    def __init__(self) -> None:
        self.active = False
        self.refused: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        wanted = self._beyond(event, arguments) if self.active else ""
        if wanted:
            self.refused.append(wanted)
            raise PermissionError(f"a unit test without the marker `service` asks for {wanted}")

    @staticmethod
    def _beyond(event: str, arguments: tuple[Any, ...]) -> str:
        match event, arguments:
            case "socket.connect" | "socket.sendto", (_, (host, *_)):
                return "" if _on_this_machine(host) else f"the network ({host})"
            case "socket.getaddrinfo", (host, *_):
                return "" if _on_this_machine(host) or _needs_no_resolver(host) else f"the name of {host}"
            case "subprocess.Popen", (program, *_):
                path = Path(program.decode() if isinstance(program, bytes) else program)
                ours = path == Path(sys.executable) or path.is_relative_to(CHECKOUT)
                return "" if ours or path.name == "uname" else f"the program {path}"  # `platform` asks uname
        return ""


guard = Guard()
sys.addaudithook(guard)


def _on_this_machine(host: object) -> bool:
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return host in ("localhost", b"localhost", "", None)
    return address.is_loopback or address.is_unspecified


@pytest.hookimpl(wrapper=True)  # the whole of a test, with the fixtures that it shares with others
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    guard.refused.clear()
    guard.active = item.path.is_relative_to(UNIT) and item.get_closest_marker("service") is None
    try:
        return (yield)
    finally:
        guard.active = False


def _needs_no_resolver(host: object) -> bool:
    # RFC 6761, 6.4: names under .invalid are known to exist nowhere.
    return str(host).endswith(".invalid") or str(host).replace(".", "").isdigit()


@pytest.fixture(autouse=True)
def _hermetic(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    marked = {marker.name for marker in request.node.iter_markers()}
    names = set(request.fixturenames)
    unmarked = sorted(names & SERVICES) if "service" not in marked else []
    unmarked += ["shared_data"] if "shared_data" in names and "shared_data" not in marked else []
    assert not unmarked, f"asks for {', '.join(unmarked)} without the marker that says so"
    assert not guard.refused, f"asks for {', '.join(guard.refused)} without the marker `service`"
