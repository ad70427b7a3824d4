"""What three planes and drawing get from the node, and corrections that come back to it."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from dicom_node.results.mask_file import read_masks
from dicom_node.results.nifti_stream import VoxelGrid, mask_stream
from tests.scene import make_scene, scene_node
from tests.unit.workflows.web.conftest import OpenDoor
from tests.unit.workflows.web.drawing_page import jobs_of, mask_of
from workflows.bootstrap import Node
from workflows.steps.corrections import correction_mask, keep_correction
from workflows.steps.purge import purge_study
from workflows.web.access import Person, Role
from workflows.web.app import create_app
from workflows.web.bodies import most_bytes
from workflows.web.pages import drawing

pytestmark = pytest.mark.slow  # a study is received and read


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, str]]:
    """A node, and the study that it has read."""
    folder = tmp_path_factory.mktemp("scene")
    node = scene_node(folder / "data")
    (body,) = make_scene(node, folder / "images")
    yield node, body.study_uid
    node.repository.close()


def client_of(node: Node, role: Role = Role.REVIEWER) -> TestClient:
    person = Person(role.value, "Test^Person", role, "token")
    return TestClient(create_app(node, OpenDoor(person)), base_url="http://127.0.0.1")


def path_of(node: Node, study_uid: str, series: str) -> str:
    return f"/studies/{study_uid}/jobs/{jobs_of(node, study_uid)[series].job_key}/parts/0"


def test_a_grid_says_whether_it_can_be_cut_in_planes_or_why_not(read: tuple[Node, str]) -> None:
    node, uid = read
    client = client_of(node, Role.VIEWER)
    grids = {series: client.get(f"{path_of(node, uid, series)}/grid").json() for series in jobs_of(node, uid)}
    assert {series: grid["planes"] for series, grid in grids.items()} == {
        "TEST axial": True, "TEST oblique": True, "TEST tilted gantry": False, "TEST projection": False,
    }  # fmt: skip
    assert "tilted gantry" in grids["TEST tilted gantry"]["why"] and "single slice" in grids["TEST projection"]["why"]
    assert grids["TEST projection"]["slice_voxel_ml"] is None
    assert len(grids["TEST tilted gantry"]["slice_voxel_ml"]) == grids["TEST tilted gantry"]["shape"][0]


def test_a_volume_comes_once_and_then_only_if_it_is_another(read: tuple[Node, str]) -> None:
    node, uid = read
    client, path = client_of(node, Role.VIEWER), path_of(node, uid, "TEST axial")
    answer = client.get(f"{path}/volume.nii.gz")
    shape = client.get(f"{path}/grid").json()["shape"]
    assert answer.status_code == 200 and answer.headers["cache-control"] == "private, no-cache"
    assert len(gzip.decompress(answer.content)) == 352 + 2 * np.prod(shape)
    again = client.get(f"{path}/volume.nii.gz", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    refused = client.get(f"{path_of(node, uid, 'TEST tilted gantry')}/volume.nii.gz")
    assert refused.status_code == 409 and "draw on the slices" in refused.json()["detail"]


@pytest.mark.parametrize("series", ["TEST axial", "TEST oblique", "TEST tilted gantry", "TEST projection"])
def test_a_finding_s_mask_saved_unchanged_is_that_mask(read: tuple[Node, str], series: str) -> None:
    node, uid = read
    client, path, job = client_of(node), path_of(node, uid, series), jobs_of(node, uid)[series]
    content = client.get(f"{path}/masks/0/1.nii.gz").content
    answer = client.post(f"{path}/corrections", content=content)
    assert answer.status_code == 200
    correction = node.repository.correction(uid, answer.json()["digest"])
    assert correction is not None and (correction.job_key, correction.part) == (job.job_key, 0)
    assert (correction.made_by, correction.voxels) == ("reviewer", answer.json()["voxels"])
    np.testing.assert_array_equal(correction_mask(correction, node.folder), mask_of(node, job, 0, 1))
    file = node.folder.absolute(correction.path)
    assert file.name == f"{correction.digest}.npz" and file.parent == node.folder.reviews / uid
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert client.post(f"{path}/corrections", content=content).json() == answer.json()
    back = client.get(f"{path}/corrections/{correction.digest}.nii.gz")
    assert gzip.decompress(back.content) == gzip.decompress(content)


def test_a_mask_of_another_series_is_refused_and_told_where_to_draw(read: tuple[Node, str]) -> None:
    node, uid = read
    client = client_of(node)
    other = client.get(f"{path_of(node, uid, 'TEST oblique')}/masks/0/0.nii.gz").content
    answer = client.post(f"{path_of(node, uid, 'TEST axial')}/corrections", content=other)
    assert answer.status_code == 409
    assert "a correction on another grid" in answer.json()["detail"]
    assert "draw on this series' own grid" in answer.json()["detail"]


def test_what_is_no_mask_is_refused_with_a_sentence(read: tuple[Node, str]) -> None:
    node, uid = read
    client, path = client_of(node), path_of(node, uid, "TEST axial")
    kept = len(node.repository.corrections(uid))
    empty = client.post(f"{path}/corrections", content=client.get(f"{path}/masks/empty.nii.gz").content)
    assert empty.status_code == 422 and "nothing is marked" in empty.json()["detail"]
    assert client.post(f"{path}/corrections", content=b"mask").status_code == 422
    large = client.post(f"{path}/corrections", content=bytes(20_000_000))
    assert large.status_code == 413 and "send the mask alone" in large.json()["detail"]
    assert len(node.repository.corrections(uid)) == kept


def test_a_viewer_looks_and_corrects_nothing(read: tuple[Node, str]) -> None:
    node, uid = read
    client, path = client_of(node, Role.VIEWER), path_of(node, uid, "TEST axial")
    content = client.get(f"{path}/masks/0/0.nii.gz").content
    assert client.post(f"{path}/corrections", content=content).status_code == 403


def test_what_is_not_known_is_not_found(read: tuple[Node, str]) -> None:
    node, uid = read
    client, path = client_of(node), path_of(node, uid, "TEST axial")
    for missing in (
        f"{path}/masks/0/9.nii.gz",
        f"{path}/masks/9/0.nii.gz",
        f"{path}/corrections/{'0' * 64}.nii.gz",
        path.replace("parts/0", "parts/7") + "/grid",
        path.replace(uid, "1.2.3") + "/grid",
        f"/studies/{uid}/jobs/none/parts/0/grid",
    ):
        assert client.get(missing).status_code == 404, missing


def test_the_same_box_on_two_series_of_one_shape_is_two_corrections(read: tuple[Node, str]) -> None:
    node, uid = read
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[1, 1, 1] = True
    now = datetime.now(UTC)
    kept = [keep_correction(mask, (uid, "job", part), "reviewer", now, node.repository, node.folder) for part in (0, 1)]
    assert len({one.digest for one in kept if one is not None}) == 2


def test_without_the_scripts_a_grid_says_so(read: tuple[Node, str], monkeypatch: pytest.MonkeyPatch) -> None:
    node, uid = read
    monkeypatch.setattr(drawing, "NIIVUE", Path("nowhere"))
    assert client_of(node).get(f"{path_of(node, uid, 'TEST axial')}/grid").json()["assets"] is False


def test_a_purge_takes_corrections_with_it_and_one_that_comes_later_leaves_no_file(tmp_path: Path) -> None:
    node = scene_node(tmp_path / "data")
    (body,) = make_scene(node, tmp_path / "images")
    client, path = client_of(node), path_of(node, body.study_uid, "TEST axial")
    content = client.get(f"{path}/masks/0/0.nii.gz").content
    digest = client.post(f"{path}/corrections", content=content).json()["digest"]
    file = node.folder.reviews / body.study_uid / f"{digest}.npz"
    (mask,) = read_masks(file)
    node.repository.cancel(body.study_uid, "administrator")  # nothing of it is on its way any more
    purged = purge_study(body.study_uid, "administrator", node.repository, node.store, node.folder)
    assert purged is not None and not purged.refused
    assert not file.exists() and node.repository.corrections(body.study_uid) == []
    late = keep_correction(mask, (body.study_uid, "job", 0), "x", datetime.now(UTC), node.repository, node.folder)
    assert late is None and not list((node.folder.reviews / body.study_uid).glob("*"))
    assert client.post(f"{path}/corrections", content=content).status_code == 404
    node.repository.close()


def test_a_grid_of_the_reader_s_own_is_refused(read: tuple[Node, str]) -> None:
    node, uid = read
    client, path = client_of(node), path_of(node, uid, "TEST axial")
    shape = tuple(client.get(f"{path}/grid").json()["shape"])
    grid = VoxelGrid((shape[0], shape[1], shape[2]), np.eye(4))
    content = b"".join(mask_stream(np.ones(grid.shape, dtype=bool), grid))
    assert client.post(f"{path}/corrections", content=content).status_code == 409


def test_a_large_mask_may_come_and_a_few_at_once() -> None:
    assert most_bytes(drawing.correct) > 100_000_000  # a drawn mask of 300 slices, whatever packing makes of it
    with drawing._saving("eva"), drawing._saving("eva"):
        with pytest.raises(HTTPException, match="save it again") as refused, drawing._saving("eva"):
            pass
        assert refused.value.status_code == 503
        with drawing._saving("ada"):
            pass
    assert not drawing._SAVING
