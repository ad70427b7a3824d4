"""Ask again in a browser: asked on the study page, shown as preliminary with its mask, kept, then in the archive."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.whole import WholeInstances
from tests.scene import Boxes, make_scene, scene_node
from workflows.bootstrap import Node
from workflows.state.states import StudyState
from workflows.state.waker import RecordingWaker
from workflows.steps.predict import predict_job
from workflows.steps.publish import publish_job

from .test_study_page import chromium, served

__all__ = ["chromium"]

pytestmark = pytest.mark.service("chromium")
QUESTION = "Where is the spleen <b>now</b>?"


class Worker(threading.Thread):
    """Reads what waits and sends what is to be sent, as the node's workers do."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.node, self.go, self.stop = node, threading.Event(), threading.Event()

    def run(self) -> None:
        predictor = Boxes()
        inference = replace(self.node.inference(), predictor_for=lambda _wanted: predictor)
        repository, folder = self.node.repository, self.node.folder
        while not self.stop.wait(0.05):
            if self.go.is_set() and (key := repository.next_job()):
                predict_job(key, repository, folder, inference, RecordingWaker())
            if due := repository.next_delivery(None):
                publish_job(*due, repository, folder, self.node.sender())


@pytest.fixture
def archive() -> Iterator[tuple[int, list[Dataset]]]:
    """A storage SCP: its port, and what came."""
    came: list[Dataset] = []

    def keep(instance: ReceivedInstance) -> None:
        came.append(dcmread(BytesIO(instance.data_set), force=True))

    with StorageSCP(StorageSCPSettings(ae_title="PACS", port=0), WholeInstances(keep)) as scp:
        yield scp.port, came


@pytest.fixture
def asked(
    tmp_path: Path, archive: tuple[int, list[Dataset]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Page | str, str, Node, Worker]]:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive[0]}
    node = scene_node(tmp_path / "data", archives=[pacs])  # type: ignore[arg-type]
    monkeypatch.setattr(node, "configured_weights", lambda: Boxes().description)
    (body,) = make_scene(node, tmp_path / "images")
    worker = Worker(node)
    worker.start()
    with served(node) as address:
        yield address, str(body.study_uid), node, worker
    worker.stop.set()
    worker.join(20)
    node.repository.close()


def _shot(page: Page, name: str) -> None:
    if folder := os.environ.get("MEDSEG_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/ask-{name}.png")


def test_asked_shown_as_preliminary_kept_and_sent(
    chromium: Browser, asked: tuple[str, str, Node, Worker], archive: tuple[int, list[Dataset]]
) -> None:
    address, study_uid, node, worker = asked
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/studies/{study_uid}")
    expect(page.locator("#stage")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    page.wait_for_selector("html[data-ready]")
    expect(page.locator("#ask")).to_be_visible()
    while (study := node.repository.study(study_uid)) is not None and study.state is not StudyState.DELIVERED:
        page.wait_for_timeout(100)
    sent = len(archive[1])

    page.locator("#ask-text").fill("\u202e")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-told")).to_contain_text("cannot be seen")
    page.locator("#ask-text").fill(QUESTION)
    page.keyboard.press("Enter")
    card = page.locator("#asked .question")
    expect(card).to_contain_text(QUESTION)
    expect(card.locator(".badge")).to_have_text("waits")
    _shot(page, "waits")
    worker.go.set()
    expect(card.locator(".badge")).to_have_text("preliminary", timeout=60_000)
    expect(card).to_contain_text("Liver and spleen are seen.")
    key = card.get_attribute("data-job")
    expect(page.locator("#series [aria-selected=true]")).to_be_visible()
    expect(page.locator("#stage")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    assert page.evaluate("import('/static/study.js').then((one) => one.state.job_key)") == key, "its mask is shown"
    assert len(archive[1]) == sent, "nothing is sent yet"
    _shot(page, "preliminary")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []

    card.get_by_role("button", name="Keep", exact=True).click()
    expect(card.locator(".badge")).to_have_text("kept")
    expect(card).to_contain_text("Kept and sent.", timeout=60_000)
    _shot(page, "kept")
    kinds = [str(one.Modality) for one in archive[1][sent:]]
    assert {"SEG", "SR"} <= set(kinds)
    assert any(QUESTION in one.to_json().replace("\\u003c", "<") for one in archive[1][sent:] if one.Modality == "SR")
    assert errors == []

    page.locator("#ask-text").fill("And the liver?")
    page.locator("#ask-send").click()
    second = page.locator("#asked .question").nth(1)
    expect(second.locator(".badge")).to_have_text("preliminary", timeout=60_000)
    second.get_by_role("button", name="Do not keep").click()
    expect(page.locator("#asked .question")).to_have_count(1)
    page.close()
