"""A node in one process: it listens, puts what comes into its journal, and indexes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.errors import JournalInUse
from dicom_node.identifiers import derived_uid
from dicom_node.network.storage_scu import Delivery, Peer, send
from tests.services import free_port
from workflows.bootstrap import Node
from workflows.settings import load_settings


def instances(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    dataset = dcmread(get_testdata_file("CT_small.dcm", download=False))
    paths = []
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = derived_uid("bootstrap", str(number))
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1])
    return paths


def node_in(folder: Path, **settings: str) -> Node:
    own = {"NODE__DATA_DIR": str(folder / "data"), "NODE__PORT": str(free_port()), **settings}
    return Node(load_settings(None, {f"MEDSEG_NODE__{name}": value for name, value in own.items()}))


def sent(node: Node, files: list[Path]) -> list[Delivery]:
    peer = Peer(node.settings.node.ae_title, node.settings.node.host, node.settings.node.port)
    return [outcome.delivery for outcome in send(files, peer, "CT1")]


def indexed(node: Node) -> int:
    return sum(len(rows) for _study, rows in node.repository.held_studies())


def test_what_was_acknowledged_is_indexed_when_the_node_has_ended(tmp_path: Path) -> None:
    node, files = node_in(tmp_path), instances(tmp_path / "ct", 5)
    with node.storage_scp():
        assert sent(node, files) == [Delivery.DELIVERED] * 5
        with pytest.raises(JournalInUse), node.indexing():
            pass
    assert indexed(node) == 5


def test_intake_goes_on_without_the_database_and_is_indexed_by_the_next_start(tmp_path: Path) -> None:
    node, files = node_in(tmp_path), instances(tmp_path / "ct", 3)
    assert node.node_uid
    away = node_in(tmp_path, DATABASE__URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with away.storage_scp():
        assert sent(away, files) == [Delivery.DELIVERED] * 3
    assert indexed(node) == 0
    with node.indexing():
        pass
    assert indexed(node) == 3
