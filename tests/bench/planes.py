"""How long a CT of 300 slices of 512 x 512 takes from the click to three planes in a browser, WebGL in software.

Each round is a new browser that knows nothing. `--slices` and `--side` make it small.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from pydicom import dcmread
from rich.console import Console

from tests.bench.volumes import ENCODERS, write_series
from tests.scene import Boxes, read_study, scene_node
from tests.unit.workflows.web.drawing_page import DrawingPage, application, chromium, jobs_of, serving

LIMIT_S = 10.0


class SmallBoxes(Boxes):
    """Organs of the size that organs have."""

    seen = {  # noqa: RUF012 (a table)
        "liver": (0.83, ((0.4, 0.7), (0.35, 0.55), (0.2, 0.4))),
        "spleen": (0.88, ((0.5, 0.6), (0.4, 0.5), (0.65, 0.75))),
    }


def measure(slices: int, side: int, rounds: int) -> list[tuple[float, float, float]]:
    """Seconds until the volume stands in three planes, until every finding is marked, and until one can be drawn on."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_series(Path(folder) / "images", *ENCODERS["native"], slices, side)
        study_uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
        node = scene_node(Path(folder) / "data")
        read_study(node, study_uid, files, SmallBoxes())
        (job,) = jobs_of(node, study_uid).values()
        with serving(application(node, job)) as address, chromium() as browser:
            for _ in range(rounds):
                page = DrawingPage(browser.new_page(viewport={"width": 1366, "height": 768}), address)
                page.page.wait_for_function("() => window.tell")
                begun = time.perf_counter()
                page.page.evaluate("tell('mode', { name: 'planes' })")
                page.page.wait_for_function("() => drawing.view?.place")
                shown = time.perf_counter() - begun
                page.page.wait_for_function("() => document.getElementById('drawing').dataset.marks === 'all'")
                marked = time.perf_counter() - begun
                page.page.evaluate("tell('mode', { name: 'draw' })")
                page.page.wait_for_function("() => drawing.mask")
                times.append((shown, marked, time.perf_counter() - begun))
                page.page.close()
        node.repository.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    times = measure(wanted.slices, wanted.side, wanted.rounds)
    for shown, marked, drawn in times:
        Console().print(
            f"volume in three planes {shown:.1f} s, findings marked {marked:.1f} s, to draw on {drawn:.1f} s"
        )
    if min(shown for shown, _, _ in times) > LIMIT_S:
        raise SystemExit(f"the volume takes longer than {LIMIT_S:g} s")


if __name__ == "__main__":
    main()
