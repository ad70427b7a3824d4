"""A folder of rules as people and their tools leave it behind."""

from __future__ import annotations

import os
from pathlib import Path

from workflows.protocols.checking import CheckedRules, check_rules
from workflows.protocols.loader import read_directory
from workflows.protocols.rule_files import read_rule_files

RULE = """\
name: {name}
version: "1"
title: {title}
series: {{where: {{modality: CT, region: abdomen}}}}
questions:
  - {{id: liver, text: Where is the liver?, findings: liver}}
"""


def in_service(folder: Path) -> CheckedRules:
    return read_rule_files(folder).checked(check_rules)


def test_a_file_counts_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    """What a look at the folder sees, its check sees too: otherwise a protocol is left out and nobody is told."""
    (tmp_path / "LIVER.YAML").write_text(RULE.format(name="liver", title="Liver"))
    assert [one.name for one in in_service(tmp_path).protocols] == ["liver"]
    assert [one.name for one in check_rules(tmp_path).protocols] == ["liver"]


def test_a_pipe_does_not_hold_the_node(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE.format(name="liver", title="Liver"))
    os.mkfifo(tmp_path / "b.yaml")
    for mistakes in (in_service(tmp_path).mistakes, check_rules(tmp_path).mistakes):
        (mistake,) = mistakes
        assert mistake.file.name == "b.yaml" and "no file that can be read to its end" in mistake.message


def test_half_a_character_is_a_mistake_and_no_error_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE.format(name="liver", title='"\\ud83d"'))
    (file,) = read_directory(tmp_path)
    assert file.protocol is None
    assert [(one.line, one.message) for one in file.mistakes] == [
        (3, "an escape here is no character; write the character itself")
    ]
