"""Check reader: what a file wants of one field -> checks, by the kind of the field. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2
from pydantic_core import InitErrorDetails

from dicom_node.headers.coded import CodedHeader, parse_code
from inference.card import Plane, Region
from inference.suggestions import similar_name
from workflows.protocols.conditions import Check, Coded, Equals, NumberRange, Pattern, Present, TimeOfDay
from workflows.protocols.fields import Kind
from workflows.protocols.meant import choice_meant
from workflows.protocols.nodes import Loc, kind_of
from workflows.protocols.values import ENOUGH, fault

__all__ = ["CHECKS_OF", "CHOICES", "DAYS", "CheckReader", "Wanted", "pattern_fault"]

CHECKS_OF: Mapping[Kind | None, tuple[str, ...]] = {
    Kind.TEXT: ("equals", "pattern", "present"),
    Kind.NUMBER: ("at_least", "at_most", "equals", "present"),
    Kind.CODE: ("code", "pattern", "present"),
    Kind.TIME: ("from", "to", "days", "present"),
    None: ("equals", "pattern", "at_least", "at_most", "present"),
}
"""What a mapping may want of a field of each kind; None: of a keyword, which may hold anything."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "sex": ("F", "M", "O"),
    "region": tuple(one.value for one in Region),
    "plane": tuple(one.value for one in Plane),
    "phase": ("native", "arterial", "portal", "venous", "delayed"),
}
"""Fields whose values are known: another would never match."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TOGETHER = (("at_least", "at_most"), ("from", "to", "days"))
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_EXAMPLE = {
    Kind.TEXT: "a text, a list of texts or {pattern: ...}", Kind.NUMBER: "a number or {at_least: ..., at_most: ...}",
    Kind.CODE: "{code: SCT:818981001}", Kind.TIME: "{from: '18:00', to: '07:00'}",
    None: "a text, a list of texts or {pattern: ...}",
}  # fmt: skip
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_LOOKAROUND = re.compile(r"\(\?(=|!|<=|<!)")


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a field, and what it counts as where the header says nothing."""

    checks: tuple[Check, ...]
    if_missing: bool | None = None


class CheckReader:
    """Reads what is wanted of one field. `faults` takes what is wrong; `only`: the checks that may stand here."""

    def __init__(
        self, field: str, kind: Kind | None, faults: list[InitErrorDetails], only: Sequence[str] | None = None
    ) -> None:
        self._field, self._kind, self._faults = field, kind, faults
        self._only = tuple(only or CHECKS_OF[kind])

    def read(self, value: Any, loc: Loc) -> Wanted | None:
        """A text, a number, a mapping, or a list of them; None, and mistakes, if any of it is wrong."""
        before = len(self._faults)
        if value == []:
            self._wrong(loc, f"{self._field} is an empty list; write something into it, or leave it out")
        entries = (
            [((*loc, index), one) for index, one in enumerate(value)] if isinstance(value, list) else [(loc, value)]
        )
        checks: list[Check] = []
        bare: list[Check] = []
        missing: set[bool | None] = set()
        for place, entry in entries:
            if len(self._faults) >= ENOUGH:
                break
            if isinstance(entry, dict):
                found, if_missing = self._mapping(entry, place)
                checks += found
                missing.add(if_missing)
            else:
                bare += self._bare(entry, place)
        if len(missing) > 1:
            self._wrong(loc, f"{self._field}: if_missing differs between these; give the same with each")
        if len(self._faults) > before:
            return None
        return Wanted((*_joined(bare), *checks), next(iter(missing), None))

    def _bare(self, value: Any, loc: Loc) -> list[Check]:
        """What stands without a mapping: it equals this."""
        if self._kind is Kind.TIME or not isinstance(value, str) or not value.strip():
            self._wrong(loc, f"{self._field} is {kind_of(value)}; write {_EXAMPLE[self._kind]}")
            return []
        if self._kind is Kind.CODE:
            return self._codes(value, loc)
        if self._kind is Kind.NUMBER:
            number = self._number(value, loc, self._field)
            return [] if number is None else [Equals((f"{number:.12g}",))]
        known = CHOICES.get(self._field)
        said = value.strip()
        if known is not None and said.casefold() not in {one.casefold() for one in known}:
            near = similar_name(said.casefold(), known) or choice_meant(self._field, said)
            told = f"did you mean {near!r}?" if near in known else f"write {', '.join(known)}"
            self._wrong(loc, f"{self._field} is never {said!r}; {told}")
        return [Equals((said,))]

    def _mapping(self, value: Mapping[str, Any], loc: Loc) -> tuple[list[Check], bool | None]:
        if_missing = self._if_missing(value["if_missing"], (*loc, "if_missing")) if "if_missing" in value else None
        wanted = {key: entry for key, entry in value.items() if key != "if_missing"}
        for key in wanted:
            if key not in self._only:
                self._unknown(key, (*loc, key))
                return [], if_missing
        if not wanted:
            self._wrong(loc, f"{self._field} wants nothing; write {_EXAMPLE[self._kind]}")
            return [], if_missing
        kinds = {next((group for group in _TOGETHER if key in group), (key,)) for key in wanted}
        if len(kinds) > 1:
            keys = " and ".join(wanted)
            self._wrong(loc, f"{self._field} has {keys} in one mapping; write one of them, or a list of two mappings")
            return [], if_missing
        return self._check(wanted, loc), if_missing

    def _check(self, wanted: Mapping[str, Any], loc: Loc) -> list[Check]:
        key, entry = next(iter(wanted.items()))
        match key:
            case "pattern":
                return self._each(entry, (*loc, key), self._pattern)
            case "equals":
                return _joined(self._each(entry, (*loc, key), self._bare))
            case "code":
                return _joined(self._each(entry, (*loc, key), self._codes))
            case "present":
                said = self._truth(entry, (*loc, key), "true or false")
                return [] if said is None else [Present(said)]
            case "at_least" | "at_most":
                return self._range(wanted, loc)
            case _:
                return self._time(wanted, loc)

    def _each(self, value: Any, loc: Loc, read: Any) -> list[Check]:
        if value == []:
            self._wrong(loc, f"{loc[-1]} is an empty list; write something into it")
        if not isinstance(value, list):
            return list(read(value, loc))
        return [
            check
            for index, entry in enumerate(value)
            if len(self._faults) < ENOUGH
            for check in read(entry, (*loc, index))
        ]

    def _pattern(self, value: Any, loc: Loc) -> list[Check]:
        if not isinstance(value, str) or not value.strip():
            self._wrong(loc, f"{self._field}: pattern is {kind_of(value)}; write a regular expression")
            return []
        if told := pattern_fault(value):
            self._wrong(loc, f"{self._field}: {told}")
            return []
        return [Pattern(value)]

    def _codes(self, value: Any, loc: Loc) -> list[Check]:
        """`SCHEME:VALUE`, or a mapping with value, scheme and synonyms."""
        if isinstance(value, dict):
            return self._coded_mapping(value, loc)
        code = self._code(value, loc)
        return [] if code is None else [Coded((code,))]

    def _code(self, value: Any, loc: Loc) -> CodedHeader | None:
        try:
            return parse_code(value if isinstance(value, str) else "")
        except ValueError:
            self._wrong(loc, f"{self._field}: {kind_of(value)} is not SCHEME:VALUE, such as SCT:818981001")
            return None

    def _coded_mapping(self, value: Mapping[str, Any], loc: Loc) -> list[Check]:
        known = ("value", "scheme", "meaning", "synonyms")
        for key in value:
            if key not in known:
                near = similar_name(key, known)
                hint = f"did you mean {near!r}?" if near else f"a code has {', '.join(known)}"
                self._wrong((*loc, key), f"unknown key {key!r}; {hint}", of_key=True)
        texts = {key: str(value.get(key) or "").strip() for key in ("value", "scheme", "meaning")}
        for key in ("value", "scheme"):
            if not texts[key] or isinstance(value[key], list | dict):
                self._wrong(loc, f"a code lacks {key!r}; write {{value: '818981001', scheme: SCT}} or SCT:818981001")
                return []
        codes = [CodedHeader(texts["value"], texts["scheme"], texts["meaning"])]
        synonyms = value.get("synonyms", [])
        for index, entry in enumerate(synonyms if isinstance(synonyms, list) else [synonyms]):
            place = (*loc, "synonyms", index) if isinstance(synonyms, list) else (*loc, "synonyms")
            if (code := self._code(entry, place)) is not None:
                codes.append(code)
        return [Coded(tuple(codes))]

    def _range(self, wanted: Mapping[str, Any], loc: Loc) -> list[Check]:
        bounds = {key: self._number(entry, (*loc, key), f"{self._field}: {key}") for key, entry in wanted.items()}
        low, high = bounds.get("at_least"), bounds.get("at_most")
        if low is not None and high is not None and low > high:
            self._wrong(loc, f"{self._field}: at_least is above at_most, so nothing could match; exchange them")
        return [NumberRange(low, high)]

    def _number(self, value: Any, loc: Loc, what: str) -> float | None:
        """A number; of an age also `18Y`, `6M`, `2W` or `10D`, in years."""
        said = value.strip() if isinstance(value, str) else ""
        age = re.fullmatch(r"(\d{1,3}) ?([DWMY])", said.upper()) if self._field == "age" else None
        if age is not None:
            return int(age[1]) * _YEARS[age[2]]
        try:
            number = float(said) if "_" not in said else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            wanted = "a number of years, or an age such as 18Y or 6M" if self._field == "age" else "a number"
            self._wrong(loc, f"{what} is {kind_of(value)}; write {wanted}")
            return None
        return number

    def _time(self, wanted: Mapping[str, Any], loc: Loc) -> list[Check]:
        minutes = {"from": 0, "to": 24 * 60}
        for key in minutes:
            if key in wanted:
                said = re.fullmatch(r"(\d{1,2}):(\d{2})", str(wanted[key]).strip())
                if said is None or int(said[1]) * 60 + int(said[2]) > 24 * 60 or int(said[2]) > 59:
                    self._wrong((*loc, key), f"{self._field}: {key} is {kind_of(wanted[key])}; write a time, '18:00'")
                else:
                    minutes[key] = int(said[1]) * 60 + int(said[2])
        if "from" in wanted and "to" in wanted and wanted["from"] == wanted["to"]:
            self._wrong(loc, f"{self._field}: from and to are the same time; leave both out for the whole day")
        return [TimeOfDay(minutes["from"], minutes["to"], self._days(wanted.get("days"), (*loc, "days")))]

    def _days(self, value: Any, loc: Loc) -> tuple[int, ...]:
        days = []
        for index, entry in enumerate(value if isinstance(value, list) else [] if value is None else [value]):
            said = str(entry).strip().casefold()[:3] if isinstance(entry, str) else ""
            if said in DAYS:
                days.append(DAYS.index(said))
            else:
                place = (*loc, index) if isinstance(value, list) else loc
                self._wrong(place, f"{self._field}: {kind_of(entry)} is no day; write {', '.join(DAYS)}")
        return tuple(sorted(set(days)))

    def _if_missing(self, value: Any, loc: Loc) -> bool | None:
        if isinstance(value, str) and value.strip().casefold() == "unknown":
            return None
        return self._truth(value, loc, "true, false or unknown")

    def _truth(self, value: Any, loc: Loc, wanted: str) -> bool | None:
        said = _TRUTHS.get(value.strip().casefold()) if isinstance(value, str) else None
        if said is None:
            self._wrong(loc, f"{self._field}: {loc[-1]} is {kind_of(value)}; write {wanted}")
        return said

    def _unknown(self, key: str, loc: Loc) -> None:
        every = {one for checks in CHECKS_OF.values() for one in checks}
        near = similar_name(key, (*self._only, "if_missing"))
        told = f"unknown key {key[:100]!r}" if key not in every else f"{self._field} takes no {key!r}"
        hint = f"did you mean {near!r}?" if near else f"write {_EXAMPLE[self._kind]}"
        self._wrong(loc, f"{told}; {hint}", of_key=True)

    def _wrong(self, loc: Loc, message: str, *, of_key: bool = False) -> None:
        self._faults.append(fault(loc, message, of_key=of_key))


def pattern_fault(expression: str) -> str:
    """What is wrong with a regular expression, and what to write; "" if nothing is."""
    shown = expression if len(expression) <= 100 else f"{expression[:100]}..."
    if not expression.isprintable():
        why = r"in double quotes YAML makes one of \b"
        return f"{shown!r} holds a control character ({why}); write it in single quotes"
    try:
        everything = Pattern(expression).matches("")
    except re2.error as error:
        said = error.args[0] if error.args else "it cannot be read"
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return f"{shown!r} is not a regular expression: {said}{_remedy(expression)}"
    if everything:
        return f"{shown!r} matches every text; say what has to stand there"
    return ""


def _remedy(expression: str) -> str:
    if _LOOKAROUND.search(expression):
        return "; there is no lookahead or lookbehind: put what must not stand there under not: {...: {pattern: ...}}"
    if re.search(r"\\[1-9]|\(\?P=", expression):
        return "; there are no references to groups: write out what repeats"
    if re.search(r"\(\?>|[*+?}]\+", expression):
        return "; there are no possessive or atomic groups, and no need for them: leave the sign out"
    return "; put a backslash before a sign that is meant as it stands: \\( \\[ \\+"


def _joined(checks: Sequence[Check]) -> list[Check]:
    """Texts in one Equals and codes in one Coded: one of them is enough."""
    texts = tuple(value for check in checks if isinstance(check, Equals) for value in check.values)
    codes = tuple(concept for check in checks if isinstance(check, Coded) for concept in check.concepts)
    return [*([Equals(texts)] if texts else []), *([Coded(codes)] if codes else [])]
