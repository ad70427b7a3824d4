"""What the study page costs on the server: 300 CT slices of 512 x 512, two findings, a cold process.

- first picture: from the click on a study until the page, its model and the values of its key slice are answered, in a
  process that has looked at nothing before; each of several cold starts, the median.
- slice: a slice's values, and as a PNG through a window, that nobody has asked for before; median and 95th percentile.
- page, model, outlines, thumbnail: asked for again.

Figures are milliseconds of the application without a network; `target` is what must not be missed. With --browser also
from the click to the first picture in Chromium.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.scene import Boxes, read_study, scene_node
from workflows.web.access import Person, Role
from workflows.web.app import create_app

SLICES, SIDE = 300, 512
COLD_STARTS = 5
ROUNDS = 60


class Door:
    """Lets everybody in."""

    async def admit(self, request: Request) -> Person:
        return Person("reader", "Bench^Reader", Role.REVIEWER, "token")


@dataclass(frozen=True)
class Figure:
    """`ms`: the median, which `target` is for. `best`: the least, what it costs where nothing else runs."""

    name: str
    ms: float
    best: float
    target: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="also in Chromium (/usr/bin/chromium)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as name:
        folder = Path(name)
        study_uid = make_study(folder)
        figures = [*server_figures(folder / "data", study_uid)]
        if arguments.browser:
            figures.append(browser_figure(folder / "data", study_uid))
    for one in figures:
        target = "" if one.target is None else f"  target {one.target:g}{'' if one.ms <= one.target else '  MISSED'}"
        print(f"{one.name:<44}{one.ms:9.1f} ms, best {one.best:7.1f}{target}")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(one) for one in figures], indent=1))
    if any(one.target is not None and one.ms > one.target for one in figures):
        sys.exit(1)


def make_study(folder: Path) -> str:
    """A data folder with one answered study."""
    study_uid, series_uid, frame_uid = (str(generate_uid()) for _ in range(3))
    random = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True)
    texture = random.normal(40, 20, (SIDE, SIDE))
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    outside = (rows / 170) ** 2 + (columns / 220) ** 2 > 1
    files = []
    for number in range(SLICES):
        values = np.roll(texture, number, axis=0) + random.normal(0, 8, (SIDE, SIDE))
        values[outside] = -1000 + random.normal(0, 5, int(outside.sum()))
        header = _header(number, study_uid, series_uid, frame_uid)
        header.PixelData = (np.clip(values, -1024, 3071) + 1024).astype("<u2").tobytes()
        files.append(folder / "images" / f"{number}.dcm")
        header.save_as(files[-1], enforce_file_format=True)
    node = scene_node(folder / "data")
    read_study(node, study_uid, files, Boxes())
    node.repository.close()
    return study_uid


def _header(number: int, study_uid: str, series_uid: str, frame_uid: str) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study_uid, series_uid, frame_uid
    header.PatientName, header.PatientID, header.PatientSex, header.PatientAge = "PHANTOM^Alpha", "4711", "F", "063Y"
    header.PatientBirthDate, header.StudyDate, header.StudyTime = "", "20261129", "081200"
    header.StudyDescription, header.SeriesDescription = "CT abdomen, portal venous", "portal venous"
    header.StudyID, header.AccessionNumber, header.ReferringPhysicianName = "1", "A-20917", ""
    header.Modality, header.ImageType, header.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
    header.Manufacturer, header.SeriesNumber, header.BodyPartExamined = "Bench", "1", "ABDOMEN"
    header.ImagePositionPatient, header.ImageOrientationPatient = [-180, -180, number * 1.0], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [0.7, 0.7], 1
    header.Rows = header.Columns = SIDE
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
    header.WindowCenter, header.WindowWidth = 40, 400
    return header


def _application(data: Path) -> FastAPI:
    return create_app(scene_node(data), Door())


def server_figures(data: Path, study_uid: str) -> Iterator[Figure]:
    """What the application answers, without a network."""
    root = f"/studies/{study_uid}"
    first, model_cold = [], []
    for _ in range(COLD_STARTS):
        client = TestClient(_application(data), base_url="http://127.0.0.1")
        client.get("/static/page.js")
        begin = time.perf_counter()
        client.get(root).raise_for_status()
        model = time.perf_counter()
        job = client.get(f"{root}/model").raise_for_status().json()["jobs"][0]
        model_cold.append(time.perf_counter() - model)
        key = job["answers"][0]["findings"][0]["largest_slice"]
        part = f"{root}/jobs/{job['job_key']}/parts/0"
        client.get(f"{part}/slices/{key}/values").raise_for_status()
        first.append(time.perf_counter() - begin)
    yield Figure("first picture, 300 slices, cold", *_median(first), 1000)
    yield Figure("model, 300 slices, cold", *_median(model_cold), None)
    yield Figure("study page", *_asked(client, lambda _: root), 150)
    yield Figure("model", *_asked(client, lambda _: f"{root}/model"), 150)
    values = _times(client, lambda number: f"{part}/slices/{number}/values")
    yield Figure("slice, values", *_median(values), 50)
    yield Figure("slice, values, 95th percentile", 1000 * float(np.percentile(values, 95)), 1000 * min(values), None)
    yield Figure("slice, PNG", *_asked(client, lambda number: f"{part}/slices/{number}?window=40,400"), 50)
    yield Figure("outlines of a slice", *_asked(client, lambda number: f"{part}/outlines/{number}"), 50)
    yield Figure("thumbnail, again", *_asked(client, lambda _: f"{root}/thumbnail"), 50)


def _times(client: TestClient, address: Callable[[int], str]) -> list[float]:
    spent = []
    for number in range(ROUNDS):
        begin = time.perf_counter()
        client.get(address(number * SLICES // ROUNDS)).raise_for_status()
        spent.append(time.perf_counter() - begin)
    return spent[1:]


def _asked(client: TestClient, address: Callable[[int], str]) -> tuple[float, float]:
    return _median(_times(client, address))


def _median(seconds: list[float]) -> tuple[float, float]:
    """The median and the least, ms."""
    return 1000 * statistics.median(seconds), 1000 * min(seconds)


def browser_figure(data: Path, study_uid: str) -> Figure:
    """From going to the page until its first slice is drawn, in a browser and a server process that know nothing."""
    from playwright.sync_api import sync_playwright

    spent = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for _ in range(COLD_STARTS):
            with _served(_application(data)) as address:
                page = browser.new_page(viewport={"width": 1366, "height": 768})
                page.goto(f"{address}/static/page.js")
                begin = time.perf_counter()
                page.goto(f"{address}/studies/{study_uid}", wait_until="commit")
                page.wait_for_selector("#stage[data-drawn]")
                spent.append(time.perf_counter() - begin)
                page.close()
        browser.close()
    return Figure("first picture, 300 slices, in Chromium", *_median(spent), 1000)


@contextmanager
def _served(application: FastAPI) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    main()
