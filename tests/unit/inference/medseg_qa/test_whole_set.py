"""The set from all public images, built once: its figures, its pairs, its files, and that nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.medseg_qa.builder import BuildReport, build
from inference.medseg_qa.knowledge import IMPLICIT_KINDS
from inference.medseg_qa.leaks import find_leaks
from inference.medseg_qa.records import QuestionKind, Record, Split, read_records
from inference.medseg_qa.sources import open_source
from inference.medseg_qa.stats import statistics

Built = tuple[Path, BuildReport]

# the first test waits for the build, which takes four minutes on a machine that has other things to do
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def whole_set(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("medseg-qa") / "set"
    return out, build(open_source(shared_data / "images"), out)


def every_turn(record: Record) -> Iterator[tuple[QuestionKind, tuple[int, ...]]]:
    return ((turn.kind, turn.targets) for conversation in record.conversations for turn in conversation.turns)


def test_its_figures_are_reached_and_nothing_is_dropped(whole_set: Built) -> None:
    directory, report = whole_set
    found = statistics(directory)
    assert not report.faults and not report.skipped
    assert found["pairs"] == report.pairs >= 10_000 and found["turns"] == report.turns >= 20_000
    assert found["absent_fraction"] >= 0.15 and found["distinct_question_fraction"] >= 0.3
    assert sum(found["mask_size"].values()) == found["pairs"]
    assert sum(found["question_length"].values()) == sum(found["answer_length"].values()) == found["turns"]


def test_every_pair_is_asked_openly_and_by_implication(whole_set: Built) -> None:
    directory, _ = whole_set
    missing = []
    for record in read_records(directory):
        for index, target in enumerate(record.targets):
            kinds = {kind for kind, targets in every_turn(record) if targets == (index,)}
            if QuestionKind.EXPLICIT not in kinds or not kinds & set(IMPLICIT_KINDS):
                missing.append(target.mask)
        assert all(2 <= len(conversation.turns) <= 5 for conversation in record.conversations)
    assert missing == []


def test_it_stands_alone(whole_set: Built) -> None:
    directory, _ = whole_set
    named = {"records.jsonl", "build.json"}
    for record in read_records(directory):
        named |= {record.image, *(target.mask for target in record.targets)}
        assert record.source and record.licence and record.group and record.modality
    assert named == {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_nothing_leaks_between_its_splits(whole_set: Built) -> None:
    directory, _ = whole_set
    assert find_leaks(directory) == []


def test_without_a_split_field_all_of_it_uses_test_wordings(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "images"
    images = tmp_path / "images"
    images.mkdir()
    for folder in source.iterdir():
        if folder.is_dir():
            (images / folder.name).symlink_to(folder)
    rows = [json.loads(line) for line in (source / "manifest.jsonl").read_text().splitlines()[::25]]
    stripped = [{key: value for key, value in row.items() if key != "split"} for row in rows]
    (images / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in stripped))
    build(open_source(images), tmp_path / "set")
    assert {record.split for record in read_records(tmp_path / "set")} == {Split.ALL}
    # the check names every training wording outside of train and val
    assert find_leaks(tmp_path / "set") == []
