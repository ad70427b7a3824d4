"""The review queue: two readers, agreement, provenance, and export of what was accepted."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.medseg_qa.builder import build
from inference.medseg_qa.errors import ReviewError
from inference.medseg_qa.export import ExportFormat
from inference.medseg_qa.records import read_records
from inference.medseg_qa.review.accepted import export_accepted
from inference.medseg_qa.review.agreement import cohens_kappa
from inference.medseg_qa.review.store import Decision, ReviewStore
from inference.medseg_qa.sources import open_source


@pytest.fixture
def built(make_images: Any, tmp_path: Path) -> Path:
    build(open_source(make_images()), tmp_path / "set")
    return tmp_path / "set"


def test_kappa_of_a_textbook_table() -> None:
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([]) is None and cohens_kappa([("yes", "yes")]) is None


def test_two_readers_decide_and_only_accepted_items_are_exported(built: Path, tmp_path: Path) -> None:
    store = ReviewStore(tmp_path / "review.sqlite3")
    assert store.queue(built, readers=2) == 12
    assert store.queue(built, readers=2) == 0
    first, second, third = (store.item(built, position, "ann") for position in range(3))
    edited = (replace(first.conversation.turns[0], question="Outline it."), *first.conversation.turns[1:])
    store.decide(first, "ann", Decision.EDIT, "clearer", edited)
    store.decide(first, "bob", Decision.ACCEPT, "")
    store.decide(second, "ann", Decision.ACCEPT, "")
    store.decide(second, "bob", Decision.REJECT, "wrong organ")
    store.decide(third, "ann", Decision.ACCEPT, "")
    with pytest.raises(ReviewError, match="readers already"):
        store.decide(first, "eve", Decision.ACCEPT, "")
    assert store.next_position("ann") == 3 and store.next_position("bob") == 2
    summary = store.summary()
    assert (summary.finished, summary.accepted, summary.disputed, summary.rejected) == (2, 1, 1, 0)
    assert summary.kappa == pytest.approx(-1 / 3)
    (change,) = [row for row in store.history(first.id) if row["decision"] == "edit"]
    assert change["reader"] == "ann" and "Outline it." in str(change["after"]) and change["before"] != change["after"]
    assert export_accepted(built, tmp_path / "review.sqlite3", tmp_path / "out", ExportFormat.JSONL) == 1
    (record,) = read_records(tmp_path / "out")
    assert record.conversations[0].turns[0].question == "Outline it."
    assert (tmp_path / "out" / record.image).is_file()


def test_a_reject_needs_a_reason_and_a_reader_a_name(built: Path, tmp_path: Path) -> None:
    store = ReviewStore(tmp_path / "review.sqlite3")
    store.queue(built)
    item = store.item(built, 0, "ann")
    with pytest.raises(ReviewError, match="reason"):
        store.decide(item, "ann", Decision.REJECT, " ")
    with pytest.raises(ReviewError, match="name"):
        store.decide(item, " ", Decision.ACCEPT, "")


def test_two_thousand_items_queue_and_page_quickly(built: Path, tmp_path: Path) -> None:
    line = (built / "records.jsonl").read_text().splitlines()[0]
    many = [line.replace("btcv/case_0", f"btcv/case_0{i:04d}") for i in range(1000)]
    (built / "records.jsonl").write_text("\n".join(many) + "\n")
    store = ReviewStore(tmp_path / "review.sqlite3")
    began = time.perf_counter()
    assert store.queue(built) == 2000
    assert time.perf_counter() - began < 10
    began = time.perf_counter()
    for position in range(1900, 1950):
        store.item(built, position, "ann")
        store.next_position("ann", position)
    assert (time.perf_counter() - began) / 50 < 0.2
