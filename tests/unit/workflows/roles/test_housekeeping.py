"""Housekeeping runs beside the scheduler: each work by itself, and one that fails stops none of the others."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.errors import StorageFull
from workflows.bootstrap import Node
from workflows.roles import housekeeping
from workflows.settings import load_settings
from workflows.state.records import NewInstance

SETTINGS = """
[retention]
inputs_days_after_commitment = 7
uncommitted_days = 0.5
budget_gb = 0.001

[[peers]]
ae_title = "CT1"
host = "127.0.0.1"
port = 104
evidence = "c-find"

[[peers]]
ae_title = "MR1"

[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 105
dicomweb_url = "http://127.0.0.1/dicom-web"
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    file = tmp_path / "node.toml"
    file.write_text(SETTINGS)
    return Node(load_settings(file, {"MEDSEG_NODE__NODE__DATA_DIR": str(tmp_path / "data")}))


def received(node: Node) -> None:
    new = NewInstance(
        study_uid="1.2", series_uid="1.2.1", sop_instance_uid="1.2.1.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1", path=Path("instances/1.2/1.2.1/1.dcm"), bytes=2_000_000,
        digest="d", calling_ae_title="CT1",
    )  # fmt: skip
    node.repository.record_instances([new], lambda _title: 60)


@pytest.mark.timeout(60)
def test_each_work_is_done_although_another_fails(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    received(node)
    done, stop = threading.Event(), threading.Event()

    def fail(_recovery: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(housekeeping, "recover_due", fail)
    monkeypatch.setattr(housekeeping, "retain", lambda *_: done.set())
    thread = housekeeping.start_housekeeping(node, stop)
    assert done.wait(50)
    stop.set()
    thread.join(50)
    assert not thread.is_alive()
    with pytest.raises(StorageFull, match=r"0\.002 of 0\.001 GB"):
        node.intake.room()()


@pytest.mark.timeout(60)
def test_an_archive_that_is_silent_keeps_nothing_else_waiting(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, asked, done, stop = threading.Event(), threading.Event(), threading.Event(), threading.Event()

    def ask(_recovery: object) -> None:
        asked.set()
        silent.wait(50)

    monkeypatch.setattr(housekeeping, "recover_due", ask)
    monkeypatch.setattr(housekeeping, "retain", lambda *_: asked.wait(50) and done.set())
    thread = housekeeping.start_housekeeping(node, stop)
    assert done.wait(50)
    stop.set()
    silent.set()
    thread.join(50)


def test_the_settings_become_rules_and_sources(node: Node) -> None:
    rules = node.keeping_rules
    assert (rules.after_commitment, rules.uncommitted, rules.shortest) == (
        timedelta(days=7), timedelta(hours=12), timedelta(hours=12),
    )  # fmt: skip
    assert [one.name for one in node.sources_of("CT1")] == ["CT1", "pacs"]
    assert [one.move is None for one in node.sources_of("CT1")] == [False, True]
    assert [one.name for one in node.sources_of("MR1")] == ["pacs"]
