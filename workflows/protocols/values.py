"""Values: texts of a YAML file -> texts, numbers, choices, for pydantic; each refusal says what to write instead.

Values come as `nodes.Written` has them: every scalar is a text. `{what}` in a message is the value's name, which
`mistakes.py` puts in. Each type says for the JSON Schema what an editor may take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from inference.suggestions import similar_name
from workflows.protocols.nodes import Loc, kind_of

__all__ = [
    "ENOUGH", "TEXT_SCHEMA", "Part", "Reads", "Text", "Texts", "Yes", "again", "archived", "choice", "fault", "listed",
    "listed_schema", "number", "unknown_key", "wrong",
]  # fmt: skip

TEXT_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}
"""What stands bare may look like a number to an editor, and is a text here."""
ENOUGH = 50
"""Mistakes of one mapping or list that are told: each costs a search for what is meant."""
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


def wrong(message: str) -> PydanticCustomError:
    """A mistake in the value that is looked at."""
    return PydanticCustomError("mistake", "{message}", {"message": message})


def fault(loc: Loc, message: str, *, of_key: bool = False) -> InitErrorDetails:
    """A mistake beneath the value that is looked at; `of_key`: its line is that of the key."""
    kind = "key" if of_key else "mistake"
    return InitErrorDetails(type=PydanticCustomError(kind, "{message}", {"message": message}), loc=loc, input=None)


def unknown_key(key: str, known: Sequence[str], what: str = "{what}") -> str:
    """The message for a key that nothing knows."""
    if key == "<<":
        return "unknown key '<<': keys are not merged here; write them out"
    near = similar_name(key, known)
    return f"unknown key {key[:100]!r}; " + (f"did you mean {near!r}?" if near else f"{what} has {', '.join(known)}")


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise wrong(f"{{what}} is {kind_of(value)}; write a text")


def _archived(text: str, most: int, *, ascii_only: bool) -> str:
    """A text that results take into the archive (PS3.5 6.2: SH 16, LO 64), and our own database."""
    if len(text) > most:
        raise wrong(f"{{what}} has {len(text)} characters; an archive takes {most}")
    if "\\" in text or not text.isprintable():
        raise wrong(f"{{what}} {text!r} holds a backslash or a control character, which DICOM forbids here")
    if ascii_only and not text.isascii():
        raise wrong(f"{{what}} {text!r} becomes part of series descriptions; write ASCII characters only")
    if ascii_only and "@" in text:
        raise wrong(f"{{what}} {text!r} holds @, which stands between a protocol and its predictor; leave it out")
    return text


def _yes(value: Any) -> bool:
    said = value.strip().lower() if isinstance(value, str) else ""
    if said in _TRUE or said in _FALSE:
        return said in _TRUE
    raise wrong(f"{{what}} is {kind_of(value)}; write true or false")


def listed(value: Any) -> list[Any]:
    """What a list holds, or what stands in place of a list of one."""
    if value == []:
        raise wrong("{what} is an empty list; write something into it, or leave it out")
    return value if isinstance(value, list) else [value]


def listed_schema(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One of what `entry` takes, or a list of them."""
    return {"anyOf": [dict(entry), {"type": "array", "minItems": 1, "items": dict(entry)}]}


@dataclass(frozen=True, eq=False)
class Reads:
    """How one value is read, and what the JSON Schema says of it."""

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return dict(self.schema)


Text = Annotated[str, Reads(_text, TEXT_SCHEMA)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(listed), WithJsonSchema(listed_schema(TEXT_SCHEMA))]
Yes = Annotated[bool, Reads(_yes, {"type": "boolean"})]


def archived(most: int, *, ascii_only: bool = False) -> Reads:
    """A text of so many characters that an archive takes."""
    return Reads(lambda value: _archived(_text(value), most, ascii_only=ascii_only), {**TEXT_SCHEMA, "maxLength": most})


def number(wanted: str, least: float, most: float = math.inf, *, whole: bool = False, above: bool = False) -> Reads:
    """A number from `least` (or, `above`, more than that) to `most`. `wanted`: `a number, 0 or more`."""

    def read(value: Any) -> float:
        try:
            said = float(value) if isinstance(value, str) and "_" not in value else math.nan
        except ValueError:
            said = math.nan
        fits = math.isfinite(said) and (said > least if above else said >= least) and said <= most
        if not fits or (whole and said != int(said)):
            raise wrong(f"{{what}} is {kind_of(value)}; write {wanted}")
        return int(said) if whole else said

    schema: dict[str, Any] = {"type": "integer" if whole else "number"}
    schema["exclusiveMinimum" if above else "minimum"] = least
    if math.isfinite(most):
        schema["maximum"] = most
    return Reads(read, schema)


def choice(values: Sequence[str], read: Callable[[str], Any] = str) -> Reads:
    """One of these texts, case ignored, as `read` makes it of what the list has."""
    by_small = {value.casefold(): value for value in values}

    def chosen(value: Any) -> Any:
        said = _text(value)
        if said.casefold() not in by_small:
            near = similar_name(said.casefold(), by_small)
            told = f"did you mean {by_small[near]!r}?" if near else f"write {', '.join(values)}"
            raise wrong(f"{{what}} {said!r} is not known; {told}")
        return read(by_small[said.casefold()])

    return Reads(chosen, {"enum": list(values)})


class Part(BaseModel):
    """A mapping whose keys are known; what is wrong with them is told in our words.

    `to_write`: what to write where a key is missing. `called`: what a person calls the mapping, if not by its key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    to_write: ClassVar[Mapping[str, str]] = {}
    called: ClassVar[str] = "{what}"

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys as they are written."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def misplaced(cls, key: str) -> str:
        """Where a key belongs that others have and this mapping does not; "" where nothing is known of it."""
        return ""

    @model_validator(mode="wrap")
    @classmethod
    def _told(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        known = cls.keys()
        if not isinstance(value, dict):
            raise wrong(f"{cls.called} is {kind_of(value)}; write a mapping with {', '.join(known)}")
        faults: list[InitErrorDetails] = []
        misspelt: set[str | None] = set()
        for key in value:
            if key not in known and len(faults) < ENOUGH:
                misspelt.add(similar_name(key, known))
                told = cls.misplaced(key) or unknown_key(key, known, cls.called.replace("{what}", "{in}"))
                faults.append(fault((key,), told, of_key=True))
        try:
            made = handler({key: entry for key, entry in value.items() if key in known})
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                if detail["type"] != "missing" or len(detail["loc"]) > 1:
                    faults.append(again(detail))
                elif (key := str(detail["loc"][0])) not in misspelt:
                    example = cls.to_write.get(key, f"{key}: ...")
                    faults.append(fault((), f"{cls.called} lacks {key!r}; write, for example, {example}"))
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return made


def again(detail: Any, beneath: Loc = ()) -> InitErrorDetails:
    """An error that was told of a part, to be told with those of the whole; the part stands at `beneath`."""
    loc = (*beneath, *detail["loc"])
    if detail["type"] in ("mistake", "key"):
        return fault(loc, detail["ctx"]["message"], of_key=detail["type"] == "key")
    return fault(loc, f"{{what}}: {detail['msg']}")
