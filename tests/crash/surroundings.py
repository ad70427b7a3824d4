"""Scenes in which not the node fails but what it needs: broker, database, archive, disk, clock."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.crash.node import CHECKOUT, PATIENCE_S
from tests.crash.scenes import Hospital
from tests.crash.senders import Acknowledged
from tests.services import Service, await_true, missing

__all__ = [
    "Sign",
    "all_acknowledged",
    "archive_refuses",
    "clock",
    "disk_full",
    "frozen",
    "has_logged",
    "small_disk",
    "stopped",
]

INSTANCES = 3

_SLEEP = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""`time.sleep` under libfaketime, which takes the monotonic time that CPython sleeps until for the wall clock's."""
_LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


Sign = Callable[[Hospital, Acknowledged], bool]
"""Whether the node has met the fault: until then the service stays away."""


def has_logged(event: str) -> Sign:
    """A sign: the node's log has the event once more than when this was called first."""
    before: list[int] = []

    def sign(scene: Hospital, _: Acknowledged) -> bool:
        count = scene.node.log.count(f'"event": "{event}"')
        before[:] = before or [count]
        return count > before[0]

    return sign


def all_acknowledged(_: Hospital, acknowledged: Acknowledged) -> bool:
    """A sign: instances are taken meanwhile."""
    return len(acknowledged.instances) == INSTANCES


def stopped(scene: Hospital, service: Service, name: str, sign: Sign) -> None:
    """The service is killed before a study comes and started once the node has met that."""

    def attack(acknowledged: Acknowledged) -> None:
        await_true(lambda: sign(scene, acknowledged), f"{name}: the node meets it", PATIENCE_S)
        _for_a_while(scene)
        service.start()

    sign(scene, Acknowledged())
    service.kill()
    scene.deliver(name, attack, instances=INSTANCES)


def frozen(scene: Hospital, service: Service, name: str, sign: Sign) -> None:
    """The service answers nothing, with its connections open, until the node has met that."""

    def attack(acknowledged: Acknowledged) -> None:
        await_true(lambda: sign(scene, acknowledged), f"{name}: the node meets it", PATIENCE_S)
        _for_a_while(scene)
        service.thaw()

    sign(scene, Acknowledged())
    service.freeze()
    try:
        scene.deliver(name, attack, instances=INSTANCES)
    finally:
        service.thaw()


def archive_refuses(scene: Hospital, name: str) -> None:
    """In the archive's place is one that answers "out of resources" (0xA700) to everything."""
    refused: list[str] = []

    def refuse(event: evt.Event) -> int:
        refused.append(str(event.request.AffectedSOPInstanceUID))  # type: ignore[attr-defined]
        return 0xA700

    def attack(_: Acknowledged) -> None:
        await_true(lambda: refused, "the archive refuses something", 60)
        server.shutdown()
        scene.archive.service.start()

    scene.archive.service.stop()
    entity = AE(scene.archive.ae_title)
    entity.supported_contexts = AllStoragePresentationContexts
    address = ("127.0.0.1", scene.archive.dicom_port)
    server = entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)])
    assert server is not None
    scene.deliver(name, attack)


def _for_a_while(scene: Hospital) -> None:
    """Until the node has looked at what is due some twenty times, however busy this machine is."""
    scene.node.wait_for_looks(20)


# --- The disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own in memory."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        folder.rmdir()
        missing("a tmpfs of one's own (root)", "mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def disk_full(scene: Hospital, name: str) -> None:
    """The disk of the node is full while a study comes: it is refused (0xA700), and taken once there is room.

    The study has more bytes than the segments that an acceptor of this node has zeroed beforehand: those it may fill.
    """
    ballast = scene.node.data / "ballast"

    def attack(acknowledged: Acknowledged) -> None:
        await_true(lambda: acknowledged.refused.get("0xA700"), "0xA700 is answered", 60)
        ballast.unlink()

    with ballast.open("wb") as file:
        try:
            while file.write(b"\1" * 65536):
                file.flush()
        except OSError:
            pass
    scene.deliver(name, attack, instances=40, size=512)


# --- The clock --------------------------------------------------------------------------------------------------------


def clock(folder: Path) -> tuple[dict[str, str], Callable[[str], None]]:
    """An environment whose wall clock is this machine's plus what is set, and how to set it: "+0", "+3600", "-3600"."""
    if not _LIBFAKETIME.exists():
        missing("libfaketime", "faketime")
    offset = folder / "clock"

    def set_offset(text: str) -> None:
        written = folder / "clock.new"
        written.write_text(text)
        written.rename(offset)

    set_offset("+0")
    (folder / "sitecustomize.py").write_text(_SLEEP)
    environment = {
        "PYTHONPATH": f"{folder}:{CHECKOUT}",
        "LD_PRELOAD": str(_LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",  # all see a jump at once, as they do on a real machine
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return environment, set_offset
