"""What `doctor` says of the protocols, and whether a node may start with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scene import scene_node
from tests.unit.workflows.planned import job_planned_with
from workflows.bootstrap import Node, checked_rules
from workflows.commands.checks import Warned
from workflows.commands.protocol_checks import (
    check_protocols,
    check_protocols_for_a_start,
    refused_edit_told,
    reused_versions,
)
from workflows.errors import ProtocolErrors, SettingsError

RULE = """\
name: chest
version: "{version}"
series: {{where: {{modality: CT}}}}
questions: [{{id: liver, text: "{text}", findings: liver}}]
examples:
  - {{title: a CT, match: true, series: [{{Modality: CT}}]}}
  - {{title: an MR, match: false, series: [{{Modality: MR}}]}}
"""
FIRST = RULE.format(version=1, text="Where is the liver?")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "chest.yaml").write_text(FIRST)
    node = scene_node(tmp_path / "node", protocols={"directory": str(tmp_path / "rules")})
    node.rules.settle_s = 0.0
    return node


def edit(node: Node, text: str) -> None:
    (node.settings.protocols.directory / "chest.yaml").write_text(text)


def test_a_refused_edit_fails_doctor_with_its_mistakes_and_stops_no_node_that_had_rules(node: Node) -> None:
    assert check_protocols(node.settings) == "chest 1; not in service yet"
    edit(node, "name: [")
    with pytest.raises(ProtocolErrors, match=r"chest\.yaml:1: not YAML"):
        check_protocols_for_a_start(node.settings)
    edit(node, FIRST)
    assert node.planner().protocols
    assert check_protocols(node.settings).startswith("chest 1; in service since 20")
    edit(node, "name: [")
    told = r"are refused, 1 mistake; in service since 20.* UTC: chest 1\n       .*chest.yaml:1: not YAML"
    with pytest.raises(SettingsError, match=told):
        check_protocols(node.settings)
    assert check_protocols_for_a_start(node.settings).startswith("refused; in service since")


def test_a_refused_edit_is_told_by_status_too_until_it_is_mended(node: Node) -> None:
    (node.settings.protocols.directory / "off.yaml").write_text(FIRST.replace("name: chest", "name: b\noff: later"))
    assert node.planner().protocols and refused_edit_told(node.repository) == ""
    edit(node, "name: [")
    for _ in range(2):  # two looks find the same
        node.planner()
    told = refused_edit_told(node.repository)
    assert "are refused since 20" in told and "chest.yaml:1: not YAML" in told and "more" not in told
    with pytest.raises(SettingsError, match=r"UTC: chest 1, b 1 \(off\)\n"):
        check_protocols(node.settings)
    edit(node, FIRST)
    node.planner()
    assert refused_edit_told(node.repository) == ""


def test_doctor_says_that_an_edit_waits_and_that_a_version_is_not_what_it_was(node: Node) -> None:
    assert node.planner().protocols
    edit(node, RULE.format(version=2, text="Is a liver seen?"))
    assert "chest 2; edited since, and not in service yet" in check_protocols(node.settings)
    edit(node, RULE.format(version=1, text="Is a liver seen?"))
    assert "chest 1; edited since" in check_protocols(node.settings), "no study was read by it: it may be as it is"
    (version,) = node.repository.protocol_versions("chest")
    job_planned_with(node.repository, version.digest)
    edit(node, RULE.format(version=1, text="Is a liver seen?"))
    with pytest.raises(Warned, match=r"chest 1 is not what it was on 20.*: raise its version"):
        check_protocols(node.settings)
    directory = node.settings.protocols.directory
    for path in (directory, directory / "chest.yaml"):
        (reused,) = reused_versions(path, checked_rules(node.settings, path), node.settings)
        assert reused.file == directory / "chest.yaml" and "raise its version" in reused.message
