"""Outcome: what a condition comes to, of a study or a series, with the clause that decided. Pure."""

from __future__ import annotations

from collections.abc import Callable

from workflows.protocols.truth import Truth

__all__ = ["ABOUT_AGE_ZERO", "ABOUT_ANATOMY", "BY_BODY_PART", "SHOWN", "Outcome"]

# What `Outcome.marks` is made of.
ABOUT_ANATOMY = 1
"""The clause that decided asks for the part of the body."""
SHOWN = 2
"""Words or codes show the part of the body that is wanted."""
BY_BODY_PART = 4
"""Body Part Examined says so."""
ABOUT_AGE_ZERO = 8
"""The clause that decided asks for the age, and the age is 0."""

_LOOK = ABOUT_ANATOMY | ABOUT_AGE_ZERO
_YES = Truth.YES
_EXCLUDED = "excluded: "


class Outcome:
    """`told`: the one clause that decided; put into words when it is first read. `missing`: attributes that it turned
    on and that are not there. `marks`: of those above. `is_plain`: it is met, and there is nothing more to say."""

    __slots__ = ("_opposite", "_told", "is_plain", "marks", "missing", "truth")

    def __init__(
        self, truth: Truth, told: str | Callable[[], str], missing: tuple[str, ...] = (), marks: int = 0
    ) -> None:
        self.truth, self._told, self.missing, self.marks = truth, told, missing, marks
        self.is_plain = truth is _YES and not marks and not missing
        self._opposite: Outcome | None = None

    @property
    def told(self) -> str:
        """Such as `modality MR is not CT`."""
        told = self._told
        if not isinstance(told, str):
            told = self._told = told()
        return told

    @property
    def opposite(self) -> Outcome:
        """Of a condition under `not`. What is met because something does not stand there shows nothing of the body."""
        if self._opposite is None:
            truth = ~self.truth
            marks = self.marks & (ABOUT_AGE_ZERO if truth is _YES else _LOOK)
            self._opposite = Outcome(truth, self._told_opposite, self.missing, marks)
        return self._opposite

    def _told_opposite(self) -> str:
        told = self.told.removeprefix(_EXCLUDED)
        return f"{_EXCLUDED}{told}" if self.truth is _YES else told

    @property
    def about_anatomy(self) -> bool:
        """Whether the part of the body decided."""
        return bool(self.marks & ABOUT_ANATOMY)

    @property
    def shown(self) -> bool:
        """Whether words or codes show the part of the body."""
        return bool(self.marks & SHOWN)

    @property
    def by_body_part(self) -> bool:
        """Whether Body Part Examined says so."""
        return bool(self.marks & BY_BODY_PART)
