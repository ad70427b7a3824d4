"""Scripts of others: pinned by digest, with their licences, and part of every image."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.services import missing
from workflows.web.pages.drawing import NIIVUE


def assets(checkout: Path) -> Path:
    return checkout / "workflows" / "web" / "assets"


def test_the_lockfile_pins_every_file_by_its_digest(checkout: Path) -> None:
    wanted = json.loads((assets(checkout) / "package.json").read_text())["dependencies"]
    packages = json.loads((assets(checkout) / "package-lock.json").read_text())["packages"]
    assert wanted == {"@niivue/niivue": "0.69.0"}
    assert packages["node_modules/@niivue/niivue"]["version"] == wanted["@niivue/niivue"]
    assert all(one["integrity"].startswith("sha512-") for name, one in packages.items() if name)


def test_every_image_holds_them_and_git_does_not(checkout: Path) -> None:
    stages = (checkout / "deploy" / "Dockerfile").read_text().split("\nFROM ")
    made = {re.search(r"AS ([\w-]+)", stage)[1]: stage for stage in stages if re.search(r"AS ([\w-]+)", stage)}  # type: ignore[index]
    assert "npm ci --ignore-scripts" in made["web-assets"] and "node copy.mjs" in made["web-assets"]
    for image in ("node", "gpu"):
        copied, bare = made[image].find("COPY --from=web-assets"), made[image].find("COPY workflows workflows")
        assert -1 < bare < copied, image
    assert "/workflows/web/static/vendor/" in (checkout / ".gitignore").read_text().split()


@pytest.mark.service("npm")
def test_what_was_fetched_is_whole_and_names_its_licences() -> None:
    if not NIIVUE.is_file():
        missing("Niivue", "npm, then make web-assets")
    assert b"Niivue" in NIIVUE.read_bytes()
    licences = NIIVUE.with_name("niivue.licences.md").read_text(encoding="utf-8")
    for name in ("@niivue/niivue 0.69.0", "fflate", "gl-matrix", "nifti-reader-js", "zarrita"):
        assert name in licences
    assert "no text comes with it" not in licences
