"""Repeating: a question that two protocols ask of one series is asked by the one of the higher rank. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.protocols.schema import ProtocolQuestion, ReadingProtocol

__all__ = ["AskedAlready", "Numbered"]

Numbered = Mapping[str, int]
"""Questions by id; two that are the same have one number."""


class AskedAlready:
    """Which questions are asked of each series, and by whom.

    Two are the same if they have the same text, findings, predictor and condition, of the same frames, and go on from
    the same ones; and if the answer goes to the same places and is of use as long: else one that is too late, or goes
    elsewhere, would take the place of the other.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._by: dict[str, dict[int, str]] = {}

    def numbered(self, protocol: ReadingProtocol, questions: tuple[ProtocolQuestion, ...]) -> Numbered:
        """The questions of a protocol, each after the one that it goes on from."""
        numbers: dict[str, int] = {}
        for question in questions:
            key = (
                numbers.get(question.follows), protocol.frames.text, " ".join(question.text.casefold().split()),
                question.findings, question.predictor, question.earlier, question.only_if, protocol.results,
                protocol.limits.useful_for_minutes,
            )  # fmt: skip
            numbers[question.id] = self._numbers.setdefault(key, len(self._numbers))
        return numbers

    def by(self, series_uid: str, questions: tuple[ProtocolQuestion, ...], numbers: Numbered) -> Mapping[str, str]:
        """Ids of those that are asked already, with the protocol that asks; without such as another one goes on from
        that is not."""
        asked = self._by.get(series_uid)
        if not asked:
            return {}
        already = {name: asked[number] for name, number in numbers.items() if number in asked}
        if already:
            for question in reversed(questions):
                if question.follows and question.id not in already:
                    already.pop(question.follows, None)
        return already

    def add(self, series_uid: str, protocol: str, numbers: Numbered) -> None:
        """Remember that a protocol asks these of a series."""
        asked = self._by.setdefault(series_uid, {})
        for number in numbers.values():
            asked.setdefault(number, protocol)
