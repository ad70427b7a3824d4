"""Pull: which studies are meant, what of them is missing, what is fetched, what is told of an archive that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import CTImageStorage, SegmentationStorage

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.network.archive import FoundInstance, FoundSeries, FoundStudy
from dicom_node.results.equipment import MANUFACTURER
from dicom_node.storage.whole import WholeInstances
from workflows.steps.evidence import ArchiveSource, take_file
from workflows.steps.pull import Puller, PullState, PullWish

if TYPE_CHECKING:
    from .conftest import Steps

Phantom = Callable[..., Path]
AWAY = PeerUnreachable("PACS does not answer")


@dataclass
class Holds:
    """An archive with studies of files by UID, and one of the node's own results in each."""

    studies_held: list[FoundStudy]
    files: dict[str, dict[str, Path]]
    modalities: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    keeps_back: set[str] = field(default_factory=set)
    portions: list[int] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)

    def studies(self, **keys: str) -> list[FoundStudy]:
        self.asked = keys
        return self.studies_held

    def series(self, study_uid: str, *, modality: str = "") -> list[FoundSeries]:
        if study_uid in self.silent:
            raise AWAY
        return [
            FoundSeries(study_uid, f"{study_uid}.1", self.modalities.get(study_uid, "CT"), "", "GE"),
            FoundSeries(study_uid, f"{study_uid}.9", "SEG", "", MANUFACTURER),
        ]

    def instances(self, study_uid: str, series_uid: str) -> list[FoundInstance]:
        if series_uid.endswith(".9"):
            return [FoundInstance(study_uid, series_uid, f"{series_uid}.1", SegmentationStorage)]
        return [FoundInstance(study_uid, series_uid, uid, CTImageStorage) for uid in self.files[study_uid]]

    def retrieve(
        self, study_uid: str, folder: Path, *, series_uid: str = "", sop_instance_uids: Sequence[str] = ()
    ) -> list[Path]:
        self.portions.append(len(sop_instance_uids))
        for uid in set(sop_instance_uids) - self.keeps_back:
            (folder / f"{uid}.dcm").write_bytes(self.files[study_uid][uid].read_bytes())
        if self.keeps_back & set(sop_instance_uids):
            raise PeerRejected("PACS sent less than was asked for")
        return []


def held(uid: str, day: str, description: str = "CT Abdomen") -> FoundStudy:
    return FoundStudy(uid, "P1", "", "", "", day, "A1", description)


@pytest.fixture
def pacs(phantom: Phantom) -> Holds:
    """Three studies: 1.2.3 with four instances, 1.2.4 and 1.2.5 with one."""
    files = {"1.2.3": {f"1.2.3.1.{number}": phantom(1, number) for number in range(1, 5)}}
    for uid in ("1.2.4", "1.2.5"):
        file = phantom(1, 1, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", SOPInstanceUID=f"{uid}.1.1")
        files[uid] = {f"{uid}.1.1": file}
    return Holds([held("1.2.4", "20261102"), held("1.2.3", "20261103"), held("1.2.5", "20261101", "Knee")], files)


@pytest.fixture
def puller(steps: Steps, pacs: Holds) -> Puller:
    def take(path: Path) -> bool:
        return take_file(path, "PACS", WholeInstances(steps.take))

    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Puller(ArchiveSource("PACS", lambda: pacs, take), steps.repository, "anna", lambda: 0, lambda: now[0], sleep)


ALL = PullWish(since=date(2026, 11, 1))


@pytest.mark.parametrize(
    ("wish", "key"),
    [
        (PullWish(since=date(2026, 11, 1)), "20261101-"),
        (PullWish(until=date(2026, 11, 2)), "-20261102"),
        (PullWish(since=date(2026, 11, 1), until=date(2026, 11, 2)), "20261101-20261102"),
        (PullWish(since=date(2026, 11, 1), until=date(2026, 11, 1)), "20261101"),
        (PullWish(study_uid="1.2.3"), ""),
    ],
)
def test_dates_become_a_range_of_study_date(wish: PullWish, key: str) -> None:
    assert wish.study_date == key


def test_a_whole_archive_is_never_asked_for() -> None:
    for wrong in ({}, {"modality": "CT", "description": "abdomen"}):
        with pytest.raises(ValueError, match="is asked by study"):
            PullWish(**wrong)
    with pytest.raises(ValueError, match="2026-11-02 is after 2026-11-01"):
        PullWish(since=date(2026, 11, 2), until=date(2026, 11, 1))


def test_what_is_missing_is_found_the_newest_first_and_fetched(puller: Puller, pacs: Holds, steps: Steps) -> None:
    steps.receive(*list(pacs.files["1.2.3"].values())[:3], pacs.files["1.2.4"]["1.2.4.1.1"])
    found = list(puller.find(ALL, 10))
    told = [(one.study.study_uid, one.study.state, one.study.missing) for one in found]
    assert told == [
        ("1.2.3", PullState.MISSING, 1),
        ("1.2.4", PullState.COMPLETE, 0),
        ("1.2.5", PullState.MISSING, 1),
    ]
    assert pacs.asked["study_date"] == "20261101-"
    done = [puller.fetch(one) for one in found if one.missing]
    assert [(one.state, one.outcome) for one in done] == [(PullState.FETCHED, "1 instance fetched")] * 2
    assert all(one.study.state is PullState.COMPLETE for one in puller.find(ALL, 10))
    assert [entry.study_uid for entry in steps.repository.audit_entries("pull")] == ["1.2.3", "1.2.5"]


def test_description_modality_and_limit_choose(puller: Puller, pacs: Holds) -> None:
    def chosen(limit: int = 10, **wish: str) -> list[str]:
        return [one.study.study_uid for one in puller.find(PullWish(patient_id="P1", **wish), limit)]

    pacs.modalities["1.2.4"] = "MR"
    assert chosen(description="abdomen") == ["1.2.3", "1.2.4"]
    assert chosen(modality="mr") == ["1.2.4"]
    assert chosen(limit=2) == ["1.2.3", "1.2.4"]


def test_instances_are_asked_for_in_bounded_portions(
    puller: Puller, pacs: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.steps.pull._AT_ONCE", 3)
    (found, *_) = puller.find(ALL, 1)
    assert puller.fetch(found).state is PullState.FETCHED
    assert pacs.portions == [3, 1]


def test_what_an_archive_keeps_back_is_named_and_comes_with_the_next_call(puller: Puller, pacs: Holds) -> None:
    pacs.keeps_back = {"1.2.3.1.2"}
    (found, *_) = puller.find(ALL, 1)
    done = puller.fetch(found)
    assert done.state is PullState.FAILED and done.went_wrong
    assert done.outcome == "1 of 4 instances did not come: PACS sent less than was asked for"
    pacs.keeps_back = set()
    (found, *_) = puller.find(ALL, 1)
    assert found.study.missing == 1 and puller.fetch(found).state is PullState.FETCHED


def test_an_archive_that_falls_silent_is_not_asked_about_every_study(puller: Puller, pacs: Holds) -> None:
    pacs.studies_held += [held(f"1.2.{number}", "20261001") for number in range(10, 13)]
    pacs.silent = {"1.2.4", "1.2.5", *(f"1.2.{number}" for number in range(10, 13))}
    found = list(puller.find(ALL, 100))
    assert [one.study.state for one in found] == [PullState.MISSING, *[PullState.NOT_ASKED] * 5]
    assert found[1].study.outcome == "PACS does not answer"
    assert found[-1].study.outcome == "PACS does not answer any more"
