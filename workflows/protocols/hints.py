"""Hints: what in a protocol will not do what its writer expects, though it is no mistake. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_node.headers.left_out import LEFT_OUT
from workflows.protocols.anatomy import every_test
from workflows.protocols.code_checks import code_warnings
from workflows.protocols.condition_reader import loc_of
from workflows.protocols.conditions import AllOf, Condition, Equals, Pattern, Test
from workflows.protocols.contradictions import allowed, contradictions
from workflows.protocols.exact_texts import exact_text_hints
from workflows.protocols.fields import FIELDS
from workflows.protocols.filling import needed_in
from workflows.protocols.hygiene import NO_IMAGES
from workflows.protocols.loader import ReadFile
from workflows.protocols.nodes import Loc
from workflows.protocols.question_language import not_understood
from workflows.protocols.schema import ImageKind, ReadingProtocol

__all__ = ["hints"]

_WITHOUT_CINES = frozenset({"CT", "PT", "CR", "DX"})
_LEFT_OUT_TYPES = {
    "LOCALIZER": ImageKind.LOCALIZERS, "MPR": ImageKind.REFORMATS, "REFORMATTED": ImageKind.REFORMATS,
    "MIP": ImageKind.REFORMATS, "SCREEN SAVE": ImageKind.CAPTURES,
}  # fmt: skip
_UMLAUT_AT_BORDER = re.compile(r"\\b[^\x00-\x7f]|[^\x00-\x7f]\\b")


def hints(file: ReadFile, protocol: ReadingProtocol) -> Iterator[tuple[Loc, str]]:
    """Place and message of each."""
    if not protocol.off_because or protocol.examples:
        yield from _examples(protocol)
    for where, message in (*contradictions(of_study(protocol.when)), *contradictions(protocol.series.where)):
        yield loc_of(where), message
    for test in (*every_test(protocol.when), *every_test(protocol.series.where)):
        yield from ((loc_of(test.where), message) for message in _of_test(test))
        yield from ((loc_of(test.where), message) for message in exact_text_hints(test, protocol, file.written))
    yield from _images(protocol)
    if file.written is not None:
        yield from code_warnings(file.written)
    yield from _only_filled(protocol)
    number = -1
    for question in protocol.questions:
        number += not question.follows
        if language := not_understood(question.text):
            told = f"{question.text!r} is in a language that is not understood ({language}); write English or German"
            yield ("questions", number, "text") if not question.follows else ("questions", number, "follow_ups"), told


def _only_filled(protocol: ReadingProtocol) -> Iterator[tuple[Loc, str]]:
    """Whether nothing is asked where a header does not say what every question needs."""
    needed = [needed_in(question.text) for question in protocol.questions if not question.follows]
    if needed and all(needed):
        first = needed[0][0]
        told = f"every question needs what a header may not say ({{{first}}}): nothing is asked then"
        yield ("questions", 0, "text"), f"{told}; write {{{first}|}}, or words behind the bar, in a question at least"


def of_study(condition: Condition) -> Condition:
    """What of `when` speaks of the study alone: tests of series may each be met by another one."""
    if isinstance(condition, AllOf):
        return AllOf(tuple(part for part in condition.conditions if _is_of_study(part)), condition.where)
    return condition if _is_of_study(condition) else AllOf(())


def _is_of_study(condition: Condition) -> bool:
    return all(test.field in FIELDS and not FIELDS[test.field].of_series for test in every_test(condition))


def _examples(protocol: ReadingProtocol) -> Iterator[tuple[Loc, str]]:
    kinds = {example.matches for example in protocol.examples}
    if not kinds:
        yield ("name",), f"{protocol.name} has no examples: write one that it must match, and one that it must not"
    elif len(kinds) < 2:
        lacking = "must not match: match: false" if True in kinds else "must match: match: true"
        yield ("examples",), f"{protocol.name} has no example that it {lacking}"


def _of_test(test: Test) -> Iterator[str]:
    for check in test.checks:
        if isinstance(check, Pattern) and _UMLAUT_AT_BORDER.search(check.expression):
            yield (
                f"{check.expression!r}: \\b beside a letter that is not one of a to z never holds: leave that \\b out"
            )
    if test.field not in FIELDS and (left_out := [one for one in test.field.split("/") if one in LEFT_OUT]):
        yield f"{left_out[0]} is not kept of a header, for it tells who somebody is: the test is never known"


def _images(protocol: ReadingProtocol) -> Iterator[tuple[Loc, str]]:
    """Images that are never asked, and frames that there are none of."""
    where = protocol.series.where
    modalities = allowed(where, "modality")
    if modalities and protocol.frames.text != "middle" and modalities <= _WITHOUT_CINES:
        told = f"all slices of a volume are read in any case, and {', '.join(sorted(modalities))} has no cines"
        yield ("frames",), f"frames: {protocol.frames.text} means nothing here: {told}"
    if modalities and modalities <= NO_IMAGES:
        yield _place(where, "modality"), f"{', '.join(sorted(modalities))} has no images: nothing is ever asked"
    for test in _wanted(where):
        if test.field != "image_type":
            continue
        values = {value.strip().upper() for check in test.checks if isinstance(check, Equals) for value in check.values}
        kinds = {_LEFT_OUT_TYPES.get(value) for value in values}
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        if kind is not None and kind not in protocol.series.include:
            yield loc_of(test.where), f"{kind.value} are left out unless they are included: include: [{kind.value}]"


def _wanted(condition: Condition) -> Iterator[Test]:
    """Tests that must hold."""
    if isinstance(condition, Test):
        yield condition
    elif isinstance(condition, AllOf):
        for part in condition.conditions:
            yield from _wanted(part)


def _place(condition: Condition, field: str) -> Loc:
    return next((loc_of(test.where) for test in every_test(condition) if test.field == field), ())
