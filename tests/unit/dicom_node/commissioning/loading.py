"""The synthetic body read as a node reads it, for tests of what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.commissioning.body import Body, make_body
from dicom_node.commissioning.check import SentResult
from dicom_node.results.profiles import Profile
from dicom_node.volumes.load import load_series
from inference.open import open_predictor
from workflows.reading import ReadingContext, read
from workflows.steps.plan import COMMISSIONING_QUESTION

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class ReadBody:
    """A body and the results of its series, as they were sent."""

    body: Body
    results: tuple[SentResult, ...]

    @property
    def files(self) -> list[Path]:
        return [*self.body.files, *(result.path for result in self.results)]


def read_body(folder: Path, profile: Profile) -> ReadBody:
    body = make_body(folder / "images", "run", WHEN)
    predictor = open_predictor("commissioning")
    results = []
    for series in body.series:
        own = folder / "results" / series.name
        context = ReadingContext(
            series.name, series.name, WHEN, "commission", "MEDSEG", folders={profile: own}, predecessors={}
        )
        reading = read(load_series(series.files), [COMMISSIONING_QUESTION], predictor, context)
        results += [SentResult(series.name, made.kind, made.path) for made in reading.objects]
    return ReadBody(body, tuple(results))
