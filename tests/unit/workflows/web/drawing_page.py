"""A page with nothing but the drawing on it, over a node with a read study, in a real browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom import dcmread

from dicom_node.results.mask_file import mask_file_name, read_masks
from tests.services import await_true, free_port, missing
from workflows.bootstrap import Node
from workflows.state.records import Job
from workflows.state.views import Selection
from workflows.steps.corrections import correction_mask
from workflows.web.access import Person, Role
from workflows.web.app import create_app
from workflows.web.rendering import templates

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
REVIEWER = Person("reviewer", "Test^Reviewer", Role.REVIEWER, "token")
POLICY = "default-src 'self'; img-src 'self' data:"
_PAGE = """<!doctype html><html lang="en"><head><title>Drawing</title><meta name="base" content="">
<meta name="csrf" content="token"><link rel="stylesheet" href="/static/style.css">
</head><body>{drawing}
<script type="module" src="/test.js"></script></body></html>"""
_TEST = """
import {{ bus, tell }} from "/static/page.js";
import {{ drawing }} from "/static/drawing.js";
Object.assign(window, {{ drawing, tell, told: [] }});
bus.addEventListener("corrected", ({{ detail }}) => window.told.push(detail));
"""


class OpenDoor:
    """Lets everybody in as one person."""

    async def admit(self, request: Request) -> Person:
        return REVIEWER


def jobs_of(node: Node, study_uid: str) -> dict[str, Job]:
    """The jobs of a study, by what their series is called."""
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    named = {}
    for job in view.jobs:
        series = job.job.series_uid
        (first, *_) = [one for one in node.repository.instances(study_uid) if one.series_uid == series]
        named[description_of(node.folder.absolute(first.path))] = node.repository.job(job.job.job_key)
    return named


def description_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).get("SeriesDescription", ""))


def model_of(job: Job) -> dict[str, Any]:
    """As much of the study page's model as drawing looks at."""
    colours = ("#3fb984", "#e3b341", "#5aa9ff")
    answers = [
        {
            "answer": number,
            "part": answer.part,
            "findings": [
                {"place": f"{job.job_key}/{number}/{one}", "label": finding.label, "colour": colours[one]}
                for one, finding in enumerate(answer.findings)
            ],
        }
        for number, answer in enumerate(job.answers)
    ]
    parts = [{"part": one.ordinal, "windows": [{"centre": 40, "width": 400}]} for one in job.parts]
    return {
        "study": {"study_uid": job.study_uid},
        "jobs": [{"job_key": job.job_key, "parts": parts, "answers": answers}],
    }


def application(node: Node, job: Job) -> FastAPI:
    """The pages, and in front of them one that has nothing but the drawing."""
    app = create_app(node, OpenDoor())
    drawing = templates().get_template("_drawing.html").render(person=REVIEWER, base="")
    model, state = json.dumps(model_of(job)), {"job_key": job.job_key, "part": 0, "slice": None, "finding": None}
    script = f"export const study = {model}; export const state = {json.dumps(state)}; export const view = null;"

    def page() -> Response:
        return HTMLResponse(_PAGE.format(drawing=drawing), headers={"Content-Security-Policy": POLICY})

    pages = {
        "/drawing": page,
        "/test.js": lambda: Response(_TEST.format(), media_type="text/javascript"),
        "/static/study.js": lambda: Response(script, media_type="text/javascript"),
    }
    before = len(app.router.routes)
    for path, endpoint in pages.items():
        app.add_api_route(path, endpoint, response_class=Response)
    routes = app.router.routes
    routes[:] = [*routes[before:], *routes[:before]]
    return app


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on loopback; its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    await_true(lambda: server.started, "the pages are served")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's chromium with WebGL in software."""
    if not CHROMIUM.is_file():
        missing("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


class DrawingPage:
    """The page as a reader's hand has it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"error: {error}"))
        page.goto(f"{address}/drawing")

    def open(self, mode: str = "draw") -> None:
        self.page.wait_for_function("() => window.tell")
        self.page.evaluate("(name) => tell('mode', { name })", mode)
        self.page.wait_for_function("(mode) => drawing.view?.place && (mode !== 'draw' || drawing.mask)", arg=mode)

    def where(self, place: tuple[int, int, int], axis: int) -> list[float]:
        """Where a voxel (column, row, slice) is on the screen, once the crosshair is on it."""
        found = self.page.evaluate(
            """async ([place, axis]) => {
                await drawing.view.show(place);
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                return drawing.view.where(place, axis);
            }""",
            [list(place), axis],
        )
        assert found is not None, (place, axis)
        return list(found)

    def drag(self, places: list[tuple[int, int, int]], axis: int) -> None:
        """One stroke with the left button from voxel to voxel."""
        self.where(places[0], axis)
        first, *others = [self.page.evaluate("([p, a]) => drawing.view.where(p, a)", [list(p), axis]) for p in places]
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in others:
            self.page.mouse.move(*place)
        self.page.mouse.up()

    def choose(self, part: str, value: str) -> None:
        self.page.select_option(f"[data-part={part}]", value)

    def save(self) -> dict[str, Any]:
        count = self.page.evaluate("told.length")
        self.page.click("[data-part=save]")
        self.page.wait_for_function("(count) => told.length > count", arg=count)
        return dict(self.page.evaluate("told.at(-1)"))


def saved_mask(node: Node, study_uid: str, digest: str) -> NDArray[np.bool_]:
    """What the node keeps of a correction."""
    correction = node.repository.correction(study_uid, digest)
    assert correction is not None
    return correction_mask(correction, node.folder)


def mask_of(node: Node, job: Job, answer: int, finding: int) -> NDArray[np.bool_]:
    """The mask of a finding, as the job made it."""
    before = sum(len(one.findings) for one in job.answers[:answer])
    folder = node.folder.absolute(node.repository.objects(job.job_key)[0].path).parent
    return read_masks(folder / mask_file_name(0))[before + finding]
