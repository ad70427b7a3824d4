"""The picture of docs/protocols.md: the page of `protocols replay --against`, taken from made-up studies.

python -m tests.difference_picture docs/images
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import sync_playwright

from dicom_node.headers.study import study_header
from tests.bench.replay import protocols, studies
from tests.unit.workflows.web.drawing_page import CHROMIUM, FLAGS
from workflows.protocols.conditions import AllOf, Condition, NumberRange, Pattern, Test
from workflows.protocols.costing import Cost
from workflows.protocols.replaying import KnownStudy, difference
from workflows.protocols.schema import ReadingProtocol
from workflows.web.difference_page import History, PageFacts, Rules, page_of_difference

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
NAMES = (
    "abdominal-ct", "chest-mr", "head-us", "knee-dx", "pelvis-ct", "heart-mr", "shoulder-us", "liver-dx", "chest-ct",
)  # fmt: skip
NEW = "protocols-next-week"


def of(protocol: ReadingProtocol, least: int, version: str, *also: Condition) -> ReadingProtocol:
    """A protocol that wants so many images at least."""
    wanted = (*also, protocol.series.where, Test("instances", (NumberRange(minimum=least),)))
    return replace(protocol, version=version, series=replace(protocol.series, where=AllOf(wanted)))


def page() -> str:
    """A month with a protocol that is stricter, one that is new and one that asks more."""
    kept = enumerate(studies(320, 8))
    known = [KnownStudy(study_header(one), f"A-{20_900 + number}", one.received_at) for number, one in kept]
    every = [replace(one, name=name) for one, name in zip(protocols(len(NAMES)), NAMES, strict=True)]
    before = [one for one in every if one.name != "chest-ct"]
    chest = Test("description", (Pattern(r"\bthorax.* (nativ|1\.0)"),))
    after = [of(every[0], 150, "2"), *every[1:-1], of(every[-1], 200, "1", chest)]
    after[5] = replace(after[5], version="2", questions=after[5].questions[:3])
    cost = Cost(0.0031, 2.2, 412)
    found = difference(known, before, after, cost=cost)
    sides = (Rules("deploy/protocols", tuple(before), "4f8e1c0a9d77", "in service since 2026-11-12 08:30"),
             Rules(NEW, tuple(after), "b1946ac92492"))  # fmt: skip
    return page_of_difference(found, *sides, PageFacts(History("the last 30 days"), cost, "0.2.0", 4, made_at=NOW))


def main() -> None:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as there, sync_playwright() as playwright:
        file = Path(there, "difference.html")
        file.write_text(page(), "utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shown = browser.new_page(viewport={"width": 1180, "height": 700}, color_scheme="light", device_scale_factor=1)
        shown.goto(file.as_uri())
        shown.screenshot(path=folder / "rules-difference.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
