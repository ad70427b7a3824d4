"""The right folder: a data folder and a database belong to one node, or nothing starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workflows.data_folder import DataFolder, new_node_uid
from workflows.errors import SettingsError
from workflows.ownership import require_own_folder
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.records import NewInstance
from workflows.state.repository import Repository


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / "data").mkdir()
    return DataFolder(tmp_path / "data")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    engine = open_engine(f"sqlite:///{tmp_path / 'state.db'}")
    upgrade_schema(engine)
    return Repository(engine)


def receive(repository: Repository, folder: DataFolder, number: int = 1) -> Path:
    """A received instance: its row, and its file."""
    path = Path("instances", "1.2", "1.2.3", f"{number}.dcm")
    new = NewInstance("1.2", "1.2.3", f"1.2.3.{number}", "c", "t", path, 1, "d", "CT1")
    repository.record_instances([new], lambda _title: 60)
    folder.absolute(path).parent.mkdir(parents=True, exist_ok=True)
    folder.absolute(path).touch()
    return folder.absolute(path)


def test_a_new_node_gives_both_one_identity_and_keeps_it(folder: DataFolder, repository: Repository) -> None:
    uid = require_own_folder(folder, repository)
    assert folder.node_uid() == repository.node_uid() == uid
    receive(repository, folder)
    assert require_own_folder(folder, repository) == uid
    assert uid != new_node_uid()


def test_a_missing_mount_is_refused_and_nothing_is_written_into_it(folder: DataFolder, repository: Repository) -> None:
    uid = require_own_folder(folder, repository)
    receive(repository, folder)
    away = folder.root.rename(folder.root.with_name("away"))
    folder.root.mkdir()
    with pytest.raises(SettingsError, match="is empty: mount or restore the folder of this node"):
        require_own_folder(folder, repository)
    assert list(folder.root.iterdir()) == []
    folder.root.rmdir()
    away.rename(folder.root)
    assert require_own_folder(folder, repository) == uid


def test_an_empty_folder_beside_a_database_without_instances_is_a_new_one(
    folder: DataFolder, repository: Repository
) -> None:
    uid = require_own_folder(folder, repository)
    folder.marker.unlink()
    assert require_own_folder(folder, repository) == uid == folder.node_uid()


def test_another_nodes_folder_is_refused_and_stays_as_it_is(folder: DataFolder, repository: Repository) -> None:
    require_own_folder(folder, repository)
    folder.marker.unlink()
    folder.claim("b" * 32)
    before = folder.marker.read_bytes()
    with pytest.raises(SettingsError, match="belongs to another node"):
        require_own_folder(folder, repository)
    assert folder.marker.read_bytes() == before


def test_a_database_of_0_1_and_its_folder_are_adopted(folder: DataFolder, repository: Repository) -> None:
    receive(repository, folder)
    uid = require_own_folder(folder, repository)
    assert folder.node_uid() == repository.node_uid() == uid


@pytest.mark.parametrize("marked", [False, True])
def test_a_database_of_0_1_is_not_given_a_folder_that_has_none_of_its_files(
    folder: DataFolder, repository: Repository, marked: bool
) -> None:
    receive(repository, folder).unlink()
    (folder.instances / "1.9").mkdir()
    if marked:
        folder.claim("b" * 32)
    with pytest.raises(SettingsError, match="has none of the files that the database knows"):
        require_own_folder(folder, repository)
    assert repository.node_uid() is None


def test_a_lost_marker_is_made_again_where_the_files_prove_whose_folder_it_is(
    folder: DataFolder, repository: Repository
) -> None:
    uid = require_own_folder(folder, repository)
    receive(repository, folder)
    folder.marker.unlink()
    assert require_own_folder(folder, repository) == uid == folder.node_uid()


def test_an_empty_database_takes_no_other_nodes_instances_without_being_told(
    folder: DataFolder, repository: Repository
) -> None:
    folder.claim("c" * 32)
    (folder.instances / "1.9").mkdir(parents=True)
    with pytest.raises(SettingsError, match="belongs to node cccccccc, and this database knows no node"):
        require_own_folder(folder, repository)
    folder.marker.unlink()
    assert require_own_folder(folder, repository) == folder.node_uid()


def test_a_folder_without_instances_gives_an_empty_database_its_identity(
    folder: DataFolder, repository: Repository
) -> None:
    folder.claim("c" * 32)
    assert require_own_folder(folder, repository) == "c" * 32 == repository.node_uid()


def test_a_missing_mount_of_the_instances_alone_is_refused(folder: DataFolder, repository: Repository) -> None:
    require_own_folder(folder, repository)
    receive(repository, folder)
    folder.instances.rename(folder.root / "away")
    with pytest.raises(SettingsError, match="instances is empty, and the database knows instances"):
        require_own_folder(folder, repository)
    (folder.instances / "gone").mkdir(parents=True)
    require_own_folder(folder, repository)


def test_a_marker_that_cannot_be_read_is_named(folder: DataFolder, repository: Repository) -> None:
    folder.marker.write_text("no JSON")
    with pytest.raises(SettingsError, match=r"node\.json cannot be read"):
        require_own_folder(folder, repository)
    folder.marker.write_text('{"node": null}')
    with pytest.raises(SettingsError, match=r"node\.json names no node"):
        require_own_folder(folder, repository)


def test_a_folder_can_be_moved_with_its_database(folder: DataFolder, repository: Repository) -> None:
    uid = require_own_folder(folder, repository)
    receive(repository, folder)
    moved = DataFolder(Path(shutil.move(folder.root, folder.root.with_name("moved"))))
    assert require_own_folder(moved, repository) == uid
    (instance,) = repository.instances("1.2")
    assert moved.absolute(instance.path).is_file()
