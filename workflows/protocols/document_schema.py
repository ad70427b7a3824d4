"""Document schema: the JSON Schema of protocol files, so that editors complete and complain while somebody writes."""

from __future__ import annotations

import json
from typing import Any

from workflows.protocols.checks import CHOICES, DAYS
from workflows.protocols.coded_findings import FINDING_LABELS, FINDINGS, FindingDocument
from workflows.protocols.document import CONDITIONS, ProtocolDocument
from workflows.protocols.fields import FIELDS, Field, Kind
from workflows.protocols.values import TEXT_SCHEMA, listed_schema
from workflows.protocols.written_examples import ATTRIBUTES

__all__ = ["SCHEMA_FILE", "protocol_schema", "schema_text"]

SCHEMA_FILE = "protocol.schema.json"
"""Lies beside the protocols, each of which names it first: `# yaml-language-server: $schema=protocol.schema.json`."""
_KEYWORD = "[A-Z][A-Za-z0-9]*"
_TIME = {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$"}
_NUMBER = {"type": "number"}
_AGE = {"anyOf": [_NUMBER, {"type": "string", "pattern": "^[0-9]{1,3} ?[DWMYdwmy]$"}]}
_IF_MISSING = {
    "description": "what counts where the header says nothing; left out: unknown",
    "anyOf": [{"type": "boolean"}, {"enum": ["unknown"]}],
}
_CODE = {"type": "string", "pattern": r"^[^\s:]+:\S+"}
_CODE_MAPPING = {
    "type": "object", "required": ["value", "scheme"], "additionalProperties": False,
    "properties": {
        "value": TEXT_SCHEMA, "scheme": TEXT_SCHEMA, "meaning": TEXT_SCHEMA, "synonyms": listed_schema(_CODE),
    },
}  # fmt: skip
_PLACES = ((CONDITIONS, "Conditions"), (FINDINGS, "Findings"), (ATTRIBUTES, "Attributes"))


def schema_text() -> str:
    """The schema as it is kept in a file."""
    return json.dumps(protocol_schema(), indent=1, ensure_ascii=False) + "\n"


def protocol_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7, which editors know best) of a protocol file."""
    made = ProtocolDocument.model_json_schema()
    definitions = made.pop("$defs")
    finding = FindingDocument.model_json_schema()
    definitions |= {**finding.pop("$defs"), "FindingDocument": finding}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A reading protocol of MedSeg Node",
        **{key: entry for key, entry in made.items() if key != "title"},
        "anyOf": [{"required": [key]} for key in ("series", "when", "select")],
        "$defs": {**definitions, **_tests(), "Conditions": _conditions(), "Findings": _findings(), **_attributes()},
    }
    tidied = _tidied(schema)
    assert isinstance(tidied, dict)
    return tidied


def _tidied(schema: Any, *, names: bool = False) -> Any:
    """Without pydantic's titles and defaults, and with what our own readers take. `names`: keys are names of ours."""
    if isinstance(schema, list):
        return [_tidied(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    for place, name in _PLACES:
        if not names and schema.get("description") is not None and place.items() <= schema.items():
            return {"$ref": f"#/$defs/{name}"}
    kept = {}
    for key, entry in schema.items():
        if names:
            kept[key] = _tidied(entry)
        elif key not in ("title", "default") or "$schema" in schema:
            kept[key] = _tidied(entry, names=key in ("properties", "$defs", "patternProperties"))
    return kept


def _conditions() -> dict[str, Any]:
    conditions = {"$ref": "#/$defs/Conditions"}
    several = {"type": "array", "minItems": 1, "items": conditions}
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "all": {"description": "every one of these", **several},
            "any": {"description": "at least one of these", **several},
            "not": {"description": "the opposite; of a list: none of these", "anyOf": [conditions, several]},
            "count": {
                "description": "how many series of the study meet a condition",
                "type": "object",
                "required": ["of"],
                "additionalProperties": False,
                "properties": {"of": conditions, "at_least": _NUMBER, "at_most": _NUMBER},
            },
            **{name: {"description": field.help, **_of_field(field)} for name, field in FIELDS.items()},
        },
        "patternProperties": {
            f"^{_KEYWORD}(/{_KEYWORD})*$": {
                "description": "a keyword of DICOM, or a path of them: each but the last is a sequence",
                "anyOf": [{"$ref": "#/$defs/AnyTest"}, {"$ref": "#/$defs/CodeTest"}],
            }
        },
    }


def _of_field(field: Field) -> dict[str, Any]:
    if field.name in CHOICES:
        return _test({"enum": list(CHOICES[field.name])}, {"pattern": listed_schema(TEXT_SCHEMA)})
    if field.name == "age":
        return _test(_AGE, {"at_least": _AGE, "at_most": _AGE})
    return {"$ref": f"#/$defs/{_TEST_OF[field.kind]}"}


_TEST_OF = {Kind.TEXT: "TextTest", Kind.NUMBER: "NumberTest", Kind.CODE: "CodeTest", Kind.TIME: "TimeTest"}


def _tests() -> dict[str, Any]:
    """What may be wanted of a field of each kind, and of a keyword."""
    pattern = {"description": "a regular expression (RE2), found anywhere, case ignored", **listed_schema(TEXT_SCHEMA)}
    range_ = {"at_least": _NUMBER, "at_most": _NUMBER}
    code = {"anyOf": [_CODE, _CODE_MAPPING]}
    days = listed_schema({"enum": list(DAYS)})
    times = {"from": _TIME, "to": _TIME, "days": days}
    return {
        "TextTest": _test(TEXT_SCHEMA, {"pattern": pattern}),
        "NumberTest": _test(_NUMBER, range_),
        "CodeTest": _test(_CODE, {"code": listed_schema(code), "pattern": pattern}, equals=False),
        "TimeTest": _test(None, times, equals=False),
        "AnyTest": _test(TEXT_SCHEMA, {"pattern": pattern, **range_}),
    }


def _test(bare: dict[str, Any] | None, checks: dict[str, Any], *, equals: bool = True) -> dict[str, Any]:
    """A value alone, a mapping with a check, or a list of them."""
    properties = {**checks, "present": {"type": "boolean"}, "if_missing": _IF_MISSING}
    if equals and bare is not None:
        properties["equals"] = listed_schema(bare)
    mapping = {"type": "object", "minProperties": 1, "additionalProperties": False, "properties": properties}
    one = {"anyOf": [bare, mapping]} if bare is not None else mapping
    return listed_schema(one)


def _findings() -> dict[str, Any]:
    one = {"anyOf": [{"enum": list(FINDING_LABELS)}, {"type": "string"}, {"$ref": "#/$defs/FindingDocument"}]}
    return {"anyOf": [one, {"type": "array", "items": one}]}


def _attributes() -> dict[str, Any]:
    value: dict[str, Any] = {"$ref": "#/$defs/AttributeValue"}
    return {
        "AttributeValue": {
            "anyOf": [
                {**TEXT_SCHEMA, "type": [*TEXT_SCHEMA["type"], "null"]},
                {"type": "object", "patternProperties": {f"^{_KEYWORD}$": value}, "additionalProperties": False},
                {"type": "array", "items": value},
            ]
        },
        "Attributes": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "instances": {"type": "integer", "minimum": 1},
                "sop_class": listed_schema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)+$"}),
            },
            "patternProperties": {f"^{_KEYWORD}$": value},
        },
    }
