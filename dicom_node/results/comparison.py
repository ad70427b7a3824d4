"""Change: a measurement of a finding beside the same one of an earlier result of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

__all__ = ["Change"]


@dataclass(frozen=True)
class Change:
    """One measurement then and now, in the same unit. `name`: such as "volume"; dates are those of the studies.

    `before_at_least`, `after_at_least`: it was perhaps cut off by the edge of what was imaged, so that its value is a
    lower bound. Where either is, nothing is known of the change.
    """

    name: str
    unit: str
    before: float
    after: float
    before_date: date | None
    after_date: date | None
    before_at_least: bool = False
    after_at_least: bool = False

    @property
    def known(self) -> bool:
        """Whether both values are, so that there is a difference."""
        return not (self.before_at_least or self.after_at_least)

    @property
    def difference(self) -> float | None:
        """Now less then; None where either is a lower bound."""
        return self.after - self.before if self.known else None

    @property
    def per_cent(self) -> float | None:
        """The difference in per cent of what it was.

        None where that was 0, or so near that it says nothing, or there is no difference.
        """
        difference = self.difference
        share = math.nan if difference is None or self.before == 0 else 100 * difference / self.before
        return share if math.isfinite(share) else None

    @property
    def text(self) -> str:
        """Such as "volume +40.2 ml (+2.7 %): 1480.1 ml on 2026-01-02, 1520.3 ml on 2026-05-06".

        Of a lower bound "volume: at least 705.9 ml on ..., 608.8 ml on ...; cut off ..., so the change is not known".
        """
        places = max(_places(self.before), _places(self.after))
        then = _told(self.before, places, self.unit, self.before_date, self.before_at_least)
        now = _told(self.after, places, self.unit, self.after_date, self.after_at_least)
        difference, per_cent = self.difference, self.per_cent
        if difference is None:
            why = "cut off by the edge of the images, so the change is not known"
            return f"{self.name}: {then}, {now}; {why}"
        share = "" if per_cent is None else f" ({per_cent:+.1f} %)"
        return f"{self.name} {difference:+.{places}f} {self.unit}{share}: {then}, {now}"


def _told(value: float, places: int, unit: str, day: date | None, at_least: bool) -> str:
    return f"{'at least ' if at_least else ''}{value:.{places}f} {unit} on {day or 'an unknown date'}"


_MOST_PLACES = 10


def _places(value: float) -> int:
    """Decimals: one; below 1 enough for two significant digits, as `Measurement.rounded` has them."""
    if value == 0 or abs(value) >= 1:
        return 1
    exponent = int(f"{value:.1e}".partition("e")[2])
    return max(1, min(_MOST_PLACES, 1 - exponent))
