"""Fifty readers of `medseg-node web`, signed in, while instances come in by C-STORE: part of `tests.bench.worklist`."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
from pynetdicom import AE

from dicom_node.identifiers import derived_uid
from tests.bench.cstore import make_instances
from tests.bench.receivers import NODE_PROGRAM, REPOSITORY, await_answer, await_listening, free_port, running
from tests.bench.state import Filled

READERS, INSTANCES_A_SECOND = 50, 20
ACCOUNTS = 5
"""An account has a limited number of streams of events at once."""
PASSWORD = "a-long-Password-1"
Asked = tuple[dict[str, list[str]], str]


@dataclass(frozen=True)
class Read:
    """What the readers met: seconds of each answer, by what was asked for; instances a second; errors."""

    answers: dict[str, list[float]]
    instances_a_second: float
    errors: Sequence[str]


def read_along(node: Filled, seconds: float, lists: Sequence[Asked]) -> Read:
    """`lists`: filters and searches that every third reader has chosen; the others look at what is to be reviewed."""
    answers: list[tuple[str, float]] = []
    errors: list[str] = []
    sent: list[int] = []
    stop = threading.Event()
    receiver = running(node.settings.node.port, sys.executable, "-c", NODE_PROGRAM, node.configuration)
    with serving(node) as (port, cookies), receiver:
        await_answer(node.settings.node.port)
        everybody = [
            Reader(port, cookies[number % ACCOUNTS], number, lists, stop, answers, errors) for number in range(READERS)
        ]
        threads = [threading.Thread(target=reader.run, daemon=True) for reader in everybody]
        threads.append(threading.Thread(target=_send, args=(node.settings.node.port, stop, sent, errors), daemon=True))
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        rate = len(sent) / seconds
        for thread in threads:
            thread.join(30)
    by_kind = {what: [taken for kind, taken in answers if kind == what] for what in ("rows", "study")}
    return Read(by_kind, rate, errors)


@contextmanager
def serving(node: Filled) -> Iterator[tuple[int, list[str]]]:
    """`medseg-node web` on a node, and the cookies of a session of each account."""
    port = free_port()
    with node.configuration.open("a") as file:
        file.write(f"[web]\nport = {port}\n")
    command = [sys.executable, "-m", "workflows.commands.cli"]
    options = ["--config", str(node.configuration)]
    accounts = [f"reader{number}" for number in range(ACCOUNTS)]
    for account in accounts:
        adding = [*command, "users", "add", account, "--role", "reviewer", "--name", "PHANTOM^Reader", *options]
        subprocess.run(adding, input=f"{PASSWORD}\n", text=True, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen([*command, "web", *options], cwd=REPOSITORY, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as server:  # fmt: skip
        try:
            await_listening(port, server)
            yield port, [_signed_in(port, account) for account in accounts]
        finally:
            server.terminate()


def _signed_in(port: int, account: str) -> str:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=30) as client:
        csrf = client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]
        page = client.post("/login", data={"account": account, "password": PASSWORD, "csrf": csrf})
        if "data-study" not in page.text:
            raise SystemExit(f"signing in failed: {page.status_code}")
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


@dataclass
class Reader:
    """One who keeps the worklist open: is told what changes, asks for the rows, and looks at a study now and then."""

    port: int
    cookie: str
    number: int
    lists: Sequence[Asked]
    stop: threading.Event
    answers: list[tuple[str, float]]
    errors: list[str]

    def run(self) -> None:
        asked: tuple[dict[str, Any], str] = ({}, "")
        if self.number % 3 == 0:
            asked = self.lists[self.number % len(self.lists)]
        body = json.dumps({"filters": asked[0], "q": asked[1]})
        told = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            page = self._page()
            csrf = page.partition('name="csrf" content="')[2].partition('"')[0]
            first = page.partition('data-study="')[2].partition('"')[0]
            told.request("GET", "/events", headers={"Cookie": self.cookie})
            stream = told.getresponse()
            asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            rounds = self.number
            while not self.stop.is_set():
                line = stream.readline()
                if not line:
                    raise OSError("the stream of events ended")
                if line.startswith(b"event: worklist"):
                    self._ask(asking, "rows", "POST", "/worklist/rows?live=1", body, csrf)
                    rounds += 1
                    if rounds % 10 == 0:
                        self._ask(asking, "study", "GET", f"/studies/{first}")
                    self.stop.wait(0.9)  # as the page waits
        except (OSError, http.client.HTTPException) as error:
            if not self.stop.is_set():
                self.errors.append(repr(error))

    def _page(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/worklist", headers={"Cookie": self.cookie})
        return connection.getresponse().read().decode()

    def _ask(
        self, connection: http.client.HTTPConnection, what: str, method: str, path: str, body: str = "", csrf: str = ""
    ) -> None:
        headers = {"Cookie": self.cookie, "Content-Type": "application/json", "X-CSRF-Token": csrf}
        started = time.perf_counter()
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        answer.read()
        self.answers.append((what, time.perf_counter() - started))
        if answer.status != 200:
            self.errors.append(f"{path} {answer.status} {answer.reason}")


def _send(port: int, stop: threading.Event, sent: list[int], errors: list[str]) -> None:
    """Twenty CT instances of 525 kB a second, in studies of 100."""
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        (path,) = make_instances(Path(folder), 1)
        instance = pydicom.dcmread(path)
    entity = AE("BENCH")
    entity.add_requested_context(instance.SOPClassUID, instance.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    if not association.is_established:
        errors.append("C-STORE: no association")
        return
    due = time.monotonic()
    while not stop.is_set():
        number = len(sent)
        instance.StudyInstanceUID = derived_uid("bench", "readers", str(number // 100))
        instance.SeriesInstanceUID = derived_uid("bench", "readers", "series", str(number // 100))
        instance.SOPInstanceUID = derived_uid("bench", "readers", "instance", str(number))
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        status = association.send_c_store(instance)
        if status.get("Status") != 0:
            errors.append(f"C-STORE: {status.get('Status')}")
            break
        sent.append(number)
        due = max(due + 1 / INSTANCES_A_SECOND, time.monotonic() - 1)
        stop.wait(max(0.0, due - time.monotonic()))
    association.release()
