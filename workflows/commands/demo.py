"""Demo: a whole node on its embedded default, a real study in over C-STORE, results back in an archive."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dicom_node.commissioning.marker import Marker, burn_in_marker
from dicom_node.errors import PeerError
from dicom_node.headers.instance import read_identifiers
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, echo, send
from dicom_node.results.stored_segmentation import read_segment_points
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.whole import WholeInstances
from workflows.bootstrap import Node
from workflows.commands.ask import series_in
from workflows.commands.demo_images import DemoImages, demo_images, marker_images
from workflows.commands.demo_pages import show_pages
from workflows.commands.reporting import overlay_of, status_of_all
from workflows.commands.telling import size_of
from workflows.errors import CallError, WorkflowError
from workflows.settings import CHECKOUT, COMMISSIONING, Settings
from workflows.state.answers import FindingRecord

__all__ = ["run"]

PATIENCE_S = 900.0
_STAGES = ("RECEIVING", "COMPLETE", "PLANNED", "PREDICTING", "DELIVERING")  # any other state is an end

_ABOUT_MARKER = """Real images with a bright box burnt in at known patient coordinates, read by the predictor that \
marks whatever is bright: its SEG must come back where the box is."""


@dataclass(frozen=True)
class _Act:
    title: str
    about: str
    folder: Path
    checkpoint: str
    files: list[Path]
    own_study: bool
    marked: bool


def run(settings: Settings, study: Path | None, archive: str | None, console: Console) -> bool:
    """Play both acts: the model's, then the commissioning predictor's with a burnt-in marker. True if all came back."""
    root = settings.node.data_dir.resolve() / "demo" / time.strftime("%Y%m%d-%H%M%S")
    own = study is not None
    images = _own_images(study) if study is not None else demo_images(root / "ct")
    files = list(images.files)
    marked, markers = burn_in_marker(files if own else marker_images(), root / "marked")
    acts = [_Act("MedSeg-R", images.about, root / "model", settings.model.checkpoint, files, own, False)]
    if marked:
        acts.append(_Act("commissioning", _ABOUT_MARKER, root / "commissioning", COMMISSIONING, marked, own, True))
    peer, received, receiver = _archive(archive, root)
    good = True
    for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed ends the node too
        signal.signal(number, _end)
    if images.missing:
        console.print(f"[yellow]{escape(images.missing)}[/]", highlight=False, soft_wrap=True)
    try:
        for act in acts:
            console.rule(act.title)
            if act.about:
                console.print(act.about, "", sep="\n", soft_wrap=False, highlight=False)
            studies = _play(act, settings, peer, console)
            _show(_as_sent(studies, act.files), console)
            good &= _came_back(studies, received, console)
            if act.marked:
                good &= _marker_came_back(studies, markers, console)
        _conclude(good, marked=bool(marked), root=root, console=console)
        if console.is_terminal and sys.stdin.isatty():
            show_pages(_of(acts[0], settings), acts[0].folder, console)
    finally:
        if receiver is not None:
            receiver.stop()
    return good


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _conclude(good: bool, *, marked: bool, root: Path, console: Console) -> None:
    if not marked:
        console.print("[yellow]no single-frame image with a position in this study: no marker could be burnt in[/]")
    verdict = "[bold green]all came back[/]" if good else "[bold red]something is missing: see above[/]"
    console.print(f"{verdict}; everything lies in {escape(str(root))}", highlight=False)
    look = f"MEDSEG_NODE__NODE__DATA_DIR={root / 'model' / 'data'} medseg-node status"
    console.print(f"look at it again: {escape(look)}", highlight=False, soft_wrap=True)


def _own_images(study: Path) -> DemoImages:
    files = [file for series in series_in(study).values() for file in series]
    if not files:
        raise CallError(f"{study} holds no DICOM files")
    return DemoImages(tuple(files), "")


def _protocols(act: _Act, settings: Settings, own_study: bool) -> Path:
    """The configured protocols; for the demo's images the demo's own are added."""
    if own_study:
        return settings.protocols.directory
    folder = act.folder / "protocols"
    folder.mkdir(parents=True)
    for file in (*settings.protocols.directory.glob("*.yaml"), *(CHECKOUT / "deploy" / "demo").glob("*.yaml")):
        shutil.copy(file, folder)
    return folder


def _archive(wanted: str | None, root: Path) -> tuple[Peer, set[str] | None, StorageSCP | None]:
    """The archive that was named, or a small receiving SCP and the SOP Instance UIDs that it got."""
    if wanted is not None:
        found = re.fullmatch(r"([^@]{1,16})@([^:]+):(\d+)", wanted)
        if found is None:
            raise CallError(f"--archive {wanted!r} is not AE@host:port")
        return Peer(found[1], found[2], int(found[3])), None, None
    received: set[str] = set()
    store = InstanceStore(root / "archive", minimum_free_bytes=0)

    def keep(instance: ReceivedInstance) -> None:
        store.write(store.inspect(instance))
        received.add(instance.sop_instance_uid)

    receiver = StorageSCP(
        StorageSCPSettings(ae_title="DEMOARCHIVE", port=0, allowed_calling_ae=("MEDSEG",)), WholeInstances(keep)
    )
    receiver.start()
    return Peer("DEMOARCHIVE", "127.0.0.1", receiver.port), received, receiver


def _play(act: _Act, settings: Settings, archive: Peer, console: Console) -> list[dict[str, Any]]:
    act.folder.mkdir(parents=True, mode=0o700)
    config = act.folder / "medseg-node.toml"
    port = _free_port()
    config.write_text(_configuration(act, settings, archive, port), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDSEG_NODE__")}
    with (act.folder / "node.log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "workflows.commands.cli", "up", "--config", str(config)],
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        return _follow(act, node, Peer("MEDSEG", "127.0.0.1", port), settings, console)
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(90)


def _follow(
    act: _Act, node: subprocess.Popen[bytes], peer: Peer, settings: Settings, console: Console
) -> list[dict[str, Any]]:
    """Wait for the node, send it the files, and watch its database until every study has ended."""
    end = time.monotonic() + PATIENCE_S

    def still_going() -> None:
        if node.poll() is not None:
            raise WorkflowError(f"the node stopped: read {act.folder / 'node.log'}")
        if time.monotonic() > end:
            raise WorkflowError(f"the node was not done after {PATIENCE_S:.0f} s: read {act.folder / 'node.log'}")

    with _display(console) as tell:
        tell(0.0, "starting the node")
        while not _answers(peer):
            still_going()
            time.sleep(0.2)
        tell(0.1, f"sending {len(act.files)} instances by C-STORE")
        refused = [outcome for outcome in send(act.files, peer, "DEMO") if not outcome.ok]
        if refused:
            raise WorkflowError(f"the node refused {len(refused)} instances: {refused[0].told}")
        node_to_read = Node(_of(act, settings))
        while True:
            studies = status_of_all(node_to_read.repository, node_to_read.folder)
            ended, what = _progress_of(studies)
            tell(0.2 + 0.8 * ended, what)
            if studies and all(study["state"] not in _STAGES for study in studies):
                return studies
            still_going()
            time.sleep(0.3)


def _progress_of(studies: list[dict[str, Any]]) -> tuple[float, str]:
    """How far all studies are, from 0 to 1, and where they stand in words."""
    reached = [_STAGES.index(study["state"]) if study["state"] in _STAGES else len(_STAGES) for study in studies]
    states = sorted({study["state"].lower() for study in studies})
    jobs = [job for study in studies for job in study["jobs"]]
    answered = sum(job["answer"] is not None for job in jobs)
    questions = f"; {answered} of {len(jobs)} questions answered" if jobs else ""
    share = sum(reached) / (len(_STAGES) * len(studies)) if studies else 0.0
    return share, f"{len(studies)} {'study' if len(studies) == 1 else 'studies'}: {', '.join(states)}{questions}"


@contextmanager
def _display(console: Console) -> Iterator[Callable[[float, str], None]]:
    """Yields `tell(share, what)`: a bar on a terminal, elsewhere a line whenever `what` changes."""
    if not console.is_terminal:
        said: list[str] = []

        def tell_in_lines(_share: float, what: str) -> None:
            if what not in said[-1:]:
                said.append(what)
                console.print(f"... {what}", markup=False, highlight=False)

        yield tell_in_lines
        return
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share, what: progress.update(task, completed=share, description=what)


def _of(act: _Act, settings: Settings) -> Settings:
    return Settings.model_validate({"node": {"data_dir": act.folder / "data"}, "model": {"checkpoint": act.checkpoint}})


def _configuration(act: _Act, settings: Settings, archive: Peer, port: int) -> str:
    def quoted(value: object) -> str:
        return json.dumps(str(value))

    return f"""[node]
port = {port}
allowed_calling_ae = ["DEMO"]
data_dir = {quoted(act.folder / "data")}
quiet_period_s = 2
minimum_free_mb = {settings.node.minimum_free_mb}
log_format = "json"
[[archives]]
name = "demo"
ae_title = {quoted(archive.ae_title)}
host = {quoted(archive.host)}
port = {archive.port}
[results]
profile = {quoted(settings.results.profile.value)}
[protocols]
directory = {quoted(_protocols(act, settings, act.own_study))}
[model]
checkpoint = {quoted(act.checkpoint)}
device = {quoted(settings.model.device)}
accept_research_use = {str(settings.model.accept_research_use).lower()}
accept_uncalibrated = {str(settings.model.accept_uncalibrated).lower()}
[web]
enabled = false
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(peer: Peer) -> bool:
    try:
        echo(peer, "DEMO")
    except PeerError:
        return False
    return True


def _as_sent(studies: list[dict[str, Any]], files: list[Path]) -> list[dict[str, Any]]:
    """The studies in the order in which their first instances were sent."""
    order = list(dict.fromkeys(read_identifiers(file).study_uid for file in files))
    return sorted(studies, key=lambda study: order.index(study["study_uid"]))


def _show(studies: list[dict[str, Any]], console: Console) -> None:
    for study in studies:
        lines = ["", f"study     {study['study_uid']}", f"state     {study['state']}"]
        lines.append(f"protocol  {study['protocol'] or 'none'}")
        lines += [] if study["protocol"] else [f"reason    {reason}" for reason in study["reason"].split("; ")]
        for series_uid in dict.fromkeys(job["series_uid"] for job in study["jobs"]):
            lines += _lines_of_series([job for job in study["jobs"] if job["series_uid"] == series_uid])
        console.print(*lines, sep="\n", soft_wrap=True, highlight=False, markup=False)
    console.print()


def _lines_of_series(jobs: list[dict[str, Any]]) -> list[str]:
    """A series' questions with their answers, then the objects that hold them all."""
    lines = ["", f"series    {jobs[0]['series_uid']}"]
    for job in jobs:
        lines += [f"question  {job['question']}", f"answer    {job['answer'] or job['reason']}"]
        lines += [f"measured  {size_of(FindingRecord.from_json(finding))}" for finding in job["findings"]]
    objects = {result["path"]: result["kind"] for job in jobs for result in job["results"]}
    lines += [f"{kind:<9} {path}" for path, kind in objects.items()]
    lines += [f"overlay   {overlay_of(result)}" for job in jobs[:1] for result in job["results"][:1]]
    return lines + [f"terms     {terms.upper()}" for terms in sorted({job["terms"] for job in jobs if job["terms"]})]


def _came_back(studies: list[dict[str, Any]], received: set[str] | None, console: Console) -> bool:
    """Whether every job ended and every result, and a SEG for whatever was seen, is in the archive."""
    good = True
    jobs = [job for study in studies for job in study["jobs"]]
    for job in jobs:
        if job["state"] == "FAILED" and not job["results"]:
            continue  # a series that is no volume ends with its reason, which is shown
        sent = {result["kind"] for result in job["results"] if result["state"] == "DELIVERED"}
        lost = [one for one in job["results"] if received is not None and one["sop_instance_uid"] not in received]
        wanted = {"SR", "SEG"} if job["findings"] else {"SR"}
        if lost or not wanted <= sent:
            missing = ", ".join(sorted(wanted - sent | {one["kind"] for one in lost}))
            console.print(f"[red]{missing} did not come back[/]: {escape(job['question'])} {escape(job['reason'])}")
            good = False
    if not jobs:
        console.print("[yellow]no protocol asked anything of this study: its reasons stand above[/]")
    kinds = [kind for _, kind in {(one["path"], one["kind"]) for job in jobs for one in job["results"]}]
    if good and jobs:
        where = "the archive" if received is None else "the demo's own archive"
        console.print(f"{kinds.count('SEG')} SEG and {kinds.count('SR')} SR came back to {where} by C-STORE")
    return good


def _marker_came_back(studies: list[dict[str, Any]], markers: dict[str, Marker], console: Console) -> bool:
    """Whether the marked voxels of every SEG lie where the marker was burnt in, within a voxel."""
    paths = {
        one["path"] for study in studies for job in study["jobs"] for one in job["results"] if one["kind"] == "SEG"
    }
    good, seen = True, 0
    for path in sorted(paths):
        series_uid, points = read_segment_points(Path(path))
        if series_uid not in markers:
            continue
        seen += 1
        marker = markers[series_uid]
        low, high = points.min(axis=0), points.max(axis=0)
        if (np.abs(low - marker.low) <= marker.voxel).all() and (np.abs(high - marker.high) <= marker.voxel).all():
            console.print(f"[green]the marker came back where it is[/]: {_corners(low, high)}", highlight=False)
        else:
            burnt_in = _corners(marker.low, marker.high)
            console.print(f"[red]the marker came back at[/] {_corners(low, high)}, not {burnt_in}", highlight=False)
            good = False
    if not seen:
        console.print("[red]no SEG of a marked series came back[/]")
    return good and seen > 0


def _corners(low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """Two corners of a box, mm LPS."""
    return " to ".join("(" + ", ".join(f"{value:.1f}" for value in corner) + ")" for corner in (low, high)) + " mm"
