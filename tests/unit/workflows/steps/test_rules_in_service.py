"""Rules in service: an edited folder is taken whole or refused whole, while a node runs and over its restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.workflows.planned import job_planned_with
from workflows.errors import ProtocolErrors, SettingsError
from workflows.protocols.checking import check_rules
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.repository import Repository
from workflows.steps.rules_in_service import RulesInService

RULE = """\
name: {name}
version: "{version}"
title: {title}
series: {{where: {{modality: {modality}}}}}
questions:
  - {{id: liver, text: "{text}", findings: liver}}
examples:
  - title: one of these
    match: {match}
    series: [{{Modality: {modality}}}]
  - title: an MR
    match: false
    series: [{{Modality: MR}}]
"""


def rule(version: str = "1", **changes: str) -> str:
    text = {"name": "abdomen", "title": "Abdomen", "modality": "CT", "text": "Where is the liver?", "match": "true"}
    return RULE.format(version=version, **{**text, **changes})


def chest(version: str = "1") -> str:
    return rule(version, name="chest", modality="DX")


class Folder:
    """A folder of rules, and the processes of a node that plan by it. No time passes but by `tick`."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.now, self.paused = path, 0.0, list[float]()
        self.engine = open_engine(url)
        upgrade_schema(self.engine)
        self.repository = Repository(self.engine)
        self.during_pause: Callable[[], object] = lambda: None
        path.mkdir()

    def process(self) -> RulesInService:
        def pause(seconds: float) -> None:
            self.paused.append(seconds)
            self.during_pause()

        return RulesInService(
            self.path,
            lambda: self.repository,
            check_rules,
            settle_s=2.0,
            clock=lambda: self.now,
            pause=pause,
        )

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.path / f"{name}.yaml").write_text(text)

    def seen_twice(self, rules: RulesInService) -> list[str]:
        """What is in service after two looks that are far enough apart."""
        rules.protocols()
        self.now += 2.0
        return named(rules)


def named(rules: RulesInService) -> list[str]:
    return [f"{one.name} {one.version}" for one in rules.protocols()]


def events(logs: list[Any], *names: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] in names]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "rules", f"sqlite:///{tmp_path / 'state.db'}")


def test_good_then_broken_then_good(folder: Folder) -> None:
    folder.write(abdomen=rule())
    first, second = folder.process(), folder.process()
    with capture_logs() as logs:
        assert named(first) == named(second) == ["abdomen 1"]
        folder.write(abdomen=rule("2"), broken="name: x\nversion: [")
        assert [folder.seen_twice(one) for one in (first, second, first)] == [["abdomen 1"]] * 3
        refused = folder.repository.refused_edit()
        assert refused is not None and refused.mistakes
        (folder.path / "broken.yaml").unlink()
        assert folder.seen_twice(first) == folder.seen_twice(second) == ["abdomen 2"]
    taken, told, again = events(logs, "protocols_taken", "protocols_refused")
    assert taken["digest"] != again["digest"] and taken["protocols"] == again["protocols"] == 1
    assert any(mistake.startswith(f"{folder.path / 'broken.yaml'}:2: not YAML") for mistake in told["mistakes"])
    assert folder.repository.refused_edit() is None
    versions = folder.repository.protocol_versions("abdomen")
    assert {one.version: one.contents.decode() for one in versions} == {"1": rule(), "2": rule("2")}


def test_a_broken_example_refuses_an_edit_and_undoing_it_is_the_end_of_it(folder: Folder) -> None:
    folder.write(abdomen=rule())
    rules = folder.process()
    digest = rules.protocols()[0].digest
    folder.write(abdomen=rule("2", match="false"))
    assert folder.seen_twice(rules) == ["abdomen 1"]
    assert folder.repository.refused_edit() is not None
    folder.write(abdomen=rule())
    assert named(rules) == ["abdomen 1"] and rules.protocols()[0].digest == digest
    assert folder.repository.refused_edit() is None


def test_a_protocol_that_goes_is_told(folder: Folder) -> None:
    folder.write(abdomen=rule(), other=rule().replace("name: abdomen", "name: other").replace("liver", "spleen"))
    rules = folder.process()
    assert named(rules) == ["abdomen 1", "other 1"]
    with capture_logs() as logs:
        (folder.path / "other.yaml").unlink()
        assert folder.seen_twice(rules) == ["abdomen 1"]
    (gone,) = events(logs, "protocols_gone")
    assert gone["names"] == ["other"]


def test_a_look_that_fails_leaves_what_is_in_service(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(abdomen=rule())
    rules = folder.process()
    assert named(rules) == ["abdomen 1"]

    def no_room(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    folder.write(abdomen=rule("2"))
    with monkeypatch.context() as full, capture_logs() as logs:
        full.setattr("workflows.protocols.rule_files.tempfile.TemporaryDirectory", no_room)
        assert folder.seen_twice(rules) == named(rules) == ["abdomen 1"]
        with pytest.raises(SettingsError, match="No space left"):
            folder.process().protocols()
    assert len(events(logs, "protocols_not_looked_at")) == 1
    assert folder.seen_twice(rules) == ["abdomen 2"]


def test_what_is_being_written_is_not_taken_before_two_looks_found_the_same(folder: Folder) -> None:
    folder.write(abdomen=rule())
    rules = folder.process()
    assert named(rules) == ["abdomen 1"]
    for size in (20, 60, 100):  # a copy that goes on
        folder.write(chest=chest("7")[:size])
        assert named(rules) == ["abdomen 1"]
        folder.now += 3.0
    folder.write(chest=chest("7"))
    (folder.path / ".#chest.yaml").symlink_to("an editor's lock")
    (folder.path / "chest.yaml~").write_text("an editor's copy")
    (folder.path / ".chest.yaml.Xy12").write_text("half of wh")
    assert named(rules) == ["abdomen 1"]
    folder.now += 1.9
    assert named(rules) == ["abdomen 1"]
    folder.now += 0.2
    assert named(rules) == ["abdomen 1", "chest 7"]


def test_a_folder_that_is_gone_or_empty_is_refused_and_a_link_may_be_put_elsewhere(
    folder: Folder, tmp_path: Path
) -> None:
    folder.write(abdomen=rule())
    folder.path = tmp_path / "current"
    folder.path.symlink_to(tmp_path / "rules")
    rules = folder.process()
    assert named(rules) == ["abdomen 1"]
    folder.path.unlink()
    assert folder.seen_twice(rules) == ["abdomen 1"], "a share that is away takes no rules with it"
    refused = folder.repository.refused_edit()
    assert refused is not None and "no such folder" in str(refused.mistakes[0])
    (tmp_path / "next").mkdir()
    folder.path.symlink_to(tmp_path / "next")
    assert folder.seen_twice(rules) == ["abdomen 1"], "nor does one that is empty"
    folder.write(abdomen=rule("3"))
    assert folder.seen_twice(rules) == ["abdomen 3"]


def test_a_node_that_starts_with_broken_files_goes_on_with_the_set_of_before(folder: Folder) -> None:
    folder.write(abdomen=rule())
    before = folder.process().protocols()
    folder.write(abdomen="name: [")
    rules = folder.process()
    with capture_logs() as logs:
        assert rules.protocols() == before
        assert folder.seen_twice(rules) == ["abdomen 1"]
    assert [entry["event"] for entry in logs] == ["protocols_refused", "protocols_of_before_in_service"]
    assert folder.paused == [2.0], "an edit that was made meanwhile is looked at twice"
    folder.write(abdomen=rule("2"))
    assert folder.seen_twice(rules) == ["abdomen 2"]


def test_a_start_in_the_middle_of_a_copy_waits_until_it_is_over(folder: Folder) -> None:
    folder.write(abdomen=rule())
    assert named(folder.process()) == ["abdomen 1"]
    parts = iter([{"abdomen": rule("2")}, {"chest": chest()}])
    folder.write(abdomen=rule("2")[:30])
    folder.during_pause = lambda: folder.write(**next(parts, {}))
    assert named(folder.process()) == ["abdomen 2", "chest 1"]
    assert len(folder.paused) == 3


def test_a_fresh_node_with_broken_files_does_not_begin(folder: Folder) -> None:
    folder.write(abdomen="name: [")
    rules = folder.process()
    with pytest.raises(ProtocolErrors, match=r"abdomen\.yaml:1: not YAML"):
        rules.protocols()
    folder.write(abdomen=rule())
    assert named(rules) == ["abdomen 1"], "it is looked at again, for each study"


def test_other_questions_under_the_same_version_are_warned_of_and_another_title_is_not(folder: Folder) -> None:
    folder.write(abdomen=rule("2"))
    rules = folder.process()
    with capture_logs() as logs:
        rules.protocols()
        folder.write(abdomen=rule("2", text="Is there a liver?"))
        folder.seen_twice(rules)
        assert not events(logs, "protocol_not_what_it_was"), "no study was planned by it"
        folder.write(abdomen=rule("2"))
        folder.seen_twice(rules)
        job_planned_with(folder.repository, rules.protocols()[0].digest)
        folder.write(abdomen=rule("2", title="Another title") + "# and a comment\n")
        assert folder.seen_twice(rules) == ["abdomen 2"]
        assert rules.protocols()[0].title == "Another title"
        assert not events(logs, "protocol_not_what_it_was")
        folder.write(abdomen=rule("2", text="Is the liver seen?"))
        folder.seen_twice(rules)
    (warning,) = events(logs, "protocol_not_what_it_was")
    assert "abdomen 2 is not what it was on 20" in warning["told"] and "raise its version" in warning["told"]
    assert len(folder.repository.protocol_versions("abdomen")) == 4
