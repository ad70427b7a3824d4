"""The study page, its model, slices and outlines, over studies that were really read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from dicom_node.identifiers import StudyUID
from dicom_node.results.mask_file import mask_file_name, read_masks, write_masks
from dicom_node.showing.kept import STACKS_FILE
from dicom_node.volumes.display import display_view
from dicom_node.volumes.load import load_series
from tests.scene import Boxes, make_scene, scene_node
from tests.unit.workflows.web.conftest import OpenDoor
from workflows.bootstrap import Node
from workflows.state.records import Job
from workflows.state.reviewing import FindingPlace, FindingVerdict, Review, ReviewState, VerdictKind
from workflows.state.views import JobView, Selection
from workflows.web.access import Person, Role
from workflows.web.app import create_app

HOSTILE = '<img src=x onerror="alert(1)"></script>‮lmth' + "x" * 65536


class Hostile(Boxes):
    """Answers with markup, a bidirectional override and 64 kB."""

    def answer(self, *arguments, **named):  # type: ignore[no-untyped-def]
        first, *others = super().answer(*arguments, **named)
        return (replace(first, text=HOSTILE), *others)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A data folder with one read study; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    (body,) = make_scene(node, folder / "images", predictor=Hostile())
    node.repository.close()
    yield folder / "data", str(body.study_uid)


@pytest.fixture
def opened(read: tuple[Path, str], tmp_path: Path) -> Iterator[tuple[Node, TestClient, str]]:
    shutil.copytree(read[0], tmp_path / "data")
    node = scene_node(tmp_path / "data")
    person = Person("reader", "Test^Reader", Role.REVIEWER, "token")
    yield node, TestClient(create_app(node, OpenDoor(person)), base_url="http://127.0.0.1"), read[1]
    node.repository.close()


def _jobs(node: Node, study_uid: str) -> dict[str, JobView]:
    """By the description of their series."""
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    names = {one.series_uid: one.series_description for one in node.repository.series_of(study_uid)}
    return {names[one.job.series_uid]: one for one in view.jobs}


def _files(node: Node, job: Job) -> list[Path]:
    rows = node.repository.series_instances(job.study_uid, job.series_uid)
    return [node.folder.absolute(row.path) for row in rows]


SERIES = ("TEST axial", "TEST oblique", "TEST tilted gantry", "TEST projection")


@pytest.mark.parametrize("name", SERIES)
def test_values_and_pictures_are_those_of_the_series(opened: tuple[Node, TestClient, str], name: str) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)[name].job
    (volume,) = load_series(_files(node, job)).parts
    whole = display_view(volume).apply(volume.values)
    index = len(whole) // 2
    root = f"/studies/{study_uid}/jobs/{job.job_key}/parts/0/slices/{index}"
    values = client.get(f"{root}/values")
    kinds = {"int16": "<i2", "uint16": "<u2", "float32": "<f4"}
    sent = np.frombuffer(values.content, kinds[values.headers["X-Kind"]])
    np.testing.assert_array_equal(sent.reshape(whole[index].shape), whole[index])
    picture = np.asarray(Image.open(io.BytesIO(client.get(f"{root}?window=100,500").content)))
    expected = np.clip((whole[index] + 150) * (255 / 500), 0, 255)
    assert np.abs(picture - expected).max() <= 0.51
    assert values.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", SERIES)
def test_outlines_are_the_masks(opened: tuple[Node, TestClient, str], name: str) -> None:
    node, client, study_uid = opened
    view = _jobs(node, study_uid)[name]
    masks = _masks(node, view)
    for index in range(masks[0].shape[0]):
        answer = client.get(f"/studies/{study_uid}/jobs/{view.job.job_key}/parts/0/outlines/{index}").json()
        found = {one["label"]: _refilled(one["loops"], masks[0].shape[1:]) for one in answer["findings"]}
        for label, mask in zip(("liver", "spleen"), masks, strict=True):
            np.testing.assert_array_equal(found.get(label, np.zeros_like(mask[index])), mask[index])


def test_what_the_review_corrects_is_shown_corrected(
    opened: tuple[Node, TestClient, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, client, study_uid = opened
    view = _jobs(node, study_uid)["TEST axial"]
    drawn = np.zeros_like(_masks(node, view)[0])
    drawn[3, 5:9, 6:20] = True
    folder = node.folder.root / "reviews" / study_uid
    folder.mkdir(parents=True)
    write_masks(folder / "drawn.npz", [drawn], drawn.shape)
    digest = hashlib.sha256((folder / "drawn.npz").read_bytes()).hexdigest()
    (folder / "drawn.npz").rename(folder / f"{digest}.npz")
    place = FindingPlace(view.job.job_key, 0, 0)
    now = datetime(2026, 11, 30, tzinfo=UTC)
    verdict = FindingVerdict(place, VerdictKind.OUTLINE, correction=digest)
    review = Review(StudyUID(study_uid), 1, 1, ReviewState.DRAFT, 1, "reader", "", (verdict,), (), "", now, now)
    monkeypatch.setattr(node.repository, "review", lambda _uid: review)
    root = f"/studies/{study_uid}/jobs/{view.job.job_key}/parts/0"
    (liver,) = client.get(f"{root}/outlines/3").json()["findings"]
    assert (liver["label"], liver["corrected"]) == ("liver", True)
    np.testing.assert_array_equal(_refilled(liver["loops"], drawn.shape[1:]), drawn[3])
    model = client.get(f"/studies/{study_uid}/model").json()
    shown = next(one for one in model["jobs"] if one["job_key"] == view.job.job_key)
    assert shown["answers"][0]["findings"][0]["slices"] == [[3, 3]]


def test_without_kept_masks_outlines_come_from_the_seg(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    view = _jobs(node, study_uid)["TEST oblique"]
    masks = _masks(node, view)
    for one in view.objects:
        (node.folder.absolute(one.result.path).parent / mask_file_name(0)).unlink(missing_ok=True)
    index = int(np.argmax(masks[1].sum(axis=(1, 2))))
    answer = client.get(f"/studies/{study_uid}/jobs/{view.job.job_key}/parts/0/outlines/{index}").json()
    for one, mask in zip(answer["findings"], masks, strict=True):
        np.testing.assert_array_equal(_refilled(one["loops"], mask.shape[1:]), mask[index])


def _masks(node: Node, view: JobView) -> tuple[NDArray[np.bool_], ...]:
    return read_masks(node.folder.absolute(view.objects[0].result.path).parent / mask_file_name(0))


def _refilled(loops: list[list[list[int]]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    walls = np.zeros((shape[0], shape[1] + 1), dtype=int)
    for loop in loops:
        for (column, row), (next_column, next_row) in zip(loop, loop[1:] + loop[:1], strict=True):
            if column == next_column:
                walls[min(row, next_row) : max(row, next_row), column] += 1
    return (np.cumsum(walls, axis=1)[:, :-1] % 2).astype(bool)


def test_the_model_says_what_was_asked_and_seen(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST axial"].job
    model = client.get(f"/studies/{study_uid}/model", params={"job": job.job_key}).json()
    shown = next(one for one in model["jobs"] if one["job_key"] == job.job_key)
    liver, spleen = shown["answers"][0]["findings"]
    assert (liver["label"], liver["place"]) == ("liver", f"{job.job_key}/0/0")
    assert liver["slices"][0][0] <= liver["largest_slice"] <= liver["slices"][0][1]
    assert liver["tracking_uid"] not in ("", spleen["tracking_uid"])
    assert shown["answers"][1]["not_seen"] == ["kidney left", "kidney right"]
    assert model["research"] is True
    (part,) = shown["parts"]
    assert part["planes"] is True
    assert part["letters"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert part["windows"][0]["name"] == "Soft tissue"
    assert part["unit"] == "HU"


def test_a_tilted_gantry_stays_a_slice_view(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST tilted gantry"].job
    model = client.get(f"/studies/{study_uid}/model", params={"job": job.job_key}).json()
    (part,) = next(one for one in model["jobs"] if one["job_key"] == job.job_key)["parts"]
    assert (part["planes"], part["why_no_planes"]) == (
        False,
        "the series has a tilted gantry, and voxels of a volume are boxes; draw on the slices",
    )


def test_hostile_texts_are_texts(opened: tuple[Node, TestClient, str]) -> None:
    _, client, study_uid = opened
    page = client.get(f"/studies/{study_uid}").text
    body = page.replace(re.search(r'<script type="application/json".*?</script>', page, re.DOTALL).group(), "")  # type: ignore[union-attr]
    assert "<img src=x" not in page
    assert "‮" not in re.sub(r"<bdi[^>]*>.*?</bdi>", "", body, flags=re.DOTALL)
    assert "all 65," in unescape(body)
    embedded = re.search(r'id="model">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    texts = [one["text"] for job in json.loads(embedded.group(1))["jobs"] for one in job["answers"]]
    assert any(text.startswith('<img src=x onerror="alert(1)"></script>') for text in texts)


def test_nothing_runs_or_is_styled_inline(opened: tuple[Node, TestClient, str]) -> None:
    _, client, study_uid = opened
    page = client.get(f"/studies/{study_uid}").text
    outside = re.sub(r"<bdi[^>]*>.*?</bdi>|<script type=\"application/json\".*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", outside)
    assert not re.search(r"<script(?![^>]*(src=|application/json))", outside)


def test_a_study_that_was_deleted_while_open_is_a_sentence(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST axial"].job
    node.repository.cancel(study_uid, "operator")
    purged = node.repository.purge(study_uid, "operator")
    assert purged is not None and not purged.refused
    page = client.get(f"/studies/{study_uid}")
    assert (page.status_code, "the worklist shows what is here" in page.text) == (404, True)
    for path in ("model", f"jobs/{job.job_key}/parts/0/slices/0/values", f"jobs/{job.job_key}/parts/0/outlines/0"):
        answer = client.get(f"/studies/{study_uid}/{path}")
        assert answer.status_code == 404
        assert "worklist" in answer.json()["detail"]
    assert client.get(f"/studies/{study_uid}/thumbnail").headers["content-type"] == "image/png"


def test_a_damaged_image_is_not_shown_and_the_others_are(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST axial"].job
    root = f"/studies/{study_uid}/jobs/{job.job_key}/parts/0/slices"
    client.get(f"/studies/{study_uid}/model", params={"job": job.job_key})
    files = _files(node, job)
    content = bytearray(files[3].read_bytes())
    content[-1] ^= 1
    files[3].write_bytes(content)
    answers = [client.get(f"{root}/{index}/values") for index in range(16)]
    damaged = [one for one in answers if one.status_code == 410]
    assert len(damaged) == 1
    assert "is damaged, and is not shown" in damaged[0].json()["detail"]
    assert node.repository.due_recoveries() == [study_uid]


def test_an_image_that_is_gone_is_a_sentence(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST axial"].job
    _files(node, job)[0].unlink()
    answer = client.get(f"/studies/{study_uid}/jobs/{job.job_key}/parts/0/slices/0")
    assert (answer.status_code, "send the study again" in answer.json()["detail"]) == (410, True)
    model = client.get(f"/studies/{study_uid}/model", params={"job": job.job_key}).json()
    (part,) = next(one for one in model["jobs"] if one["job_key"] == job.job_key)["parts"]
    assert part["trouble"]["why"] == "gone"


def test_without_what_was_kept_of_headers_the_page_is_the_same(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    kept = list((node.folder.results / study_uid).rglob(STACKS_FILE))
    assert len(kept) == len(_jobs(node, study_uid))
    before = _models(client, node, study_uid)
    for path in kept:
        path.unlink()
    person = Person("reader", "Test^Reader", Role.REVIEWER, "token")
    again = TestClient(create_app(node, OpenDoor(person)), base_url="http://127.0.0.1")  # it has looked at nothing
    assert _models(again, node, study_uid) == before


def _models(client: TestClient, node: Node, study_uid: str) -> list[object]:
    """What the page knows with the images of each job looked at."""
    jobs = [one.job.job_key for one in _jobs(node, study_uid).values()]
    return [client.get(f"/studies/{study_uid}/model", params={"job": job}).json() for job in jobs]


@pytest.mark.parametrize(
    "path", ["slices/999/values", "slices/-1", "slices/0?window=x", "slices/0?window=1,nan", "outlines/999"]
)
def test_what_is_not_there_is_answered_so(opened: tuple[Node, TestClient, str], path: str) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST axial"].job
    status = client.get(f"/studies/{study_uid}/jobs/{job.job_key}/parts/0/{path}").status_code
    assert status in (200, 400, 404)
    assert client.get(f"/studies/1.2.3/jobs/{job.job_key}/parts/0/slices/0").status_code == 404
    assert client.get(f"/studies/{study_uid}/jobs/{job.job_key}/parts/7/slices/0").status_code == 404


def test_the_thumbnail_is_small_marked_and_kept(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    content = client.get(f"/studies/{study_uid}/thumbnail").content
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert pixels.shape == (112, 112, 3)
    assert (np.ptp(pixels, axis=2) > 60).any(), "a contour has a colour"
    assert len(list((node.folder.results / study_uid).glob("thumbnail-*.png"))) == 1
    shutil.rmtree(node.folder.instances)
    assert client.get(f"/studies/{study_uid}/thumbnail").content == content


def test_values_are_sent_compressed(opened: tuple[Node, TestClient, str]) -> None:
    node, client, study_uid = opened
    job = _jobs(node, study_uid)["TEST axial"].job
    address = f"/studies/{study_uid}/jobs/{job.job_key}/parts/0/slices/2/values"
    with client.stream("GET", address) as answer:
        assert gzip.decompress(b"".join(answer.iter_raw()))
        assert answer.headers["content-encoding"] == "gzip"


def test_an_unknown_study_has_an_empty_thumbnail(client_of: Callable[[Role], TestClient]) -> None:
    assert client_of(Role.VIEWER).get("/studies/1.2.3/thumbnail").headers["content-type"] == "image/png"
