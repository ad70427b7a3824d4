"""Building a set: the same bytes, every pair asked, bad input counted, nothing half-written."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from inference.medseg_qa.builder import BuildOptions, build
from inference.medseg_qa.checks import check_conversation
from inference.medseg_qa.commands import make_app
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.errors import BuildError, OutputExists
from inference.medseg_qa.knowledge import IMPLICIT_KINDS, load_knowledge
from inference.medseg_qa.leaks import find_leaks
from inference.medseg_qa.records import QuestionKind, Split, read_records
from inference.medseg_qa.sources import Pixels, SourceImage, open_source
from inference.medseg_qa.stats import statistics


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_the_same_images_give_the_same_bytes(make_images: Any, tmp_path: Path) -> None:
    images = make_images()
    build(open_source(images), tmp_path / "a")
    build(open_source(images), tmp_path / "b")
    build(open_source(images), tmp_path / "c", BuildOptions(seed=1))
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert first["records.jsonl"] != contents(tmp_path / "c")["records.jsonl"]


def test_every_pair_is_asked_openly_and_by_implication(make_images: Any, tmp_path: Path) -> None:
    build(open_source(make_images()), tmp_path / "set")
    for record in read_records(tmp_path / "set"):
        turns = [turn for conversation in record.conversations for turn in conversation.turns]
        for index in range(len(record.targets)):
            kinds = {turn.kind for turn in turns if turn.targets == (index,)}
            assert QuestionKind.EXPLICIT in kinds
            assert kinds & set(IMPLICIT_KINDS)


def test_a_trial_takes_the_first_images_of_each_data_set_and_split(make_images: Any, tmp_path: Path) -> None:
    def other_set(i: int, row: dict[str, Any]) -> None:
        row["dataset"] = "btcv" if i % 2 else "amos"

    images = make_images(count=12, change=other_set)
    report = build(open_source(images), tmp_path / "set", BuildOptions(most_per_set=1))
    assert report.records == 6 and not report.skipped
    taken = {(record.dataset, record.split.value): record.id for record in read_records(tmp_path / "set")}
    assert len(taken) == 6 and taken["btcv", "train"] == "btcv/case_1"


def test_progress_says_that_all_is_done_once(make_images: Any, tmp_path: Path) -> None:
    """A source may know its rows and not its images; a count that catches up with its total would look finished."""

    class Short:
        def __init__(self) -> None:
            self.images = list(open_source(make_images(count=70)))

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[Any]:
            return iter(self.images)

    told: list[tuple[str, int, int]] = []
    build(Short(), tmp_path / "set", progress=lambda *one: told.append(one))
    assert [one for one in told if one[0] == "images" and one[1] == one[2]] == [("images", 70, 70)]


def test_a_tiny_mask_is_asked_too(tmp_path: Path) -> None:
    class OnePixel:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[SourceImage]:
            mask = np.zeros((40, 40), dtype=np.bool_)
            mask[3, 4] = True
            pixels = Pixels(np.zeros((40, 40), dtype=np.uint8), {"polyp": mask})
            yield SourceImage("one", "mine", "p", None, "ES", "one.png", "own", lambda: pixels)

    report = build(OnePixel(), tmp_path / "set")
    (record,) = read_records(tmp_path / "set")
    assert report.pairs == 1 and record.targets[0].pixels == 1
    assert {turn.kind for c in record.conversations for turn in c.turns} & set(IMPLICIT_KINDS)


def test_what_is_written_passes_its_checks_and_measures_in_mm(make_images: Any, tmp_path: Path) -> None:
    build(open_source(make_images()), tmp_path / "set")
    for record in read_records(tmp_path / "set"):
        facts = ImageFacts(
            record.id, record.split, record.dataset, record.modality, record.size, record.spacing_mm,
            record.orientation, record.context, record.targets, (),
        )  # fmt: skip
        for target in record.targets:
            with Image.open(tmp_path / "set" / target.mask) as image:
                mask = np.asarray(image)
            assert set(np.unique(mask)) == {0, 255}
            assert target.pixels == int((mask > 0).sum())
            assert target.area_mm2 == pytest.approx(2.0 * target.pixels)
        for conversation in record.conversations:
            assert 2 <= len(conversation.turns) <= 5
            assert not check_conversation(conversation, facts, load_knowledge().labels)


def test_records_without_split_use_test_wordings(make_images: Any, tmp_path: Path) -> None:
    build(open_source(make_images(split=False)), tmp_path / "set")
    wordings = {w.id: w for label in load_knowledge().labels.values() for w in label.wordings}
    for record in read_records(tmp_path / "set"):
        assert record.split is Split.ALL
        for turn in (turn for conversation in record.conversations for turn in conversation.turns):
            if turn.wording in wordings:
                assert wordings[turn.wording].split == "test"


def test_validation_is_asked_in_clues_that_training_never_has(make_images: Any, tmp_path: Path) -> None:
    build(open_source(make_images()), tmp_path / "set")
    wordings = {w.id: w for label in load_knowledge().labels.values() for w in label.wordings}
    sides: dict[Split, set[str]] = {split: set() for split in (Split.TRAIN, Split.VAL, Split.TEST)}
    for record in read_records(tmp_path / "set"):
        turns = (turn for conversation in record.conversations for turn in conversation.turns)
        sides[record.split] |= {wordings[turn.wording].split for turn in turns if turn.kind in IMPLICIT_KINDS}
    assert sides == {Split.TRAIN: {"train"}, Split.VAL: {"val"}, Split.TEST: {"test"}}
    lines = (tmp_path / "set" / "records.jsonl").read_text().replace('"split": "val"', '"split": "train"')
    (tmp_path / "set" / "records.jsonl").write_text(lines)
    assert any("in train uses the val wording" in leak for leak in find_leaks(tmp_path / "set"))


def test_bad_images_are_named_and_counted(make_images: Any, tmp_path: Path) -> None:
    def spoil(i: int, row: dict[str, Any]) -> None:
        if i == 0:
            row["mask"] = "5.png"  # values of an image: both labels are hardly there
            row["labels"] = {"1": "liver", "300": "spleen"}
        if i == 1:
            row["labels"] = {"1": "liver", "2": "unicorn horn"}
        if i == 2:
            row["image"] = "not there.png"
        if i == 4:
            del row["modality"]

    images = make_images(change=spoil)
    (images / "3.png").write_bytes((images / "3.png").read_bytes()[:200])
    Image.fromarray(np.ones((10, 10), dtype=np.uint8)).save(images / "5_mask.png")
    (images / "manifest.jsonl").open("a").write("no json\n")
    report = build(open_source(images), tmp_path / "set")
    assert dict(report.skipped) == {
        "empty-mask": 1,
        "unknown-label": 1,
        "missing-file": 1,
        "broken-image": 1,
        "bad-manifest-row": 2,
        "mask-of-another-size": 2,
    }
    assert report.records == 2
    stored = {str(p.relative_to(tmp_path / "set")) for p in (tmp_path / "set").rglob("*.png")}
    named = {r.image for r in read_records(tmp_path / "set")}
    named |= {t.mask for r in read_records(tmp_path / "set") for t in r.targets}
    assert stored == named


def test_unknown_labels_are_asked_openly_where_allowed(make_images: Any, tmp_path: Path) -> None:
    images = make_images(change=lambda i, row: row.update(labels={"1": "unicorn horn"}))
    with pytest.raises(BuildError, match="unknown-label"):
        build(open_source(images), tmp_path / "none")
    report = build(open_source(images), tmp_path / "set", BuildOptions(allow_unknown_labels=True))
    assert report.pairs == 6
    kinds = {t.kind for r in read_records(tmp_path / "set") for c in r.conversations for t in c.turns
             if "unicorn horn" in t.asked}  # fmt: skip
    assert QuestionKind.EXPLICIT in kinds and not kinds & set(IMPLICIT_KINDS)


def test_a_full_disk_leaves_nothing(make_images: Any, tmp_path: Path) -> None:
    class FullDisk:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __len__(self) -> int:
            return len(self._inner)

        def __iter__(self) -> Iterator[Any]:
            yield from self._inner
            raise OSError(errno.ENOSPC, "No space left on device")

    images = make_images()
    with pytest.raises(BuildError, match="No space left"):
        build(FullDisk(open_source(images)), tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_existing_folder_is_kept(make_images: Any, tmp_path: Path) -> None:
    images = make_images()
    build(open_source(images), tmp_path / "set")
    (tmp_path / "set" / "mine.txt").write_text("keep")
    with pytest.raises(OutputExists):
        build(open_source(images), tmp_path / "set")
    assert (tmp_path / "set" / "mine.txt").exists()


def test_held_out_labels_are_asked_in_zero_shot_only(make_images: Any, tmp_path: Path) -> None:
    images = make_images(change=lambda i, row: row.update(labels={"1": "liver"}) if i < 4 else None)
    build(open_source(images), tmp_path / "set", BuildOptions(zero_shot=("spleen",)))
    for record in read_records(tmp_path / "set"):
        asked = {label for c in record.conversations for turn in c.turns for label in turn.asked}
        assert ("spleen" in asked) == (record.split is Split.ZERO_SHOT)
    assert find_leaks(tmp_path / "set") == []


def test_near_duplicates_move_to_one_side(make_images: Any, tmp_path: Path) -> None:
    images = make_images(change=lambda i, row: row.update(image="0.png") if i == 4 else None)
    report = build(open_source(images), tmp_path / "set")
    assert report.near_duplicate_pairs == 1 and report.moved_between_splits == 2
    splits = {record.group: record.split for record in read_records(tmp_path / "set")}
    assert splits["btcv/patient_0"] is splits["btcv/patient_2"]


def test_the_leak_check_finds_what_it_should(make_images: Any, tmp_path: Path) -> None:
    build(open_source(make_images()), tmp_path / "set")
    assert find_leaks(tmp_path / "set") == []
    lines = (tmp_path / "set" / "records.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"split": "train"', '"split": "test"')
    (tmp_path / "set" / "records.jsonl").write_text("\n".join(lines) + "\n")
    leaks = find_leaks(tmp_path / "set")
    assert any(leak.startswith("patient btcv/patient_0") for leak in leaks)
    assert any("uses the train wording" in leak for leak in leaks)


def test_a_held_out_label_in_training_is_a_leak(make_images: Any, tmp_path: Path) -> None:
    build(open_source(make_images()), tmp_path / "set")
    report = json.loads((tmp_path / "set" / "build.json").read_text())
    (tmp_path / "set" / "build.json").write_text(json.dumps({**report, "zero_shot": ["spleen"]}))
    assert "btcv/case_0 in train has spleen, held out" in find_leaks(tmp_path / "set")


def test_a_label_to_hold_out_must_be_known(make_images: Any, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="unicorn horn"):
        build(open_source(make_images()), tmp_path / "set", BuildOptions(zero_shot=("unicorn horn",)))


def test_ids_that_would_share_files_are_named(make_images: Any, tmp_path: Path) -> None:
    images = make_images(2, change=lambda i, row: row.update(id=("case a", "case_a")[i]))
    report = build(open_source(images), tmp_path / "set")
    assert report.records == 1 and report.details["duplicate-id"] == ["btcv/case_a"]


def test_a_positive_label_with_an_empty_mask_is_neither_shown_nor_denied(make_images: Any, tmp_path: Path) -> None:
    images = make_images(change=lambda i, row: row.update(labels={"1": "liver", "9": "gallbladder"}))
    report = build(open_source(images), tmp_path / "set")
    assert report.skipped["empty-mask"] == 6
    asked = {
        label for r in read_records(tmp_path / "set") for c in r.conversations for t in c.turns for label in t.asked
    }
    assert "liver" in asked and "gallbladder" not in asked


def test_statistics_count_what_is_there(make_images: Any, tmp_path: Path) -> None:
    report = build(open_source(make_images()), tmp_path / "set")
    found = statistics(tmp_path / "set")
    assert (found["records"], found["pairs"], found["turns"]) == (report.records, 12, report.turns)
    assert found["labels"]["liver"]["pairs"] == 6
    assert found["absent_fraction"] > 0.1 and 0.3 < found["distinct_question_fraction"] <= 1


def test_replacing_loses_nothing_but_a_set(make_images: Any, tmp_path: Path) -> None:
    images = make_images()
    build(open_source(images), tmp_path / "set")
    (tmp_path / "set" / "review.sqlite3").write_bytes(b"two weeks of a reader's time")
    with pytest.raises(OutputExists, match=r"review\.sqlite3"):
        build(open_source(images), tmp_path / "set", BuildOptions(replace=True))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"thesis\.txt"):
        build(open_source(images), tmp_path / "home", BuildOptions(replace=True))
    assert (tmp_path / "home" / "thesis.txt").read_text() == "mine"
    (tmp_path / "set" / "review.sqlite3").unlink()
    build(open_source(images), tmp_path / "set", BuildOptions(seed=1, replace=True))


@pytest.mark.parametrize("out", ["images", ".", "images/set"])
def test_source_and_set_never_lie_in_one_another(make_images: Any, tmp_path: Path, out: str) -> None:
    images = make_images()
    before = contents(images)
    call = ["build", "--images", str(images), "--out", str(tmp_path / out), "--force"]
    done = CliRunner().invoke(make_app(()), call)
    assert done.exit_code == 2
    assert "in one another" in done.output
    assert contents(images) == before
