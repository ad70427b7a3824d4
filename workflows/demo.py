"""Demo: a whole node on its embedded default, a real study in over C-STORE, results back in an archive."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dicom_node.errors import PeerError
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, echo, send
from dicom_node.results.gate import read_segment_points
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.volumes.marker import Marker, burn_in_marker
from workflows.ask import series_in
from workflows.bootstrap import COMMISSIONING, Node
from workflows.errors import WorkflowError
from workflows.reporting import status_of_all
from workflows.settings import CHECKOUT, Settings

__all__ = ["run"]

ENDED = {"DELIVERED", "UNMATCHED", "FAILED"}
PATIENCE_S = 900.0


@dataclass(frozen=True)
class _Act:
    title: str
    folder: Path
    checkpoint: str
    files: list[Path]
    own_study: bool
    marked: bool


def run(settings: Settings, study: Path | None, archive: str | None, console: Console) -> bool:
    """Play both acts: the model's, then the commissioning predictor's with a burnt-in marker. True if all came back."""
    root = settings.node.data_dir.resolve() / "demo" / time.strftime("%Y%m%d-%H%M%S")
    files = _files(study)
    marked, markers = burn_in_marker(files, root / "marked")
    acts = (
        _Act("MedSeg-R", root / "model", settings.model.checkpoint, files, study is not None, False),
        _Act("commissioning", root / "commissioning", COMMISSIONING, marked, study is not None, True),
    )
    peer, received, receiver = _archive(archive, root)
    good = True
    try:
        for act in acts:
            console.rule(act.title)
            studies = _play(act, settings, peer, console)
            _show(studies, console)
            good &= _came_back(studies, received, console)
            if act.marked:
                good &= _marker_came_back(studies, markers, console)
    finally:
        if receiver is not None:
            receiver.stop()
    console.print(
        f"[bold {'green]all came back' if good else 'red]something is missing: see above'}[/]; files in {root}"
    )
    return good


def _files(study: Path | None) -> list[Path]:
    """The study's files; by default real images that pydicom installs with itself."""
    if study is not None:
        files = [file for series in series_in(study).values() for file in series]
        if not files:
            raise WorkflowError(f"{study} holds no DICOM files")
        return files
    spec = importlib.util.find_spec("pydicom")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "data" / "test_files"
    return [folder / "CT_small.dcm", *sorted((folder / "dicomdirtests" / "98892001" / "CT5N").iterdir())]


def _protocols(act: _Act, settings: Settings, own_study: bool) -> Path:
    """The configured protocols; for pydicom's images, which no real protocol fits, one that asks any CT is added."""
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
            raise WorkflowError(f"--archive {wanted!r} is not AE@host:port")
        return Peer(found[1], found[2], int(found[3])), None, None
    received: set[str] = set()
    store = InstanceStore(root / "archive", minimum_free_bytes=0)

    def keep(instance: ReceivedInstance) -> None:
        store.write(instance)
        received.add(instance.sop_instance_uid)

    receiver = StorageSCP(StorageSCPSettings(ae_title="DEMOARCHIVE", port=0), keep)
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
            [sys.executable, "-m", "workflows.cli", "up", "--config", str(config)],
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
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting the node", total=4)
        end = time.monotonic() + PATIENCE_S
        while not _answers(peer):
            if node.poll() is not None or time.monotonic() > end:
                raise WorkflowError(f"the node did not start: read {act.folder / 'node.log'}")
            time.sleep(0.2)
        progress.update(task, completed=1, description=f"sending {len(act.files)} instances")
        refused = [outcome for outcome in send(act.files, peer, "DEMO") if not outcome.ok]
        if refused:
            raise WorkflowError(f"the node refused {len(refused)} instances: {refused[0].message}")
        repository = Node(_of(act, settings)).repository()
        while time.monotonic() < end:
            studies = status_of_all(repository)
            states = sorted({study["state"] for study in studies})
            progress.update(task, completed=2, description=f"the study is {', '.join(states).lower() or 'arriving'}")
            if studies and set(states) <= ENDED:
                progress.update(task, completed=4, description="done")
                return studies
            time.sleep(0.3)
    raise WorkflowError(f"the node was not done after {PATIENCE_S:.0f} s: read {act.folder / 'node.log'}")


def _of(act: _Act, settings: Settings) -> Settings:
    return Settings.model_validate({"node": {"data_dir": act.folder / "data"}, "model": {"checkpoint": act.checkpoint}})


def _configuration(act: _Act, settings: Settings, archive: Peer, port: int) -> str:
    def quoted(value: object) -> str:
        return json.dumps(str(value))

    return f"""[node]
port = {port}
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


def _show(studies: list[dict[str, Any]], console: Console) -> None:
    for study in studies:
        lines = [f"state     {study['state']}", f"protocol  {study['protocol'] or 'none: ' + study['reason']}"]
        for job in study["jobs"]:
            lines += ["", f"question  {job['question']}", f"answer    {job['answer'] or job['reason']}"]
            for finding in job["findings"]:
                size = finding["volume_ml"] if finding["volume_ml"] is not None else finding["area_mm2"]
                unit = "ml" if finding["volume_ml"] is not None else "mm2"
                measured = f"{size:.1f} {unit}" if size is not None else f"{finding['voxels']} voxels"
                lines.append(f"          {finding['label']}: {measured}, confidence {finding['confidence']:.2f}")
            lines += [f"{result['kind']:<9} {result['path']}" for result in job["results"]]
            if job["results"]:
                lines.append(f"overlay   {Path(job['results'][0]['path']).parent / 'overlay.png'}")
            if job["terms"]:
                lines.append(f"terms     {job['terms'].upper()}")
        console.print(
            f"study     {study['study_uid']}", *lines, "", sep="\n", soft_wrap=True, highlight=False, markup=False
        )


def _came_back(studies: list[dict[str, Any]], received: set[str] | None, console: Console) -> bool:
    """Whether every job ended and every result, and a SEG for whatever was seen, is in the archive."""
    good = any(study["jobs"] for study in studies)
    for study in studies:
        for job in study["jobs"]:
            sent = {result["kind"] for result in job["results"] if result["state"] == "DELIVERED"}
            arrived = received is None or all(one["sop_instance_uid"] in received for one in job["results"])
            wanted = {"SR", "SEG"} if job["findings"] else {"SR"}
            refused = job["state"] == "FAILED" and job["reason"]  # a series that is no volume ends with its reason
            if not (refused or (wanted <= sent and arrived)):
                console.print(f"[red]missing[/] {wanted - sent} of {job['question']}: {escape(job['reason'])}")
                good = False
    return good


def _marker_came_back(studies: list[dict[str, Any]], markers: dict[str, Marker], console: Console) -> bool:
    """Whether the marked voxels of every SEG lie where the marker was burnt in, within a voxel."""
    paths = {
        one["path"] for study in studies for job in study["jobs"] for one in job["results"] if one["kind"] == "SEG"
    }
    for path in sorted(paths):
        series_uid, points = read_segment_points(Path(path))
        if series_uid not in markers:
            continue
        marker = markers[series_uid]
        low, high, voxel = marker.low, marker.high, marker.voxel
        found = (points.min(axis=0), points.max(axis=0))
        if (np.abs(found[0] - low) <= voxel).all() and (np.abs(found[1] - high) <= voxel).all():
            console.print(f"[green]the marker came back where it is[/]: {np.round(low, 1)} to {np.round(high, 1)} mm")
            return True
        console.print(f"[red]the marker is at {found}, not at {low} to {high}[/]")
        return False
    console.print("[red]no SEG of the marked series came back[/]")
    return False
