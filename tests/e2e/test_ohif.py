"""What the `ohif` profile writes, seen in OHIF itself: masks voxel for voxel, reports that open, contours.

The viewer is the prebuilt npm package `@ohif/app`, on loopback beside Orthanc's DICOMweb, driven in Chromium. It is
fetched once, into `.venv`; MEDSEG_OHIF names a folder that holds it. MEDSEG_OHIF_PICTURES names one for screenshots.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.commissioning.marker import burn_in_marker
from dicom_node.identifiers import derived_uid
from dicom_node.results.codes import COMMISSIONING_CONCEPT, LABELS
from dicom_node.results.colours import colour_of
from dicom_node.results.comparison import Change
from dicom_node.results.finding import Finding, ReadAnswer, ReadPart, ResultContext, SegmentedConcept
from dicom_node.results.gate import check_segmentation
from dicom_node.results.identity import own_texts, result_identity
from dicom_node.results.measurement import measure
from dicom_node.results.profiles import PROFILES, Profile
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from dicom_node.results.segmentation import build_segmentation
from dicom_node.volumes.load import SeriesVolume, load_series
from tests.services import Orthanc, missing

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

pytestmark = pytest.mark.timeout(600)

VERSION = "3.13.2"
_INTEGRITY = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
_NOT_NEEDED = {"ort", "dicom-microscopy-viewer"}  # 150 of 200 MB: models in the browser, whole slide images
_DATA_SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "archive",
    "configuration": {
        "friendlyName": "archive",
        "name": "archive",
        "qidoRoot": "/dicom-web",
        "wadoRoot": "/dicom-web",
        "wadoUriRoot": "/dicom-web",
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "bulkDataURI": {"enabled": True},
        "omitQuotationForMultipartRequest": True,
    },
}
_CONFIGURATION = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 1,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "strictZSpacingForVolumeViewport": True,
    "showErrorDetails": "always",
    "investigationalUseDialog": {"option": "never"},
    "disableConfirmationPrompts": True,  # a SEG is laid over its images without a question
    "defaultDataSourceName": "archive",
    "dataSources": [_DATA_SOURCE],
}


def viewer_folder(checkout: Path) -> Path:
    """The viewer's files, fetched from the npm registry once into `.venv`; MEDSEG_OHIF names others."""
    if named := os.environ.get("MEDSEG_OHIF"):
        return Path(named)
    cache = checkout / ".venv" if (checkout / ".venv").is_dir() else Path(tempfile.gettempdir())
    folder = cache / f"ohif-{VERSION}"
    if not (folder / "index.html").exists():
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        missing("npm", "npm")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="ohif-") as name:
        scratch = Path(name)
        command = [npm, "pack", f"@ohif/app@{VERSION}", "--silent", "--ignore-scripts"]
        try:
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True, timeout=240)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            missing(f"@ohif/app {VERSION} from the npm registry ({error})", "npm")
        (package,) = scratch.glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        assert digest == _INTEGRITY, f"@ohif/app {VERSION} is not the package that was tested: sha512 {digest}"
        with tarfile.open(package) as archive:
            wanted = [member for member in archive if not _NOT_NEEDED & set(PurePosixPath(member.name).parts)]
            archive.extractall(scratch, wanted, filter="data")
        with contextlib.suppress(OSError):  # another session was as quick
            (scratch / "package" / "dist").rename(folder)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The viewer's files, its configuration, and the archive's DICOMweb under one origin."""

    archive: Orthanc

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/dicom-web"):
            self._forward()
        elif path == "/app-config.js":
            self._answer(f"window.config = {json.dumps(_CONFIGURATION)};".encode(), "text/javascript")
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"  # the viewer's own router reads the rest
            super().do_GET()

    def _forward(self) -> None:
        connection = http.client.HTTPConnection(self.archive.host, self.archive.http_port, timeout=60)
        # Orthanc writes bulk data addresses for the host that was asked.
        kept = {key: self.headers[key] for key in ("Accept", "Host") if key in self.headers}
        connection.request("GET", self.path, headers=kept)
        response = connection.getresponse()
        self._answer(response.read(), response.getheader("Content-Type", ""), response.status)
        connection.close()

    def _answer(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--enable-unsafe-swiftshader",  # OHIF draws with WebGL, which a machine without a GPU has in software only
    "--use-angle=swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LABELMAPS = """(colourOf) => {
  const slices = (segmentation) => {
    const found = {};
    const labelmap = segmentation.representationData.Labelmap;
    for (const [segment, binding] of Object.entries(labelmap.segmentBindings)) {
      found[segment] = {};
      for (const imageId of labelmap.labelmaps[binding.labelmapId].imageIds) {
        const image = cornerstone.cache.getImage(imageId);
        const marked = [];
        image.voxelManager.getScalarData().forEach((value, at) => value === binding.labelValue && marked.push(at));
        if (marked.length) found[segment][image.referencedImageId.match(/instances.([0-9.]+)/)[1]] = marked;
      }
    }
    return found;
  };
  const viewport = services.viewportGridService.getActiveViewportId();
  const colours = (one) => Object.keys(one.segments).map((segment) =>
    [...services.segmentationService.getSegmentColor(viewport, one.segmentationId, Number(segment))].slice(0, 3));
  return services.segmentationService.getSegmentations().map((one) => ({
    description: one.label,
    labels: Object.values(one.segments).map((segment) => segment.label),
    colours: one.label === colourOf ? colours(one) : [],
    slices: slices(one),
  }));
}"""


@pytest.fixture(scope="module")
def viewer(checkout: Path, orthanc: Orthanc) -> Iterator[str]:
    """Address of an OHIF that shows what the archive holds."""
    if not CHROMIUM.exists():
        missing("chromium", "chromium")
    folder = viewer_folder(checkout)

    class Handler(_Handler):
        archive = orthanc

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()


def _note(message: ConsoleMessage, thrown: list[str]) -> None:
    if message.type == "error":
        thrown.append(f"{message.text} ({message.location.get('url', '')})")


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser that has seen OHIF's tour; what it throws or its console calls an error fails the test."""
    from playwright.sync_api import sync_playwright

    thrown: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        page.add_init_script("localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))")
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("console", lambda message: _note(message, thrown))
        yield page
        browser.close()
    assert thrown == []


def found(volume: SeriesVolume, concept: SegmentedConcept, mask: NDArray[np.bool_]) -> Finding:
    label = concept.label
    return Finding(label, concept, 0.8, mask, f"{label} 1.1", derived_uid(label), measure(volume, mask))


def written_for_ohif(part: ReadPart, protocol: str, folder: Path) -> list[Path]:
    """The SEG where the profile has one, which has passed the gate, and the SR of a job with one part."""
    context = ResultContext(
        protocol,
        datetime(2026, 1, 2, 3, 4, 5),
        "commissioning",
        "1",
        "ab" * 32,
        "research use only",
        protocol,
        "MEDSEG",
        Profile.OHIF,
    )
    folder.mkdir()
    identity = result_identity(part.volume.identity, own_texts(part.answers))
    segmentation = None
    if part.volume.geometry is not None or PROFILES[Profile.OHIF].projections_segmented:
        segmentation = build_segmentation(part, context)
        assert segmentation is not None
        save(segmentation, folder / "seg.dcm", identity)
        check_segmentation(folder / "seg.dcm", part, identity)
    save(build_report([part], [segmentation], context), folder / "sr.dcm", identity)
    return sorted(folder.iterdir())


def store(archive: Orthanc, files: list[Path]) -> None:
    for file in files:
        archive.post("/instances", file.read_bytes())


def open_study(page: Page, viewer: str, study_uid: str, series: int) -> None:
    page.goto(f"{viewer}/viewer?StudyInstanceUIDs={study_uid}")
    page.wait_for_function(
        f"window.services?.displaySetService?.getActiveDisplaySets().length === {series}"
        " && document.querySelector('[data-cy=viewport-pane] canvas')"
    )


def open_series(page: Page, name: str) -> None:
    page.locator("[data-cy^=study-browser-thumbnail]").filter(has_text=name).first.dblclick()


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("MEDSEG_OHIF_PICTURES"):
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(folder) / f"{name}.png")


def marked_slices(volume: SeriesVolume, mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """SOP Instance UID -> indices into its pixels."""
    return {
        str(volume.sources[index].SOPInstanceUID): np.flatnonzero(mask[index]).tolist()
        for index in np.flatnonzero(mask.any(axis=(1, 2)))
    }


def lopsided(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Overlaps the marker, reaches the first and last slice, and looks otherwise from every side."""
    mask = np.zeros(shape, dtype=np.bool_)
    rows, columns = shape[1:]
    for index in range(0, shape[0], 3):
        mask[index, rows // 5 : rows // 3 + index, columns // 4 : columns // 2 + 20] = True
    mask[-1, rows // 2, columns // 8 : columns // 4] = True
    return mask


def test_masks_lie_on_their_voxels_and_the_report_reads(
    page: Page, viewer: str, orthanc: Orthanc, shared_data: Path, tmp_path: Path
) -> None:
    abdomen = sorted((shared_data / "dicom" / "totalseg_ct_dicom" / "example_ct_dicom").iterdir())
    files, _ = burn_in_marker(abdomen, tmp_path / "images")
    (volume,) = load_series(files).parts
    low, high = volume.values.min(), volume.values.max()
    bright = found(volume, COMMISSIONING_CONCEPT, volume.values > low + 0.9 * (high - low))
    kidney = found(volume, LABELS["kidney left"], lopsided(bright.mask.shape))
    change = Change("volume", "ml", 100.0, 150.0, date(2025, 1, 2), date(2026, 1, 2))
    kidney = replace(kidney, changes=(change,))
    first = ReadAnswer("What is bright?", "The bright voxels are here.", (bright,), ())
    second = ReadAnswer("Where is the left kidney?", "It is here.", (kidney,), (LABELS["kidney right"],))
    results = [
        *written_for_ohif(ReadPart(0, volume, (first,)), "first", tmp_path / "first"),
        *written_for_ohif(ReadPart(0, volume, (first, second)), "second", tmp_path / "second"),
    ]
    store(orthanc, [*files, *results])

    open_study(page, viewer, str(volume.study_uid), series=5)
    names = (
        "AI first: bright voxels; research use only; SEG",
        "AI second: bright voxels, left kidney; research use only; SEG",
    )
    for name in names:
        open_series(page, name)
        page.wait_for_function(f"services.segmentationService.getSegmentations().some((one) => one.label === '{name}')")
    first_name, second_name = names
    shown = {one["description"]: one for one in page.evaluate(LABELMAPS, second_name)}
    assert shown[first_name]["labels"] == ["bright voxels"]
    assert shown[first_name]["slices"] == {"1": marked_slices(volume, bright.mask)}
    assert shown[second_name]["labels"] == ["bright voxels", "kidney left"]
    assert shown[second_name]["slices"] == {
        "1": marked_slices(volume, bright.mask), "2": marked_slices(volume, kidney.mask),
    }  # fmt: skip
    expected = [colour_of("bright voxels"), colour_of("kidney left")]
    assert np.abs(np.array(shown[second_name]["colours"]) - np.array(expected)).max() <= 1  # it rounds down
    page.locator("[data-cy=panelSegmentation-btn]").click()
    for label in ("bright voxels", "kidney left"):
        page.get_by_text(label, exact=True).first.wait_for()
    picture(page, "segments")

    open_series(page, "AI second: bright voxels, left kidney; research use only; SR")
    report = page.locator("[data-cy=viewport-pane]")
    for text in ("Where is the left kidney?", "It is here.", "Looked for and not seen", "Long Axis"):
        report.get_by_text(text).first.wait_for()
    told = report.inner_text()
    assert "AI result report" in told
    assert "not supported" not in told.replace("[IMAGE is not supported]", "", 2)
    in_order = (
        "RESEARCH USE ONLY",
        "Where is the left kidney?",
        "It is here.",
        "kidney left: volume +50.0 ml",
        "Language",
        "Left kidney",
        "Volume, at least",
        "Right kidney",
        "Looked for and not seen",
    )
    places = [told.index(text) for text in in_order]
    assert places == sorted(places), told
    lines = told.splitlines()
    for measured in ("Mean Attenuation Coefficient: ", "Standard Deviation of Attenuation Coefficient: "):
        assert sum(line.startswith(measured) for line in lines) == 2, told
    picture(page, "report")


def test_a_radiographs_contours_are_drawn_with_their_measurements(
    page: Page, viewer: str, orthanc: Orthanc, shared_data: Path, tmp_path: Path
) -> None:
    file = shared_data / "dicom" / "highdicom" / "data" / "test_files" / "dx_image.dcm"
    (volume,) = load_series([file]).parts
    mask = np.zeros(volume.values.shape, dtype=np.bool_)
    mask[0, 40:80, 30:90] = True
    mask[0, 40:60, 30:40] = False
    mask[0, 100:140, 120:160] = True
    concept = replace(LABELS["consolidation"], laterality=LABELS["right lung"].laterality)
    lung = found(volume, concept, mask)
    answer = ReadAnswer("Is there a consolidation?", "It is here.", (lung,), (LABELS["pneumothorax"],))
    results = written_for_ohif(ReadPart(0, volume, (answer,)), "chest", tmp_path / "results")
    store(orthanc, [file, *results])

    open_study(page, viewer, str(volume.study_uid), series=2)
    open_series(page, "AI chest: consolidation; research use only; SR")
    drawn = "cornerstoneTools.annotation.state.getAllAnnotations().filter((one) => one.metadata.valueType === 'SCOORD')"
    page.wait_for_function(f"{drawn}.length === 2")
    tracked = {lung.tracking_uid, derived_uid(lung.tracking_uid, "part", "2")}
    assert set(page.evaluate(f"{drawn}.map((one) => one.annotationUID)")) == tracked
    page.wait_for_function(
        "[...document.querySelectorAll('.svg-layer')].map((layer) => layer.textContent).join().includes(area)".replace(
            "area", f"'Area: {mask.sum() * 1.2 * 1.2012:.0f}'"
        )
    )
    assert page.locator(".svg-layer polyline").count() == 2
    layers = "[...document.querySelectorAll('.svg-layer')].map((layer) => layer.textContent).join()"
    assert page.evaluate(layers).count("Consolidation, right lung") == 2
    images = page.evaluate(f"{drawn}.map((one) => one.metadata.referencedImageId)")
    assert all(str(volume.source.SOPInstanceUID) in image for image in images)
    picture(page, "contours")
