"""A study of the node, or uploaded files, against all protocols."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from tests.scene import make_scene
from workflows.bootstrap import Node
from workflows.state.auditing import AuditAction
from workflows.state.tables import StudyRow

from .rules_scene import ABDOMEN, OFF, client_of, ct, rules_node

FILES = "/rules/test/files"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = rules_node(tmp_path, abdomen=ABDOMEN, heart=OFF)
    yield node
    node.repository.close()


@pytest.fixture
def client(node: Node) -> TestClient:
    return client_of(node)


@pytest.fixture
def nothing_written(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the test does writes no file, not even for a moment: temporary ones have no place to be in."""
    client.get("/rules")  # the rules are read
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    before = sorted(path for path in tmp_path.rglob("*") if path.suffix != ".sqlite-wal")
    yield
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix != ".sqlite-wal") == before


def sent(client: TestClient, *files: tuple[str, bytes]) -> str:
    answer = client.post(FILES, files=[("files", file) for file in files])
    assert answer.status_code == 200, answer.text
    return answer.text


def signs(page: str, protocol: str) -> list[str]:
    """What a protocol says of each series, in order."""
    row = page[page.index(f">{protocol}</bdi>") :]
    return re.findall(r'<span class="truth (\w+)">', row[: row.index("</tr>")])


@pytest.mark.usefixtures("nothing_written")
def test_uploaded_files_are_tried_on_every_protocol(client: TestClient) -> None:
    page = sent(
        client,
        ("a.dcm", ct()),
        ("b.dcm", ct(SeriesInstanceUID="1.2.3.2", SliceThickness=None, SeriesDescription="Abdomen <5.0>")),
        ("c.dcm", ct(SeriesInstanceUID="1.2.3.3", SeriesDescription="Head")),
    )
    assert signs(page, "abdomen") == ["yes", "unknown", "no"]
    assert signs(page, "heart") == ["no", "no", "no"]
    assert "Slice Thickness (0018,0050)" in page
    assert "Abdomen &lt;5.0&gt;" in page
    assert "series.where" in page, "where each condition stands in its file"
    assert "PHANTOM" not in page and "4711" not in page
    assert page.index("abdomen") < page.index("heart")
    assert "1 of 1 protocols ask, 1 is off" in page


@pytest.mark.usefixtures("nothing_written")
def test_what_is_no_dicom_is_named_and_the_rest_is_tried(client: TestClient) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("zeros", bytes(50_000_000))
    page = sent(
        client,
        ("../../etc/<b>.txt", b"no DICOM at all" * 1000),
        ("empty", b""),
        ("all.zip", archive.getvalue()),
        ("cut.dcm", ct()[:300]),
        ("right.dcm", ct()),
    )
    assert "an archive; unpack it" in page
    assert page.count("no DICOM file") >= 2
    assert "<b>.txt" not in page and "etc" not in page
    assert "yes" in signs(page, "abdomen")


@pytest.mark.usefixtures("nothing_written")
def test_a_deflated_bomb_is_named(client: TestClient) -> None:
    bomb = ct(deflated=True, ImageComments="0" * 60_000_000)
    assert len(bomb) < 200_000
    assert "bomb.dcm" in sent(client, ("bomb.dcm", bomb))


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("files", "status", "says"),
    [
        ([], 422, "Choose at least one file"),
        ([("files", (f"{number}.dcm", b"x")) for number in range(101)], 422, "at most 100 files"),
        ([("files", ("large.dcm", bytes(65_000_000)))], 413, "more than 64 MB"),
        ([("other", (None, "a text"))], 422, "Choose at least one file"),
    ],
)
def test_too_much_or_nothing_is_refused(
    client: TestClient, files: list[tuple[str, tuple[str, bytes]]], status: int, says: str
) -> None:
    answer = client.post(FILES, files=files)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.json()


def test_a_broken_form_is_refused(client: TestClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "application/json", ""):
        answer = client.post(FILES, content=b"--y\r\n\r\nnothing", headers={"Content-Type": kind})
        assert answer.status_code == 422, kind


def test_files_of_two_studies_are_told_apart(client: TestClient) -> None:
    page = sent(client, ("a", ct()), ("a", ct(StudyInstanceUID="1.2.4", StudyDescription="Another")))
    assert page.count('<table class="matrix">') == 2


def test_a_study_of_the_node_is_tried_and_the_look_is_recorded(node: Node, client: TestClient, tmp_path: Path) -> None:
    (body,) = make_scene(node, tmp_path / "images")
    page = client.get(f"/rules/test?study={body.study_uid}").text
    assert f'href="/studies/{body.study_uid}"' in page
    assert len(signs(page, "abdomen")) == len(body.series)
    assert [one.action for one in node.repository.audit_entries()] == [AuditAction.LOOK.value]
    assert f"/rules/test?study={body.study_uid}" in client.get(f"/studies/{body.study_uid}").text


def test_a_study_is_found_by_accession_number_which_stands_in_no_address(
    node: Node, client: TestClient, tmp_path: Path
) -> None:
    (body,) = make_scene(node, tmp_path / "images")
    with Session(node.repository._engine) as session, session.begin():
        session.get_one(StudyRow, body.study_uid).accession_number = "A-1"
    for typed in (body.study_uid, " A-1 "):
        found = client.post("/rules/test", data={"study": typed}, follow_redirects=False)
        assert (found.status_code, found.headers["location"]) == (303, f"/rules/test?study={body.study_uid}")
    for typed in ("nothing-like-it", "<b>", "1.2.99", "%", "x" * 200):
        missing = client.post("/rules/test", data={"study": typed})
        assert missing.status_code == 404 and "No study here" in missing.text and "<b></" not in missing.text
    assert client.get("/rules/test?study=1.2.99").status_code == 404
    assert client.post("/rules/test", data={"study": " "}).status_code == 422
