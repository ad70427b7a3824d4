"""protocols test, replay and keep, as a person calls them on folders of files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
import yaml
from click.testing import Result
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from tests.scene import scene_node
from tests.unit.workflows.planned import job_planned_with
from workflows.commands import keeping, trying
from workflows.errors import CallError, ProtocolErrors

CT = """\
name: {name}
version: "1"
series: {{where: {{modality: {modality}, description: {{pattern: ['{words}']}}}}}}
questions:
  - {{id: a, text: "Where is the liver?", findings: liver}}
examples:   # of real ones
  - {{title: none, match: false, series: [{{Modality: US}}]}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSEG_NODE__NODE__DATA_DIR", str(tmp_path / "nothing"))
    images = tmp_path / "images"
    images.mkdir()
    header = dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    header.StudyDescription, header.SeriesDescription = "CT Abdomen Compressed", "Abdomen venous"
    for number in range(3):
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid(None, [str(number)])
        header.save_as(images / f"{number}.dcm")
    (images / "notes.txt").write_text("no DICOM")
    return tmp_path


def rules(folder: Path, name: str, **protocols: tuple[str, str]) -> Path:
    directory = folder / name
    directory.mkdir()
    for protocol, (modality, words) in protocols.items():
        (directory / f"{protocol}.yaml").write_text(CT.format(name=protocol, modality=modality, words=words))
    return directory


def call(*words: object) -> Result:
    app = typer.Typer()
    trying.register(app)
    keeping.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: object) -> str:
    error = call(*words).exception
    assert isinstance(error, CallError | ProtocolErrors), error
    return str(error)


def test_a_study_is_tried_on_every_protocol_and_why_is_told_to_the_last_condition(folder: Path) -> None:
    directory = rules(folder, "rules", abdomen=("CT", "abdomen"), head=("MR", "head"))
    found = call("test", "--study", folder / "images", "--protocols", directory, "--json", "--why")
    (study,) = json.loads(found.stdout)
    assert [(one["protocol"], one["asked"]) for one in study["verdicts"]] == [("abdomen", True), ("head", False)]
    assert study["series"][0]["instances"] == 3 and study["grounds"][1]["when"]["truth"] == "yes"
    shown = call("test", "--study", folder / "images", "--protocols", directory, "--protocol", "head")
    assert "series.where.modality modality CT is not MR" in shown.stdout and "abdomen 1" not in shown.stdout


def test_a_folder_without_images_and_a_name_that_is_nothing_are_wrong_calls(folder: Path) -> None:
    directory = rules(folder, "rules", abdomen=("CT", "abdomen"))
    (folder / "empty").mkdir()
    assert "does not exist" in refused("test", "--study", folder / "gone", "--protocols", directory)
    assert "holds no DICOM images: it is empty" in refused(
        "test", "--study", folder / "empty", "--protocols", directory
    )
    assert "no node to ask" in refused("test", "--study", "A-1", "--protocols", directory)
    assert "there are abdomen" in refused("test", "--study", folder, "--protocols", directory, "--protocol", "x")
    (directory / "other.yaml").write_text("name: [")
    assert "other.yaml:1" in refused("replay", "--study-folder", folder, "--protocols", directory)
    assert "how far back" in refused("replay", "--protocols", rules(folder, "more", abdomen=("CT", "abdomen")))


def test_two_sets_of_rules_are_compared_over_a_folder_as_text_json_and_page(folder: Path) -> None:
    before, after = rules(folder, "before", a=("CT", "abdomen")), rules(folder, "after", a=("CT", "head"))
    words = ("replay", "--study-folder", folder / "images", "--protocols", before, "--against", after)
    told = call(*words, "--html", folder / "page.html").stdout
    assert "+0 -1 the same 0" in told and "not measured" in told
    assert "no longer asked" in (folder / "page.html").read_text("utf-8")
    found = json.loads(call(*words, "--json").stdout)
    assert found["series"] == {"added": 0, "removed": 1, "same": 0, "other_questions": 0}
    assert (
        found["rules"]["before"]["digest"] != found["rules"]["after"]["digest"] and found["minutes"]["before"] is None
    )
    nothing = call("replay", "--study-folder", folder / "images", "--protocols", after).stdout
    assert "1 study: 0 asked, 1 that nothing matches" in nothing and "CT CT Abdomen" in nothing


def test_what_is_off_or_asks_nothing_before_and_after_stands_in_one_line_but_with_all(folder: Path) -> None:
    before = rules(folder, "before", a=("CT", "abdomen"), b=("MR", "head"), c=("CT", "abdomen"), d=("CT", "abdomen"))
    for name in "cd":
        (before / f"{name}.yaml").write_text((before / f"{name}.yaml").read_text() + "off: not learned\n")
    words = ("--study-folder", folder / "images", "--protocols", before)
    against = folder / "after"
    shutil.copytree(before, against)
    (against / "a.yaml").write_text((before / "a.yaml").read_text().replace('"Where is the liver?"', '"The liver?"'))
    tried = call("test", "--study", folder / "images", "--protocols", before)
    assert "2 protocols are off: c, d; --all shows them" in tried.stdout and "not learned" not in tried.stdout
    assert call("test", "--study", folder / "images", "--protocols", before, "--all").stdout.count("not learned") == 2
    summed = call("replay", *words).stdout
    assert "2 protocols are off: c, d; --all shows them" in summed and "b 1" in summed and "c 1" not in summed
    assert "off: not learned" in call("replay", *words, "--all").stdout
    changed = call("replay", *words, "--against", against).stdout
    assert "1 study, 1 of them change: +0 -0 the same 1 series, 1 of them with other questions" in changed
    assert "3 protocols are unchanged and asked nothing: b, c, d; --all shows them" in changed
    assert "question - Where is the liver?" in changed and "question + The liver?" in changed


def test_a_study_becomes_an_example_of_the_file_that_is_checked_with_it(folder: Path) -> None:
    directory = rules(folder, "rules", abdomen=("CT", "abdomen"), head=("CT", "head"))
    file = directory / "abdomen.yaml"
    before = file.read_text()
    words = ("keep", folder / "images", "--protocol", "abdomen", "--title", "a small one")
    assert call(*words, "--into", file, "--yes").exit_code == 0
    assert file.read_text().startswith(before.rstrip("\n"))  # with its comments
    example = yaml.safe_load(file.read_text())["examples"][1]
    assert example["title"] == "a small one" and example["asks"] == ["Abdomen venous"]
    assert "CompressedSamples" not in file.read_text() and "1CT1" not in file.read_text()  # the patient's name and ID
    assert "does not ask this study" in refused(
        "keep", folder / "images", "--protocol", "head", "--protocols", directory
    )
    assert "is not the file of head" in refused(
        "keep", folder / "images", "--protocol", "head", "--no-match", "--into", file
    )
    printed = call("keep", folder / "images", "--protocol", "head", "--no-match", "--protocols", directory)
    assert yaml.safe_load(printed.stdout)[0]["match"] is False


def test_studies_whose_headers_are_not_known_are_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_NODE__NODE__DATA_DIR", str(folder / "node"))
    repository = scene_node(folder / "node").repository
    words = ("replay", "--days", "1", "--protocols", rules(folder, "rules", abdomen=("CT", "abdomen")))
    assert "no study was planned in this time" in call(*words).stdout
    job_planned_with(repository, "")
    told = call(*words).stdout
    assert told.startswith("1 study was planned in this time") and "its headers are not known" in told
    repository.close()
