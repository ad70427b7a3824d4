"""The page of a difference: one file that fetches nothing, says the figures, and names studies only where wanted."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from dicom_node.headers.study import SeriesHeader, StudyHeader
from workflows.protocols.changes import OtherQuestions
from workflows.protocols.costing import Cost
from workflows.protocols.replaying import Changed, Difference, KnownStudy, ProtocolChange
from workflows.protocols.schema import ReadingProtocol
from workflows.protocols.summing import ProtocolCount, Reason, Summary, UnmatchedKind
from workflows.protocols.verdicts import Verdict
from workflows.web.difference_page import History, PageFacts, Rules, page_of_difference, page_of_summary

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
STUDY = KnownStudy(
    StudyHeader("1.2.840.99", "<b>CT</b> Abdomen", "A-77", series=(SeriesHeader("1.2.840.99.1", "CT", (), 40),)),
    "A-77",
    datetime(2026, 11, 29, 8, 12, tzinfo=UTC),
)
BEFORE = Verdict(False, "abdomen", "1.2.840.99.1", "no slice thickness", "1", ("Slice Thickness (0018,0050)",))
AFTER = Verdict(True, "abdomen", "1.2.840.99.1", "/abd/ in study description", "2", flags=("codes contradict",))
CHANGE = Changed(STUDY, "1.2.840.99.1", "abdomen", BEFORE, AFTER)
DIFFERENCE = Difference(
    1284, (CHANGE,), (), 201, 10.0, 12.5,
    (ProtocolChange("abdomen", "1", "2", 1, 0, 201, 3, 10.0, 12.5), ProtocolChange("gone", "1", None, 0, 0, 0)), 5, 4,
)  # fmt: skip
RULES = Rules("rules", (ReadingProtocol("abdomen", "1", "", ()),), "ab" * 32, "in service")
FACTS = PageFacts(History("the last 30 days", NOW), Cost(0.01, 2.0, 7), "0.2.0", made_at=NOW)
SUMMARY = Summary(
    3, 1, 1, (ProtocolCount("abdomen", "1", "", 1, 1, 4, 2, "not yet"),),
    (UnmatchedKind("MR", "Fuß", 2, "1.9", "A-9"),), (Reason("modality MR is not CT", ("abdomen", "b", "c", "d"), 2),),
    (("Slice Thickness (0018,0050)", 1),), 1, None,
)  # fmt: skip


class _Read(HTMLParser):
    """What a browser would make of it: tags, and texts outside of the sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


PAGES = {
    "difference": lambda facts: page_of_difference(DIFFERENCE, RULES, replace(RULES, name="new"), facts),
    "summary": lambda facts: page_of_summary(SUMMARY, RULES, facts),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_one_file_without_scripts_that_fetches_nothing_and_has_its_headers(name: str) -> None:
    page = PAGES[name](FACTS)
    read = _Read(page)
    assert read.open == [] and not [tag for tag, _ in read.tags if tag in ("script", "link", "img", "iframe", "form")]
    addresses = [value for _, attributes in read.tags for key, value in attributes.items() if key in ("src", "href")]
    assert addresses == ["#main"]
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    assert not [tag for tag, attributes in read.tags if "style" in attributes]
    assert all("scope" in attributes for tag, attributes in read.tags if tag == "th")
    tables = [tag for tag, _ in read.tags if tag == "table"]
    assert tables and len(tables) == len([tag for tag, _ in read.tags if tag == "caption"])
    labels = {attributes["aria-labelledby"] for _, attributes in read.tags if "aria-labelledby" in attributes}
    assert labels <= {attributes.get("id") for _, attributes in read.tags}


def test_the_figures_both_reasons_and_what_was_missing_are_told_and_escaped() -> None:
    page = PAGES["difference"](FACTS)
    text = " ".join(_Read(page).text.split())
    for told in ("1,284 studies", "+1", "−0", "201", "3 of them with other questions", "+2.5 min", "abababababab",
                 "A-77", "1 → 2", "1, taken away", "no slice thickness", "/abd/ in study description",
                 "<b>CT</b> Abdomen",
                 "Slice Thickness (0018,0050)", "codes contradict", "10 ms", "7 jobs"):  # fmt: skip
        assert told in text, told
    assert "<b>CT</b>" not in page


def test_a_series_with_other_questions_is_listed_with_those_that_came_and_went() -> None:
    other = replace(CHANGE, before=AFTER, questions=OtherQuestions(("Is it <b>large</b>?",), ("How large?",)))
    page = page_of_difference(replace(DIFFERENCE, added=(), other_questions=(other,)), RULES, RULES, FACTS)
    text = " ".join(_Read(page).text.split())
    assert "other questions: " in text and "question - How large?" in text and "question + Is it <b>large</b>?" in text
    assert "<b>large" not in page


def test_without_identifiers_no_study_is_named() -> None:
    page = PAGES["difference"](replace(FACTS, identifiers=False)) + PAGES["summary"](replace(FACTS, identifiers=False))
    assert not re.search(r"A-77|A-9|1\.2\.840|1\.9\b|29 Nov", page) and "Study 1" in page


def test_minutes_that_nobody_measured_are_not_told() -> None:
    unknown = replace(DIFFERENCE, minutes_before=None, minutes_after=None)
    text = _Read(page_of_difference(unknown, RULES, RULES, replace(FACTS, cost=Cost()))).text
    assert "not measured" in text and "no job has been measured" in text and " min" not in text.replace(" minutes", "")


def test_more_studies_than_the_limit_are_counted_and_left_out() -> None:
    headers = (replace(STUDY.header, study_uid=f"1.3.{number}") for number in range(5))
    many = tuple(replace(CHANGE, study=replace(STUDY, header=header)) for header in headers)
    page = page_of_difference(replace(DIFFERENCE, added=many), RULES, RULES, replace(FACTS, limit=2))
    text = " ".join(_Read(page).text.split())
    assert "the last 2 of 5" in text and text.count("received 29 Nov") == 2
