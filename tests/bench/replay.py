"""What a replay of 10,000 stored studies with 25 protocols, twice, costs: `protocols replay --against` but its start.

Each study has two to four series with the attributes that a CT has, and its rows in the database as planning leaves
them. The time of a study is told apart into decoding (the row, JSON, the header) and matching (both sets); then the
whole is measured as the command does it. On SQLite; the target is 60 s on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.data import get_testdata_file
from sqlalchemy.orm import Session

from dicom_node.headers.attributes import KeptSeries, KeptStudy, read_attributes
from dicom_node.headers.coded import CodedHeader
from dicom_node.headers.study import study_header
from workflows.protocols.conditions import AllOf, AnyOf, Coded, Equals, Not, NumberRange, Pattern, Test
from workflows.protocols.deciding import Deciding
from workflows.protocols.matching import match
from workflows.protocols.schema import Order, ProtocolQuestion, ReadingProtocol, SeriesSelector
from workflows.state.engine import open_engine, upgrade_schema
from workflows.state.kept_headers import keep_headers_of
from workflows.state.repository import Repository
from workflows.state.states import StudyState
from workflows.state.tables import SeriesRow, StudyRow
from workflows.steps.replaying_history import NodeHistory, difference_over

TARGET_S = 60.0
STUDIES, PROTOCOLS, SAMPLE = 10_000, 25, 300
MODALITIES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "US": "1.2.840.10008.5.1.4.1.1.6.1",
              "DX": "1.2.840.10008.5.1.4.1.1.1.1"}  # fmt: skip
PARTS = ("Abdomen", "Thorax", "Kopf", "Knie", "Becken", "Herz", "Schulter", "Oberbauch", "LWS", "HWS", "Fuß", "Hand")
KINDS = ("nativ", "arteriell", "portalvenös", "5.0 B30f", "1.0 B70s", "t2 tra", "t1 cor", "Topogram", "MPR sag")
MOMENTS = ("first_received_at", "last_received_at", "changed_at", "wake_at")
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def studies(count: int, seed: int = 5) -> Iterator[KeptStudy]:
    """Studies as planning keeps them, of some modalities and parts of the body."""
    drawn = random.Random(seed)
    known = read_attributes(Path(str(get_testdata_file("CT_small.dcm", download=False))))
    for number in range(count):
        modality, part = drawn.choice(list(MODALITIES)), drawn.choice(PARTS)
        code = {"CodeValue": (f"P{drawn.randrange(40)}",), "CodingSchemeDesignator": ("99RIS",), "CodeMeaning": (part,)}
        series = []
        for place in range(drawn.choice((2, 3, 3, 4))):
            attributes = {
                **known,
                "StudyInstanceUID": (f"1.2.3.{number}",),
                "SeriesInstanceUID": (f"1.2.3.{number}.{place}",),
                "Modality": (modality,),
                "StudyDescription": (f"{modality} {part} {drawn.randrange(50)}",),
                "SeriesDescription": (f"{part} {drawn.choice(KINDS)} {drawn.randrange(200)}",),
                "ProtocolName": (f"{part} Routine",),
                "ProcedureCodeSequence": (code,),
                "AccessionNumber": (f"A{number}",),
                "SliceThickness": (str(drawn.choice((1, 3, 5))),),
            }
            series.append(KeptSeries(attributes, (MODALITIES[modality],), drawn.randrange(10, 400)))
        yield KeptStudy(tuple(series), ("CT1",), NOW - timedelta(minutes=number))


def protocols(count: int) -> list[ReadingProtocol]:
    """Protocols such as people write: a modality, a part of the body in words or codes, some that must not be."""
    found = []
    for number in range(count):
        part, modality = PARTS[number % len(PARTS)], list(MODALITIES)[number % len(MODALITIES)]
        words = Test("description", (Pattern(rf"\b{part.lower()}"), Pattern(rf"\b{part[:3].lower()}\w*")))
        codes = Test("procedure", (Coded((CodedHeader(f"P{number}", "99RIS"),)),))
        where = AllOf((
            Test("modality", (Equals((modality,)),)),
            Test("slice_thickness", (NumberRange(maximum=5.0),), if_missing=True),
            Not(Test("series_description", (Pattern(r"\b(scout|topogram|loc)\b"),))),
            AnyOf((codes, words, Test("region", (Equals(("abdomen", "chest")),)))),
        ))  # fmt: skip
        questions = tuple(ProtocolQuestion(f"q{n}", f"Where is part {n} of {part}?", ()) for n in range(4))
        selector = SeriesSelector(where, (Order.ORIGINAL, Order.AXIAL, Order.THIN), take=2)
        found.append(ReadingProtocol(f"protocol-{number}", "1", part, questions, series=selector, rank=number % 3))
    return found


def fill(url: str, count: int) -> None:
    """A database of `count` planned studies."""
    engine = open_engine(url)
    upgrade_schema(engine)
    with Session(engine) as session:
        for kept in studies(count):
            header = study_header(kept)
            assert kept.received_at is not None
            moments = dict.fromkeys(
                ("first_received_at", "last_received_at", "changed_at", "wake_at"), kept.received_at
            )
            row = StudyRow(study_uid=header.study_uid, state=StudyState.DELIVERED, generation=1, **moments)
            session.add(row)
            session.flush()
            session.add_all(SeriesRow(study_uid=row.study_uid, series_uid=one.series_uid) for one in header.series)
            keep_headers_of(session, row, kept, kept.received_at)
        session.commit()
    engine.dispose()


def told_apart(url: str, before: list[ReadingProtocol], after: list[ReadingProtocol]) -> tuple[float, float, float]:
    """Milliseconds a study: to read and decode its row, to make its header, to match both sets; the best of three."""
    repository = Repository(open_engine(url))
    best = [float("inf")] * 3
    for _ in range(3):
        began = time.perf_counter()
        kept = [one.kept for one in repository.kept_studies(limit=SAMPLE)]
        read = time.perf_counter()
        headers = [study_header(one) for one in kept if one is not None]
        made = time.perf_counter()
        for header in headers:
            deciding = Deciding(header)
            match(header, before, deciding=deciding)
            match(header, after, deciding=deciding)
        took = (read - began, made - read, time.perf_counter() - made)
        best = [min(old, 1000 * new / len(headers)) for old, new in zip(best, took, strict=True)]
    repository.close()
    return best[0], best[1], best[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--protocols", type=int, default=PROTOCOLS)
    parser.add_argument("--processes", type=int, help="as the command chooses where it is left out")
    asked = parser.parse_args()
    before = protocols(asked.protocols)
    after = [replace(one, version="2", series=replace(one.series, take=1)) for one in before]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/state.db"
        fill(url, asked.studies)
        read, made, matched = told_apart(url, before, after)
        each = read + made + matched
        print(f"a study: {each:.2f} ms; read and decoded {read:.2f} ({100 * read / each:.0f} %), header {made:.2f} "
              f"({100 * made / each:.0f} %), matched twice {matched:.2f} ({100 * matched / each:.0f} %)")  # fmt: skip
        began, cpu = time.perf_counter(), os.times()
        found = difference_over(NodeHistory(url, Path(folder)), before, after, processes=asked.processes)
        took, used = time.perf_counter() - began, os.times()
    assert found.studies == asked.studies
    cores = len(os.sched_getaffinity(0))
    signs = f"+{len(found.added)} -{len(found.removed)} the same {found.same}"
    work = sum(after - before for after, before in zip(used[:4], cpu[:4], strict=True))
    print(f"{found.studies} studies, {len(before)} protocols twice: {signs}")
    print(f"{took:.1f} s on {cores} cores, {work:.1f} s of CPU")
    if asked.studies >= STUDIES and took > TARGET_S:
        raise SystemExit(f"longer than {TARGET_S:.0f} s")


if __name__ == "__main__":
    main()
