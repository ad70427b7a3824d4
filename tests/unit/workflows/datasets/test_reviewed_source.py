"""Accepted and corrected masks of a node become a set of MedSeg-QA, with nothing in it that says whose they are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from dicom_node.results.mask_file import write_masks
from inference.medseg_qa.builder import BuildOptions, build
from inference.medseg_qa.commands import make_app
from inference.medseg_qa.errors import SourceError
from inference.medseg_qa.leaks import find_leaks
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import Skip, SourceImage, open_source
from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.datasets.dicom_source import open_dicom
from workflows.datasets.reviewed_source import LICENCE, dataset_key, open_reviewed, writing_on
from workflows.state.records import Job
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import FindingPlace, FindingVerdict, Missed, ReviewState, VerdictKind
from workflows.steps.agreement import masks_of

AT = datetime(2026, 11, 4, 12, tzinfo=UTC)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "medseg-node.toml").write_text('[node]\ndata_dir = "data"\n')
    node = scene_node(tmp_path / "data")
    make_scene(node, tmp_path / "images")
    return node


@pytest.fixture
def named(tmp_path: Path, node: Node) -> Path:
    return Path(f"reviewed:{tmp_path / 'medseg-node.toml'}")


def axial(node: Node) -> Job:
    (view,) = node.repository.study_views()
    return next(one.job for one in view.jobs if one.job.parts[0].slices > 1)


def written(node: Node, verdicts: Sequence[FindingVerdict], missed: Sequence[Missed] = ()) -> None:
    with node.repository._writing() as session:
        session.add(
            ReviewRow(
                study_uid=axial(node).study_uid,
                number=1,
                generation=1,
                state=ReviewState.WRITTEN,
                version=1,
                reviewer="anna",
                name="Test^Anna",
                verdicts=[one.as_json() for one in verdicts],
                missed=[one.as_json() for one in missed],
                reason="",
                started_at=AT,
                changed_at=AT,
                written_at=AT,
            )
        )


def drawn(node: Node, mask: np.ndarray) -> str:
    folder = node.folder.reviews / axial(node).study_uid
    folder.mkdir(parents=True, exist_ok=True)
    write_masks(folder / "draft.npz", [mask], mask.shape)
    digest = hashlib.sha256((folder / "draft.npz").read_bytes()).hexdigest()
    (folder / "draft.npz").replace(folder / f"{digest}.npz")
    return digest


def places(node: Node) -> tuple[FindingPlace, FindingPlace]:
    key = axial(node).job_key
    return FindingPlace(key, 0, 0), FindingPlace(key, 0, 1)


def images(named: Path) -> list[SourceImage]:
    return [one for one in open_source(named, (open_dicom, open_reviewed)) if isinstance(one, SourceImage)]


def test_a_set_of_what_was_accepted_and_corrected_says_nothing_of_whose_it_is(
    node: Node, named: Path, tmp_path: Path
) -> None:
    liver, spleen = places(node)
    ours = masks_of(axial(node), node.repository, node.folder)[0, 0]
    theirs = np.zeros_like(ours)
    theirs[ours.shape[0] // 2, 5:9, 5:9] = True
    written(
        node,
        [
            FindingVerdict(liver, VerdictKind.OUTLINE, correction=drawn(node, theirs)),
            FindingVerdict(spleen, VerdictKind.ACCEPT),
        ],
    )
    report = build(open_source(named, (open_dicom, open_reviewed)), tmp_path / "set", BuildOptions())
    assert report.records > 0
    records = list(read_records(tmp_path / "set"))
    labels = {target.label for record in records for target in record.targets}
    assert labels == {"liver", "spleen"} and {record.licence for record in records} == {LICENCE}
    assert sum(target.label == "liver" for record in records for target in record.targets) == 1, "theirs has one slice"
    assert find_leaks(tmp_path / "set") == []
    assert {len(record.group.split("/")[1]) for record in records} == {16}
    told = "".join(path.read_text() for path in (tmp_path / "set").rglob("*.json*"))
    told += " ".join(str(path) for path in (tmp_path / "set").rglob("*"))
    image = dcmread(next(iter(node.folder.instances.rglob("*.dcm"))), stop_before_pixels=True)
    for value in (image.PatientID, str(image.PatientName), image.StudyDate, image.StudyInstanceUID):
        assert str(value) not in told
    assert not re.search(r"\d+\.\d+\.\d+\.\d+\.\d+", told), "no UID"
    assert axial(node).job_key not in told
    (row,) = node.repository.audit_entries("export")
    assert row.subject == "reviewed masks for MedSeg-QA" and row.counts == {"studies": 1}


def test_rejected_masks_teach_that_nothing_is_there_and_unsure_ones_nothing(node: Node, named: Path) -> None:
    liver, spleen = places(node)
    key = liver.job_key
    written(
        node,
        [FindingVerdict(liver, VerdictKind.NOT_THERE), FindingVerdict(spleen, VerdictKind.ACCEPT)],
        [Missed(key, 1, "kidney left", 1, 1, 1)],
    )
    found = images(named)
    assert found and {one.searched for one in found} == {("liver", "spleen")}
    assert {label for one in found for label in one.load().masks} == {"spleen"}


@pytest.mark.parametrize("kind", [VerdictKind.OUTLINE, VerdictKind.NAME])
def test_a_finding_that_is_wrong_and_not_corrected_is_left_out(node: Node, named: Path, kind: VerdictKind) -> None:
    liver, spleen = places(node)
    written(node, [FindingVerdict(liver, kind), FindingVerdict(spleen, VerdictKind.ACCEPT)])
    found = images(named)
    assert {one.searched for one in found} == {("spleen",)}
    assert {label for one in found for label in one.load().masks} == {"spleen"}


def test_a_finding_of_another_name_has_that_name(node: Node, named: Path) -> None:
    liver, spleen = places(node)
    written(
        node, [FindingVerdict(liver, VerdictKind.NAME, label="stomach"), FindingVerdict(spleen, VerdictKind.ACCEPT)]
    )
    assert {label for one in images(named) for label in one.load().masks} == {"stomach", "spleen"}


def test_images_that_are_gone_are_refused_by_the_name_of_their_job(node: Node, named: Path) -> None:
    liver, _ = places(node)
    written(node, [FindingVerdict(liver, VerdictKind.ACCEPT)])
    job = axial(node)
    (gone, *_) = (one for one in node.repository.instances(job.study_uid) if one.series_uid == job.series_uid)
    node.repository.lose_instances(job.study_uid, [str(gone.path)])
    (skip,) = open_source(named, (open_dicom, open_reviewed))
    assert isinstance(skip, Skip) and "removed, replaced or purged" in skip.detail and job.job_key not in skip.detail


def test_hashes_need_the_key_of_the_node(node: Node, named: Path) -> None:
    key = dataset_key(node.folder)
    assert dataset_key(node.folder) == key and len(key) == 32
    assert (node.folder.root / "dataset.key").stat().st_mode & 0o777 == 0o600
    written(node, [FindingVerdict(places(node)[0], VerdictKind.ACCEPT)])
    first = images(named)[0].group
    (node.folder.root / "dataset.key").unlink()
    assert images(named)[0].group != first


@pytest.mark.parametrize(
    ("modality", "stated", "image_type", "left_out"),
    [
        ("CT", "", "ORIGINAL\\PRIMARY", False),
        ("CT", "YES", "ORIGINAL\\PRIMARY", True),
        ("CT", "", "DERIVED\\SECONDARY", True),
        ("US", "", "ORIGINAL\\PRIMARY", True),
        ("US", "NO", "ORIGINAL\\PRIMARY", False),
    ],
)
def test_what_may_show_writing(modality: str, stated: str, image_type: str, left_out: bool) -> None:
    from types import SimpleNamespace

    from pydicom.dataset import Dataset

    header = Dataset()
    header.BurnedInAnnotation, header.ImageType = stated, image_type.split("\\")
    volume = SimpleNamespace(source=header, modality=modality)
    assert bool(writing_on(volume)) is left_out  # type: ignore[arg-type]


def test_a_configuration_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="reviewed:"):
        open_source(Path(f"reviewed:{tmp_path / 'none.toml'}"), (open_reviewed,))
    with pytest.raises(SourceError, match="is not a folder"):
        open_source(tmp_path / "none", (open_reviewed,))


def test_by_the_command(node: Node, named: Path, tmp_path: Path) -> None:
    written(node, [FindingVerdict(places(node)[0], VerdictKind.ACCEPT)])
    app = make_app((open_dicom, open_reviewed))
    done = CliRunner().invoke(app, ["build", "--images", str(named), "--out", str(tmp_path / "set")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "set" / "records.jsonl").read_text().splitlines()[0])["dataset"] == "reviewed"
