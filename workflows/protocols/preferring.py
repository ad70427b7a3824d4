"""Preferring: which of the series that fit are asked first, and in words why one comes before another. Pure.

Every preference puts a series into a rank, the best first; one that a header says nothing for lies behind those that it
speaks for. Of what is still alike the one with most images comes first, then the lower Series Number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dicom_node.headers.study import SeriesHeader
from workflows.protocols.evaluating import Evaluation, number_of
from workflows.protocols.paths import path_values
from workflows.protocols.schema import Order, Preference
from workflows.protocols.telling import named
from workflows.protocols.truth import Truth

__all__ = ["Preferring"]

Rank = float | tuple[float, ...]
Ranked = dict[int, Rank]
"""Ranks by the index of a series."""


class Preferring:
    """Of the series of one study; what protocols share is ranked once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._ranks: dict[str, list[Rank]] = {}
        self._places: dict[tuple[str, ...], dict[int, int]] = {}
        self._reasons: dict[tuple[tuple[str, ...], int], dict[int, str]] = {}

    def in_order(self, fitting: Sequence[int], prefer: Sequence[Preference]) -> list[int]:
        """The series of these indices, the preferred ones first."""
        names = _names(prefer)
        if names is None:
            return self._sorted(fitting, prefer)
        places = self._places.get(names)
        if places is None:
            every = range(len(self._evaluation.series))
            places = self._places[names] = {index: place for place, index in enumerate(self._sorted(every, prefer))}
        return sorted(fitting, key=places.__getitem__)

    def why_before(
        self, first: int, others: Sequence[int], fitting: Sequence[int], prefer: Sequence[Preference]
    ) -> list[str]:
        """Which series comes before each of others, and the first preference that says so."""
        names = _names(prefer)
        known = {} if names is None else self._reasons.setdefault((names, first), {})
        if new := [other for other in others if other not in known]:
            preferences = (*prefer, Order.MOST_IMAGES)
            columns = list(zip(preferences, self._columns(fitting, prefer), strict=True))
            series = self._evaluation.series[first]
            name = f"'{named(series.series_description)}'" if series.series_description else named(series.series_uid)
            for other in new:
                known[other] = f"series {name} is preferred: {self._difference(first, other, columns)}"
        return [known[other] for other in others]

    def _sorted(self, indices: Sequence[int], prefer: Sequence[Preference]) -> list[int]:
        columns = self._columns(indices, prefer)
        return sorted(indices, key=lambda index: ([column[index] for column in columns], index))

    def _difference(self, first: int, other: int, columns: Sequence[tuple[Preference, Sequence[Rank] | Ranked]]) -> str:
        for preference, column in columns:
            if column[first] != column[other]:
                return f"{self._told(preference, first, column)}, this one {self._told(preference, other, column)}"
        return "it comes first in the study"

    def _columns(self, fitting: Sequence[int], prefer: Sequence[Preference]) -> list[Sequence[Rank] | Ranked]:
        return [self._column(preference, fitting) for preference in (*prefer, Order.MOST_IMAGES)]

    def _column(self, preference: Preference, fitting: Sequence[int]) -> Sequence[Rank] | Ranked:
        series = self._evaluation.series
        if not isinstance(preference, Order):
            outcomes = self._evaluation.of_series(preference)(fitting)
            return {index: _of_truth(one.truth) for index, one in zip(fitting, outcomes, strict=True)}
        if preference is Order.LATEST:  # by what all of those that fit have
            return dict(zip(fitting, _latest([series[index] for index in fitting]), strict=True))
        name = preference.value
        if name not in self._ranks:
            self._ranks[name] = [_RANKS[name](one) for one in series]
        return self._ranks[name]

    def _told(self, preference: Preference, index: int, column: Sequence[Rank] | Ranked) -> str:
        if not isinstance(preference, Order):
            return self._evaluation.of_series(preference)((index,))[0].told
        if preference is Order.LATEST:
            return _told_time(column[index])
        return _TOLD[preference.value](self._evaluation.series[index])


def _names(prefer: Sequence[Preference]) -> tuple[str, ...] | None:
    """Names of preferences that rank a series whatever others there are, or None: one of them is no such."""
    if any(not isinstance(one, Order) or one is Order.LATEST for one in prefer):
        return None
    return tuple(one.value for one in prefer if isinstance(one, Order))


_LAST = float("inf")


def _of_truth(truth: Truth) -> float:
    return 0.0 if truth is Truth.YES else 1.0 if truth is Truth.UNKNOWN else 2.0


# --- Orders that have a name ------------------------------------------------------------------------------------------


def _first_of_image_type(series: SeriesHeader) -> str:
    return series.image_type[0].strip().lower() if series.image_type else ""


def _original(series: SeriesHeader) -> float:
    value = _first_of_image_type(series)
    return 0.0 if value == "original" else 2.0 if value == "derived" else 1.0


def _told_original(series: SeriesHeader) -> str:
    value = _first_of_image_type(series)
    return value if value in ("original", "derived") else "neither original nor derived by its Image Type"


def _plane(series: SeriesHeader) -> str:
    values = {value.strip().lower() for value in series.image_type}
    return series.plane or next((plane for plane in ("axial", "coronal", "sagittal") if plane in values), "")


def _axial(series: SeriesHeader) -> float:
    plane = _plane(series)
    return 0.0 if plane == "axial" else 2.0 if plane else 1.0


def _told_plane(series: SeriesHeader) -> str:
    return named(_plane(series)) or "of a plane that is not known"


def _thickness(series: SeriesHeader) -> float | None:
    thickness = series.slice_thickness_mm
    return thickness if thickness is not None and math.isfinite(thickness) else None


def _thin(series: SeriesHeader) -> float:
    thickness = _thickness(series)
    return _LAST if thickness is None else thickness


def _thick(series: SeriesHeader) -> float:
    thickness = _thickness(series)
    return _LAST if thickness is None else -thickness


def _told_thickness(series: SeriesHeader) -> str:
    thickness = _thickness(series)
    return "without a slice thickness" if thickness is None else f"{thickness:g} mm"


def _images(series: SeriesHeader) -> int:
    return max(series.instances, series.frames or 0)


_RANKS: dict[str, Callable[[SeriesHeader], float]] = {
    Order.ORIGINAL.value: _original,
    Order.AXIAL.value: _axial,
    Order.THIN.value: _thin,
    Order.THICK.value: _thick,
    Order.MOST_IMAGES.value: lambda series: -_images(series),
}
_TOLD: dict[str, Callable[[SeriesHeader], str]] = {
    Order.ORIGINAL.value: _told_original,
    Order.AXIAL.value: _told_plane,
    Order.THIN.value: _told_thickness,
    Order.THICK.value: _told_thickness,
    Order.MOST_IMAGES.value: lambda series: f"{_images(series)} images",
}


def _latest(series: Sequence[SeriesHeader]) -> list[Rank]:
    """By date and time where all of them have both, else by Series Number; one without a number comes last."""
    moments = [moment for one in series if (moment := _moment(one)) is not None]
    if len(moments) == len(series):
        return [(-day, -time) for day, time in moments]
    return [_LAST if number == _LAST else -number for number in map(number_of, series)]


def _told_time(rank: Rank) -> str:
    if isinstance(rank, tuple):
        clock = f"{-rank[1]:06.0f}"
        return f"of {-rank[0]:08.0f} {clock[:2]}:{clock[2:4]}:{clock[4:6]}"
    return "without a number" if rank == _LAST else f"series {-rank:g}"


def _moment(series: SeriesHeader) -> tuple[float, float] | None:
    """Series Date and Time as numbers, else those of its acquisition."""
    for what in ("Series", "Acquisition"):
        day, time = _digits(series, f"{what}Date", "."), _digits(series, f"{what}Time", ":")
        if day is not None and time is not None:
            return day, time
    return None


def _digits(series: SeriesHeader, keyword: str, parted_by: str) -> float | None:
    """A date or time as a number; dots and colons are those of ACR-NEMA (PS3.5 6.2)."""
    value = str(next(iter(path_values(series.attributes, (keyword,))), "")).replace(parted_by, "")
    whole, _, fraction = value.partition(".")
    return float(f"{whole}.{fraction or 0}") if _is_digits(whole) and _is_digits(fraction or "0") else None


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
