"""Condition reader: mappings of a file -> typed conditions, with every mistake and what to write instead. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from dicom_node.headers.keywords import is_keyword, is_sequence, near_keywords
from inference.suggestions import similar_name
from workflows.protocols.checks import CheckReader, Wanted
from workflows.protocols.conditions import AllOf, AnyOf, Condition, Count, Not, NumberRange, Test
from workflows.protocols.fields import FIELDS, Kind, field_of
from workflows.protocols.nodes import Loc, kind_of
from workflows.protocols.values import ENOUGH, fault

__all__ = ["GROUPS", "is_condition", "loc_of", "no_keyword", "read_condition"]

GROUPS = ("all", "any", "not", "count")
_PATH = re.compile(r"[A-Za-z0-9]+(/[A-Za-z0-9]+)*")
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?")
_NOTHING = AllOf(())


def read_condition(value: Any, where: str) -> Condition:
    """What a mapping says must hold. `where`: its place, such as `series.where`. Raises pydantic's ValidationError."""
    reader = _Reader()
    condition = reader.mapping(value, (), where)
    if reader.faults:
        raise ValidationError.from_exception_data("condition", reader.faults)
    return condition


def is_condition(key: str) -> bool:
    """Whether a key says what must hold."""
    return key in FIELDS or key in GROUPS or is_keyword(key)


def loc_of(where: str) -> Loc:
    """Keys and places in lists (from 0) of a condition's `where`."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", where)
    return tuple(int(number) - 1 if number else key for number, key in parts)


class _Reader:
    def __init__(self) -> None:
        self.faults: list[InitErrorDetails] = []

    def wrong(self, loc: Loc, message: str, *, of_key: bool = False) -> None:
        self.faults.append(fault(loc, message, of_key=of_key))

    def mapping(self, value: Any, loc: Loc, where: str) -> Condition:
        """All that a mapping says must hold."""
        if not isinstance(value, dict):
            hint = "; a list stands under all or any: {any: [{...}, {...}]}" if isinstance(value, list) else ""
            self.wrong(loc, f"{_name(where)} is {kind_of(value)}; write a mapping, such as {{modality: CT}}{hint}")
            return _NOTHING
        if not value:
            self.wrong(loc, f"{_name(where)} is empty; write what must hold, such as modality: CT, or leave it out")
        found = [
            condition
            for key, entry in value.items()
            if len(self.faults) < ENOUGH
            and (condition := self._entry(key, entry, (*loc, key), f"{where}.{key}")) is not None
        ]
        return found[0] if len(found) == 1 else AllOf(tuple(found), where)

    def _entry(self, key: str, value: Any, loc: Loc, where: str) -> Condition | None:
        if key in _READERS:
            return _READERS[key](self, value, loc, where)
        if key in FIELDS:
            return self._test(key, FIELDS[key].kind, value, loc, where)
        if self._is_path(key, loc) and (field := field_of(key)) is not None:
            return self._test(key, None if field.kind is Kind.TEXT else field.kind, value, loc, where)
        return None

    def _test(self, key: str, kind: Kind | None, value: Any, loc: Loc, where: str) -> Test | None:
        wanted: Wanted | None = CheckReader(key, kind, self.faults).read(value, loc)
        return None if wanted is None else Test(key, wanted.checks, wanted.if_missing, where)

    def _is_path(self, key: str, loc: Loc) -> bool:
        """Whether a key is a path of keywords; if not, a mistake says what it should be."""
        told = ""
        if tag := _TAG.fullmatch(key.strip()):
            told = f"{key!r} is a tag; write the keyword of ({tag[1]},{tag[2]}) instead"
        elif not _PATH.fullmatch(key) or (key[0].islower() and "/" not in key):
            told = _unknown(key)
        else:
            told = next((said for keyword in key.split("/") if (said := no_keyword(keyword))), "")
            for keyword in key.split("/")[:-1]:
                if not told and not is_sequence(keyword):
                    told = f"{keyword} is no sequence: nothing stands beneath it"
        if told:
            self.wrong(loc, told, of_key=True)
        return not told

    def _list(self, value: Any, loc: Loc, where: str) -> tuple[Condition, ...]:
        key = loc[-1]
        if not isinstance(value, list) or not value:
            kind = "an empty list" if value == [] else kind_of(value)
            self.wrong(loc, f"{key} is {kind}; write a list of mappings: {key}: [{{modality: CT}}, {{modality: MR}}]")
            return ()
        return tuple(
            self.mapping(entry, (*loc, index), f"{where}[{index + 1}]")
            for index, entry in enumerate(value)
            if len(self.faults) < ENOUGH
        )

    def _all(self, value: Any, loc: Loc, where: str) -> Condition:
        return AllOf(self._list(value, loc, where), where)

    def _any(self, value: Any, loc: Loc, where: str) -> Condition:
        return AnyOf(self._list(value, loc, where), where)

    def _not(self, value: Any, loc: Loc, where: str) -> Condition:
        if isinstance(value, list):
            return Not(AnyOf(self._list(value, loc, where), where), where)
        return Not(self.mapping(value, loc, where), where)

    def _count(self, value: Any, loc: Loc, where: str) -> Condition | None:
        example = "count: {of: {modality: CT}, at_least: 2}"
        if not isinstance(value, dict) or "of" not in value:
            self.wrong(loc, f"count has no 'of'; write, for example, {example}")
            return None
        bounds = {key: entry for key, entry in value.items() if key != "of"}
        if not bounds:
            self.wrong(loc, f"count has neither at_least nor at_most; write, for example, {example}")
        checks = CheckReader("count", Kind.NUMBER, self.faults, only=("at_least", "at_most"))
        wanted = checks.read(bounds, loc) if bounds else None
        condition = self.mapping(value["of"], (*loc, "of"), f"{where}.of")
        if wanted is None or not isinstance(wanted.checks[0], NumberRange):
            return None
        return Count(condition, wanted.checks[0], where)


_READERS: Mapping[str, Callable[[_Reader, Any, Loc, str], Condition | None]] = {
    "all": _Reader._all,
    "any": _Reader._any,
    "not": _Reader._not,
    "count": _Reader._count,
}


def no_keyword(keyword: str) -> str:
    """What is wrong with a name that DICOM does not have, and what may have been meant; "" for one that it has."""
    if is_keyword(keyword):
        return ""
    near = near_keywords(keyword[:64], most=1)
    hint = f"did you mean {near[0]}?" if near else "write it as PS3.6 does, such as SeriesDescription"
    return f"{keyword[:64]!r} is no keyword of DICOM; {hint}"


def _name(where: str) -> str:
    return where.rpartition(".")[2]


def _unknown(key: str) -> str:
    if key == "<<":
        return "unknown key '<<': keys are not merged here; write them out"
    near = similar_name(key, (*FIELDS, *GROUPS)) or similar_name(_small(key), (*FIELDS, *GROUPS))
    hint = f"did you mean {near!r}?" if near else "docs/protocols.md lists what a condition may ask"
    return f"unknown key {key[:100]!r}; {hint}"


def _small(key: str) -> str:
    """`SliceThickness` and `slice-thickness` as names of fields are written."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).casefold()).strip("_")
