"""Old select: the selector of files of 0.1, and the conditions that it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, ValidationError, model_validator

from dicom_node.headers.coded import CodedHeader, parse_code
from workflows.protocols.checks import pattern_fault
from workflows.protocols.conditions import (
    AllOf,
    AnyOf,
    Check,
    Coded,
    Condition,
    Equals,
    Not,
    NumberRange,
    Pattern,
    Test,
)  # fmt: skip
from workflows.protocols.schema import ImageKind, SeriesSelector
from workflows.protocols.values import Part, Text, fault, listed, number, wrong

__all__ = ["SelectDocument"]

_CODES = ("procedure", "protocol_code", "anatomic_region")
_SECONDARY_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
_INCLUDES = {
    "LOCALIZER": {ImageKind.LOCALIZERS},
    "SECONDARY": {ImageKind.REFORMATS, ImageKind.CAPTURES},
    "DERIVED": {ImageKind.REFORMATS},
    "MPR": {ImageKind.REFORMATS},
}
"""What a protocol that asks for such a value of Image Type wants, though it is left out otherwise."""


def _formed(form: str, wanted: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(form, text):
            raise wrong(f"{{what}}: {text!r} is not {wanted}")
        return text

    return AfterValidator(check)


def _pattern(text: str) -> str:
    if told := pattern_fault(text):
        raise wrong(f"{{what}}: {told}")
    return text


_Texts = Annotated[tuple[Text, ...], BeforeValidator(listed)]
_PatternTexts = Annotated[tuple[Annotated[Text, AfterValidator(_pattern)], ...], BeforeValidator(listed)]
_Modality = Annotated[Text, _formed(r"[A-Z0-9_]{1,16}", "a modality code: capital letters, such as CT")]
_Code = Annotated[Text, _formed(r"[^:\s]+:\S+", "SCHEME:VALUE, such as SCT:818981001")]
_SopClass = Annotated[Text, _formed(r"[0-9]+(\.[0-9]+)+", "a SOP Class UID, such as 1.2.840.10008.5.1.4.1.1.2")]


class Bounds(Part):
    """A closed range."""

    minimum: Annotated[float | None, number("a number, 0 or more", 0)] = None
    maximum: Annotated[float | None, number("a number, 0 or more", 0)] = None

    @model_validator(mode="after")
    def _ordered(self) -> Bounds:
        if self.minimum is None and self.maximum is None:
            raise wrong("{what} is empty; write minimum, maximum or both, or leave it out")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise wrong("{what}: minimum is above maximum, so nothing could match; exchange them")
        return self


class SelectDocument(Part):
    """Which series, as files of 0.1 say it."""

    to_write: ClassVar[Mapping[str, str]] = {"modality": "modality: CT"}

    modality: Annotated[tuple[_Modality, ...], BeforeValidator(listed)]
    texts: _PatternTexts = ()
    codes: Annotated[tuple[_Code, ...], BeforeValidator(listed)] = ()
    vague_texts: _PatternTexts = ()
    body_part: _Texts = ()
    exclude: _PatternTexts = ()
    image_type: _Texts = ()
    sop_classes: Annotated[tuple[_SopClass, ...], BeforeValidator(listed)] = ()
    instances: Bounds | None = None
    slice_thickness_mm: Bounds | None = None

    @model_validator(mode="after")
    def _body_part_beside_texts(self) -> SelectDocument:
        if self.body_part and not self.vague_texts:
            why = "body_part is often wrong and never decides alone"
            message = f"{why}; add vague_texts, or use texts or codes instead"
            raise ValidationError.from_exception_data("select", [fault(("body_part",), message)])
        if self.vague_texts and not self.body_part:
            why = "vague_texts decide only with a body part"
            message = f"{why}; add body_part, or call them texts"
            raise ValidationError.from_exception_data("select", [fault(("vague_texts",), message)])
        return self

    def selector(self) -> SeriesSelector:
        """The same, as series are selected now."""
        return SeriesSelector(AllOf(tuple(self._conditions()), "select"), include=frozenset(self._includes()))

    def _conditions(self) -> list[Condition]:
        conditions: list[Condition] = [_test("modality", Equals(self.modality), "select.modality")]
        conditions += [_test("image_type", Equals((value,)), "select.image_type") for value in self.image_type]
        if self.sop_classes:
            conditions.append(_test("sop_class", Equals(self.sop_classes), "select.sop_classes"))
        if self.instances is not None:
            range_ = NumberRange(self.instances.minimum, self.instances.maximum)
            conditions.append(_test("instances", range_, "select.instances"))
        if (thickness := self.slice_thickness_mm) is not None:
            range_ = NumberRange(thickness.minimum, thickness.maximum)
            conditions.append(Test("slice_thickness", (range_,), if_missing=True, where="select.slice_thickness_mm"))
        if self.exclude:
            patterns = _patterns(self.exclude)
            left_out = tuple(
                Test(field, patterns, if_missing=False, where="select.exclude")
                for field in ("description", "image_type")
            )
            conditions.append(Not(AnyOf(left_out, "select.exclude"), "select.exclude"))
        if anatomy := self._anatomy():
            conditions.append(AnyOf(tuple(anatomy), "select"))
        return conditions

    def _anatomy(self) -> list[Condition]:
        """What shows the part of the body: a code, a text, or a vague text together with Body Part Examined."""
        shown: list[Condition] = []
        if self.codes:
            concepts: tuple[CodedHeader, ...] = tuple(parse_code(code) for code in self.codes)
            shown += [Test(field, (Coded(concepts),), where="select.codes") for field in _CODES]
        if self.texts:
            shown.append(Test("description", _patterns(self.texts), where="select.texts"))
        if self.vague_texts:
            vague = Test("description", _patterns(self.vague_texts), where="select.vague_texts")
            body_part = _test("body_part_examined", Equals(self.body_part), "select.body_part")
            shown.append(AllOf((vague, body_part), "select.vague_texts"))
        return shown

    def _includes(self) -> set[ImageKind]:
        wanted = set().union(*(_INCLUDES.get(value.upper(), set()) for value in self.image_type), set())
        if any(uid.startswith(_SECONDARY_CAPTURES) for uid in self.sop_classes):
            wanted.add(ImageKind.CAPTURES)
        return wanted


def _test(field: str, check: Check, where: str) -> Test:
    return Test(field, (check,), where=where)


def _patterns(texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    return tuple(Pattern(text) for text in texts)
