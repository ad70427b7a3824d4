"""Document: a protocol file as pydantic models: its keys, what each takes, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, ValidationError

from dicom_node.results.profiles import Profile
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from workflows.protocols.coded_findings import Findings
from workflows.protocols.condition_reader import is_condition, read_condition
from workflows.protocols.conditions import ALWAYS, Condition
from workflows.protocols.nodes import kind_of
from workflows.protocols.old_select import SelectDocument
from workflows.protocols.schema import ImageKind, OnlyIf, Order, Preference, Priority
from workflows.protocols.values import (
    TEXT_SCHEMA,
    Part,
    Reads,
    Text,
    Texts,
    again,
    archived,
    choice,
    fault,
    listed,
    listed_schema,
    number,
    wrong,
)  # fmt: skip
from workflows.protocols.written_examples import ExampleDocument

__all__ = ["CONDITIONS", "FollowUp", "ProtocolDocument", "QuestionDocument", "SeriesDocument"]

CONDITIONS: dict[str, Any] = {"description": "conditions, all of which must hold"}
"""Stands in pydantic's schema where `document_schema.py` puts what conditions are."""
_LONGEST_USE = 10 * 365 * 24 * 60.0  # minutes
MOST_QUESTIONS, MOST_FOLLOW_UPS = 200, 20
_LARGEST_STUDY = 10_000_000  # instances
_PRIORITY = {one.value: one for one in Priority}


def _conditions(where: str) -> Reads:
    return Reads(partial(read_condition, where=where), CONDITIONS)


def _frames(value: Any) -> FrameChoice:
    if not isinstance(value, str) or not value.strip():
        raise wrong(f"frames is {kind_of(value)}; write middle, first, last, all, or every 10")
    try:
        return FrameChoice(value.strip())
    except ValueError as error:
        raise wrong(f"frames: {error}") from error


def _priority(value: Any) -> int | Priority:
    """A rank; or, of files of 0.1, how soon."""
    said = value.strip().lower() if isinstance(value, str) else ""
    if said in _PRIORITY:
        return _PRIORITY[said]
    if said.isascii() and said.isdigit() and len(said) <= 3 and int(said) <= 100:
        return int(said)
    if said.replace(".", "").replace("-", "").isdigit():
        raise wrong(f"priority is {said!r}; write a whole number from 0 to 100, the higher ones come first")
    told = "the higher come first; how soon a study is read stands under limits: {priority: stat}"
    raise wrong(f"priority is {kind_of(value)}; write a whole number from 0 to 100, {told}")


def _off(value: Any) -> str:
    said = value.strip() if isinstance(value, str) else ""
    if said.lower() in ("false", "no", "off"):
        raise wrong(f"off is {said!r}; leave it out for a protocol that is in service")
    if not said or said.lower() in ("true", "yes", "on"):
        raise wrong(f"off is {kind_of(value)}; say why it is off, such as off: the model has not learned this")
    return said


def _preferences(value: Any) -> tuple[Preference, ...]:
    """Names of orders, and conditions: a series that meets one comes before those that do not."""
    known = {one.value: one for one in Order}
    found: list[Preference] = []
    faults: list[Any] = []
    for index, entry in enumerate(listed(value)):
        if isinstance(entry, dict):
            try:
                found.append(read_condition(entry, f"series.prefer[{index + 1}]"))
            except ValidationError as error:
                faults += [again(detail, (index,)) for detail in error.errors(include_url=False)]
        elif isinstance(entry, str) and entry.strip().casefold() in known:
            found.append(known[entry.strip().casefold()])
        else:
            names = ", ".join(known)
            faults.append(fault((index,), f"prefer: {kind_of(entry)} is no order; write {names}, or {{phase: portal}}"))
    if faults:
        raise ValidationError.from_exception_data("prefer", faults)
    return tuple(found)


_PREFERENCE_SCHEMA = listed_schema({"anyOf": [{"enum": [one.value for one in Order]}, CONDITIONS]})
_POSITIVE = "a number above 0"


class LargerThan(Part):
    """A size that an earlier finding must exceed."""

    ml: Annotated[float | None, number(_POSITIVE, 0, above=True), Field(description="its volume")] = None
    mm: Annotated[float | None, number(_POSITIVE, 0, above=True), Field(description="its long axis")] = None


def _if_seen(value: Any) -> str:
    """A finding's label; `true` is any."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(f"if_seen is {kind_of(value)}; write a finding of the question, or true for any")
    said = value.strip()
    if said.lower() in ("false", "no"):
        raise wrong(f"if_seen is {said!r}; leave it out for a question that is always asked")
    return "" if said.lower() in ("true", "yes") else said


class FollowUp(Part):
    """A question that goes on from the one before it; one with a condition, from the last that is always asked."""

    to_write: ClassVar[Mapping[str, str]] = {"ask": "ask: How large is it?"}
    called: ClassVar[str] = "a follow-up"

    ask: Annotated[Text, Field(description="what is asked")]
    if_seen: Annotated[
        str | None, Reads(_if_seen, TEXT_SCHEMA),
        Field(description="asked only if this finding was marked; true: any finding"),
    ] = None  # fmt: skip
    if_larger_than: Annotated[LargerThan | None, Field(description="asked only if a finding is larger")] = None

    def only_if(self) -> OnlyIf | None:
        """When it is asked; None: always."""
        if self.if_seen is None and self.if_larger_than is None:
            return None
        larger = self.if_larger_than or LargerThan()
        return OnlyIf(self.if_seen or "", larger_than_mm=larger.mm, larger_than_ml=larger.ml)


def _follow_up(value: Any) -> Any:
    if isinstance(value, list):
        raise wrong("follow_ups is a list in a list; write a text, or {ask: ..., if_seen: ...}")
    return value if isinstance(value, dict) else {"ask": value}


def _follow_ups(value: Any) -> list[Any]:
    if isinstance(value, list) and len(value) > MOST_FOLLOW_UPS:
        raise wrong(f"follow_ups has {len(value):,} entries; a conversation takes at most {MOST_FOLLOW_UPS}")
    return listed(value)


class QuestionDocument(Part):
    """A question, what it may mark, and what is asked after it."""

    to_write: ClassVar[Mapping[str, str]] = {
        "id": "id: liver", "text": "text: Where is the liver?", "findings": "findings: liver",
    }  # fmt: skip

    id: Annotated[Text, Field(description="for logs and people; its own in the file")]
    text: Annotated[Text, Field(description="what is asked; {age} {sex} {side} {reason} stand for the header's")]
    findings: Findings
    follow_ups: Annotated[
        tuple[Annotated[FollowUp, BeforeValidator(_follow_up)], ...],
        BeforeValidator(_follow_ups),
        Field(description="asked after it in the same conversation"),
    ] = ()
    predictor: Annotated[Text, Field(description="who of [[predictors]] answers it")] = ""


def _questions(value: Any) -> Any:
    if isinstance(value, list) and 0 < len(value) <= MOST_QUESTIONS:
        return value
    if isinstance(value, list) and value:
        raise wrong(f"questions has {len(value):,} entries; a protocol asks at most {MOST_QUESTIONS}: divide it")
    kind = "an empty list" if value == [] else kind_of(value)
    raise wrong(f"questions is {kind}; write a list of at least one {{id, text, findings}}")


class SeriesDocument(Part):
    """Which series of a study, and which of them first."""

    @classmethod
    def misplaced(cls, key: str) -> str:
        """A condition that does not stand under `where`."""
        return f"{key} is a condition; write it under where: {{{key}: ...}}" if is_condition(key) else ""

    where: Annotated[Condition, _conditions("series.where"), Field(description="what a series must meet")] = ALWAYS
    include: Annotated[
        tuple[Annotated[ImageKind, choice([one.value for one in ImageKind], ImageKind)], ...],
        BeforeValidator(listed),
        Field(description="kinds of images that are left out otherwise"),
    ] = ()
    prefer: Annotated[
        tuple[Preference, ...],
        Reads(_preferences, _PREFERENCE_SCHEMA),
        Field(description="which series come first, the most important reason first"),
    ] = ()
    take: Annotated[
        int | None,
        number("how many series at most, 1 or more", 1, 10_000, whole=True),
        Field(description="at most so many"),
    ] = None


class ResultsDocument(Part):
    """Where results go instead of where the settings say."""

    archives: Annotated[Texts, Field(description="names of [[archives]]")] = ()
    profile: Annotated[str | None, choice([one.value for one in Profile]), Field(description="the form of results")] = (
        None
    )


class LimitsDocument(Part):
    """How soon, how long, how large."""

    priority: Annotated[
        Priority | None, choice(list(_PRIORITY), _PRIORITY.__getitem__), Field(description="how soon")
    ] = None
    useful_for_minutes: Annotated[
        float | None,
        number("a number of minutes above 0, such as 90", 0, _LONGEST_USE, above=True),
        Field(description="how long after a study's last image an answer is of use"),
    ] = None
    largest_study: Annotated[
        int | None,
        number("a number of instances, 1 or more", 1, _LARGEST_STUDY, whole=True),
        Field(description="a study of more instances is not asked"),
    ] = None
    prior_deadline_s: Annotated[
        float | None,
        number("a number of seconds, 0 or more", 0, 3600),
        Field(description="how long archives are asked for earlier results"),
    ] = None


class ProtocolDocument(Part):
    """A reading protocol: which series of which studies are asked which questions."""

    to_write: ClassVar[Mapping[str, str]] = {
        "name": "name: abdominal-ct",
        "version": 'version: "1"',
        "questions": "questions: [{id: liver, text: Where is the liver?, findings: liver}]",
    }
    called: ClassVar[str] = "a protocol"

    @classmethod
    def keys_to_write(cls) -> tuple[str, ...]:
        """The keys without those of 0.1."""
        every = cls.keys()
        return tuple(key for key in every if key not in ("select", "useful_for_minutes"))

    @classmethod
    def misplaced(cls, key: str) -> str:
        """A condition that stands neither in `when` nor in `series`."""
        if not is_condition(key):
            return ""
        return f"{key} is a condition; write it under series: {{where: {{{key}: ...}}}}, or under when"

    name: Annotated[str, archived(64, ascii_only=True), Field(description="with the version its identity")]
    version: Annotated[str, archived(16, ascii_only=True), Field(description="raise it when questions change")]
    title: Annotated[Text, Field(description="for people")] = ""
    priority: Annotated[
        int | Priority,
        Reads(_priority, {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, {"enum": list(_PRIORITY)}]}),
        Field(description="0 to 100: which protocol comes first, the higher ones"),
    ] = 50  # fmt: skip
    off: Annotated[str, Reads(_off, {"type": "string"}), Field(description="why it is not in service")] = ""
    when: Annotated[Condition, _conditions("when"), Field(description="what the study must meet")] = ALWAYS
    series: Annotated[SeriesDocument | None, Field(description="which of its series")] = None
    unknown: Annotated[
        str, choice(("refuse", "accept")), Field(description="what it means where a header does not say enough")
    ] = "refuse"
    frames: Annotated[
        FrameChoice,
        Reads(_frames, {"type": "string", "pattern": "^(middle|first|last|all|every [1-9][0-9]*)$"}),
        Field(description="which frames of a cine are read: middle, first, last, all, every 10"),
    ] = MIDDLE_FRAME  # fmt: skip
    questions: Annotated[tuple[QuestionDocument, ...], BeforeValidator(_questions)]
    results: Annotated[ResultsDocument, Field(description="where results go instead")] = ResultsDocument()
    limits: Annotated[LimitsDocument, Field(description="how soon, how long, how large")] = LimitsDocument()
    examples: Annotated[tuple[ExampleDocument, ...], BeforeValidator(listed), Field(description="tried by check")] = ()
    select: Annotated[SelectDocument | None, Field(description="as files of 0.1 have it; write when and series")] = None
    useful_for_minutes: Annotated[
        float | None,
        number("a number of minutes above 0, such as 90", 0, _LONGEST_USE, above=True),
        Field(description="as files of 0.1 have it; write limits"),
    ] = None
