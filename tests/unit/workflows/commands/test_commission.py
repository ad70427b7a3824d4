"""The way of the body through an archive, played by a folder: what is refused, hidden, lost or kept is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from rich.console import Console

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.headers.instance import read_identifiers
from dicom_node.network.commitment import CommitmentAnswer
from dicom_node.network.records import FoundInstance
from dicom_node.network.status import Delivery
from dicom_node.network.storage_scu import SendOutcome
from workflows.commands.commission import Connections, archive_named, as_json, commission
from workflows.commands.commissioned import show_commissioned
from workflows.errors import CallError, CommissioningStopped
from workflows.settings import Settings

pytestmark = pytest.mark.slow  # four series are read
ARCHIVE = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "profile": "slicer"}
SETTINGS = Settings.model_validate({"archives": [ARCHIVE]})


class FolderArchive:
    """An archive that is a folder. `refused`: Modalities that it does not take; `hidden`: not shown by query."""

    def __init__(self, folder: Path, *, refused: Sequence[str] = (), hidden: bool = False, query: bool = True) -> None:
        self.folder, self.refused, self.hidden, self.query = folder, refused, hidden, query
        self.removed: list[str] = []
        folder.mkdir()

    def send(self, paths: Sequence[Path]) -> Generator[SendOutcome, None, None]:
        for path in paths:
            uid = read_identifiers(path).sop_instance_uid
            if path.name.split(".")[0] in self.refused:
                yield SendOutcome(path, uid, 0x0122, Delivery.REFUSED, "status 0x0122")
                continue
            shutil.copy(path, self.folder / f"{uid}.dcm")
            yield SendOutcome(path, uid, 0, Delivery.DELIVERED)

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]:
        if not self.query:
            raise PeerRejected("PACS@127.0.0.1:104 offers no C-FIND")
        named = [read_identifiers(path) for path in self.folder.iterdir()]
        return [
            FoundInstance(study_uid, series_uid, one.sop_instance_uid, "")
            for one in named
            if not self.hidden and one.series_uid == series_uid
        ]

    def retrieve(self, study_uid: str, folder: Path, **_: Any) -> list[Path]:
        return [Path(shutil.copy(path, folder)) for path in self.folder.iterdir()]

    def delete(self, study_uid: str) -> bool:
        self.removed.append(study_uid)
        return True

    def connections(self) -> Connections:
        return Connections(self.send, self, self.delete)  # type: ignore[arg-type]


def run(archive: FolderArchive, folder: Path, **options: Any) -> Any:
    connections = options.pop("connections", archive.connections())
    return commission(SETTINGS.archives[0], SETTINGS, folder, connections, patience_s=0.2, **options)


def test_a_faithful_archive_gives_every_mark_back_and_is_left_as_it_was(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")
    said: list[str] = []
    done = run(archive, tmp_path / "out", tell=said.append)
    assert done.verdict.ok and done.removed and archive.removed == [done.study_uid]
    assert done.report.read_bytes().startswith(b"%PDF")
    written = json.loads((done.folder / "report.json").read_text())
    assert (
        written["ok"] and len(written["series"]) == 4 and written["series"][0]["marks"][0]["off"]["by_positions"] == 0
    )
    assert any("sending the body's images: 63 of 63" in one for one in said) and "checking what came back" in said
    console = Console(record=True, width=120, file=(tmp_path / "terminal").open("w"))
    show_commissioned(done, console)
    shown = console.export_text()
    assert "all marks came back: archive pacs, profile slicer" in shown and shown.count("right 2") == 4
    assert "The study was removed from archive pacs." in shown and str(done.report) in shown.replace("\n", "")


PAIRS = Sequence[tuple[str, str]]
ALL, REASON = "the archive committed itself to all 70 instances", "the archive does not have the instance"


def fails(_: str, __: PAIRS) -> None:
    raise PeerRejected("PACS@127.0.0.1:104 offers no storage commitment")


@pytest.mark.parametrize(("commit", "said", "ok"), [
    (lambda uid, pairs: CommitmentAnswer(uid, frozenset(one for _, one in pairs), {}), ALL, True),
    (lambda uid, pairs: CommitmentAnswer(uid, frozenset(), {one: 0x0112 for _, one in pairs}),
     f"not to 70 of 70 instances: {REASON}", False),
    (lambda uid, pairs: CommitmentAnswer(uid, frozenset(one for _, one in pairs[1:]), {}),
     "not to 1 of 70 instances", False),
    (lambda *_: None, "asked; its answer goes to the node's own port and is not seen here", True),
    (fails, "not given: PACS@127.0.0.1:104 offers no storage commitment", False),
])  # fmt: skip
def test_whether_the_archive_committed_itself_is_told(
    commit: Callable[[str, PAIRS], CommitmentAnswer | None], said: str, ok: bool, tmp_path: Path
) -> None:
    archive = FolderArchive(tmp_path / "archive")
    done = run(archive, tmp_path / "out", connections=replace(archive.connections(), commit=commit))
    assert (done.commitment, done.ok, done.verdict.ok) == (said, ok, True) and done.removed
    assert as_json(done)["commitment"] == said and as_json(done)["ok"] is ok
    with pypdfium2.PdfDocument(done.report) as document:
        page = " ".join(document[0].get_textpage().get_text_range().split())
    assert f"Storage commitment: {said}" in page and ("All marks came back" in page) == ok
    console = Console(record=True, width=200, file=(tmp_path / "terminal").open("w"))
    show_commissioned(done, console)
    assert f"storage commitment: {said}" in console.export_text()


def test_a_refused_class_is_told_and_everything_else_is_proved(tmp_path: Path) -> None:
    done = run(FolderArchive(tmp_path / "archive", refused=["seg"]), tmp_path / "out", keep=True)
    assert not done.verdict.ok
    verdicts = {one.what: one for one in done.verdict.series[0].objects}
    assert verdicts["images"].ok and verdicts["SEG"].detail == "the archive did not take it: status 0x0122"
    assert not done.removed and "stays in archive pacs: patient MEDSEG-COMMISSIONING" in done.ending


def test_an_archive_that_takes_no_images_ends_it(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive", refused=["projection"])
    with pytest.raises(CommissioningStopped, match=r"did not take 1 of 63 images: status 0x0122\. The study was"):
        run(archive, tmp_path / "out")
    assert len(archive.removed) == 1


def test_an_archive_that_shows_nothing_ends_it_and_says_how_to_find_the_study(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive", hidden=True)
    without = replace(archive.connections(), delete=None)
    with pytest.raises(CommissioningStopped) as stopped:
        run(archive, tmp_path / "out", connections=without)
    assert "shows nothing of it by query within 0.2 s" in str(stopped.value)
    assert "The study stays in archive pacs: patient MEDSEG-COMMISSIONING, Study Instance UID 2.25." in str(
        stopped.value
    )


def test_an_archive_without_a_query_service_ends_it(tmp_path: Path) -> None:
    with pytest.raises(CommissioningStopped, match=r"offers no C-FIND; allow this node to query .* nothing can"):
        run(FolderArchive(tmp_path / "archive", query=False), tmp_path / "out")


def test_an_archive_that_is_down_is_named_and_nothing_is_said_to_stay(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")

    def down(_: Sequence[Path]) -> Generator[SendOutcome, None, None]:
        raise PeerUnreachable("PACS@127.0.0.1:104: no connection")
        yield

    with pytest.raises(PeerUnreachable, match=r"no connection$"):
        run(archive, tmp_path / "out", connections=replace(archive.connections(), send=down))
    assert archive.removed == []


def test_an_archive_that_is_not_configured_is_a_wrong_call() -> None:
    with pytest.raises(CallError, match=r"no archive is called 'x'; the configuration has 'pacs'"):
        archive_named(SETTINGS, "x")
