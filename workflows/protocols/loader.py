"""Loader: YAML files -> reading protocols, or every mistake of every file at once, with its line."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

from dicom_node.results.codes import concept_for
from dicom_node.results.finding import Code, SegmentedConcept
from workflows.errors import ProtocolErrors, ProtocolMistake
from workflows.protocols.schema import NumberRange, ProtocolQuestion, ReadingProtocol, Selector, TextPattern

__all__ = ["load_directory", "load_file"]

_TOP = ("name", "version", "title", "select", "questions")
_SELECT = (
    "modality", "texts", "codes", "vague_texts", "body_part", "exclude", "image_type", "sop_classes", "instances",
    "slice_thickness_mm",
)  # fmt: skip
_QUESTION = ("id", "text", "findings")
_CONCEPT = ("label", "category", "type", "laterality", "site")


def load_directory(directory: Path) -> tuple[ReadingProtocol, ...]:
    """All protocols of a folder (`*.yaml`, `*.yml`), by name. Raises ProtocolErrors with all mistakes."""
    files = sorted([*directory.glob("*.yaml"), *directory.glob("*.yml")])
    if not files:
        why = "no such folder" if not directory.is_dir() else "no *.yaml files here"
        raise ProtocolErrors((ProtocolMistake(directory, 0, f"{why}; set [protocols] directory"),))
    mistakes: list[ProtocolMistake] = []
    protocols: dict[tuple[str, str], ReadingProtocol] = {}
    files_of: dict[tuple[str, str], Path] = {}
    for file in files:
        reader = _Reader(file)
        protocol = reader.read()
        mistakes += sorted(reader.mistakes, key=lambda mistake: mistake.line)
        if protocol is None:
            continue
        if (key := (protocol.name, protocol.version)) in protocols:
            message = f"{key[0]} version {key[1]} stands in {files_of[key].name} too: give one a new name or version"
            mistakes.append(ProtocolMistake(file, reader.name_line, message))
        protocols[key], files_of[key] = protocol, file
    if mistakes:
        raise ProtocolErrors(tuple(mistakes))
    return tuple(protocols.values())


def load_file(file: Path) -> ReadingProtocol:
    """One protocol. Raises ProtocolErrors."""
    reader = _Reader(file)
    protocol = reader.read()
    if protocol is None or reader.mistakes:
        raise ProtocolErrors(tuple(reader.mistakes))
    return protocol


class _Reader:
    """Walks one file's YAML nodes, which know their lines, and collects mistakes instead of stopping."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.mistakes: list[ProtocolMistake] = []
        self.name_line = 1

    def read(self) -> ReadingProtocol | None:
        try:
            root = yaml.compose(self.file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self.mistakes.append(ProtocolMistake(self.file, line, f"not YAML: {error.problem}"))
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.mistakes.append(ProtocolMistake(self.file, 1, f"cannot be read: {error}"))
            return None
        except yaml.YAMLError as error:
            self.mistakes.append(ProtocolMistake(self.file, 1, f"not YAML: {error}"))
            return None
        if not isinstance(root, yaml.MappingNode):
            self.mistakes.append(ProtocolMistake(self.file, 1, f"a protocol is a mapping with {', '.join(_TOP)}"))
            return None
        top = self._mapping(root, _TOP, required=("name", "version", "select", "questions"))
        selector = self._selector(top["select"]) if "select" in top else None
        questions = self._questions(top["questions"]) if "questions" in top else ()
        name = self._text(top["name"]) if "name" in top else ""
        self.name_line = top["name"].start_mark.line + 1 if "name" in top else 1
        version = self._text(top["version"]) if "version" in top else ""
        title = self._text(top["title"]) if "title" in top else name
        if self.mistakes or selector is None:
            return None
        return ReadingProtocol(name, version, title, selector, questions)

    def _wrong(self, node: yaml.Node, message: str) -> None:
        self.mistakes.append(ProtocolMistake(self.file, node.start_mark.line + 1, message))

    def _mapping(self, node: yaml.Node, known: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, f"expected a mapping with {', '.join(known)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in known:
                near = difflib.get_close_matches(str(key.value), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self._wrong(key, f"unknown key {key.value!r}; {hint}")
            elif key.value in found:
                self._wrong(key, f"key {key.value!r} stands twice")
            else:
                found[key.value] = value
        for key in required:
            if key not in found:
                self._wrong(node, f"{key!r} is missing")
        return found

    def _text(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode) and node.value.strip():
            return str(node.value).strip()
        self._wrong(node, "expected a text")
        return ""

    def _list(self, node: yaml.Node) -> list[yaml.Node]:
        return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]

    def _patterns(self, node: yaml.Node | None) -> tuple[TextPattern, ...]:
        patterns = []
        for entry in self._list(node) if node is not None else []:
            text = self._text(entry)
            try:
                re.compile(text)
            except re.error as error:
                self._wrong(entry, f"{text!r} is not a regular expression: {error}")
            patterns.append(TextPattern(text))
        return tuple(patterns)

    def _texts(self, node: yaml.Node | None) -> tuple[str, ...]:
        return tuple(self._text(entry) for entry in self._list(node)) if node is not None else ()

    def _range(self, node: yaml.Node | None) -> NumberRange:
        if node is None:
            return NumberRange()
        bounds: dict[str, float] = {}
        for key, value in self._mapping(node, ("minimum", "maximum")).items():
            try:
                bounds[key] = float(self._text(value))
            except ValueError:
                self._wrong(value, f"{key} is not a number")
        if bounds.get("minimum", 0) > bounds.get("maximum", float("inf")):
            self._wrong(node, "minimum is above maximum: nothing could match")
        return NumberRange(**bounds)

    def _selector(self, node: yaml.Node) -> Selector:
        select = self._mapping(node, _SELECT, required=("modality",))
        self._check_codes(select.get("codes"))
        if "body_part" in select and "vague_texts" not in select:
            self._wrong(select["body_part"], "body part is often wrong and never decides alone: give vague_texts too")
        if "vague_texts" in select and "body_part" not in select:
            self._wrong(select["vague_texts"], "vague_texts decide only with a body part: give body_part, or use texts")
        modality = self._texts(select.get("modality"))
        if any(not re.fullmatch(r"[A-Z0-9_]{1,16}", code) for code in modality):
            self._wrong(select["modality"], "modality codes are capital letters, such as CT")
        return Selector(
            modality=modality,
            texts=self._patterns(select.get("texts")),
            codes=self._texts(select.get("codes")),
            vague_texts=self._patterns(select.get("vague_texts")),
            body_part=tuple(text.upper() for text in self._texts(select.get("body_part"))),
            exclude=self._patterns(select.get("exclude")),
            image_type=tuple(text.upper() for text in self._texts(select.get("image_type"))),
            sop_classes=self._texts(select.get("sop_classes")),
            instances=self._range(select.get("instances")),
            slice_thickness_mm=self._range(select.get("slice_thickness_mm")),
        )

    def _check_codes(self, node: yaml.Node | None) -> None:
        for entry in self._list(node) if node is not None else ():
            if isinstance(entry, yaml.ScalarNode) and not re.fullmatch(r"[^:\s]+:\S+", entry.value):
                self._wrong(entry, f"{entry.value!r} is not SCHEME:VALUE, such as SCT:113345001")

    def _questions(self, node: yaml.Node) -> tuple[ProtocolQuestion, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._wrong(node, "questions: at least one is needed")
            return ()
        questions: list[ProtocolQuestion] = []
        for entry in node.value:
            found = self._mapping(entry, _QUESTION, required=_QUESTION)
            if set(_QUESTION) - set(found):
                continue
            identifier = self._text(found["id"])
            if identifier in {question.id for question in questions}:
                self._wrong(found["id"], f"question id {identifier!r} stands twice")
            text = self._text(found["text"])
            if text and text in {question.text for question in questions}:
                self._wrong(found["text"], f"question {text!r} stands twice")
            concepts = [self._concept(item) for item in self._list(found["findings"])]
            findings = tuple(concept for concept in concepts if concept is not None)
            questions.append(ProtocolQuestion(identifier, text, findings))
        return tuple(questions)

    def _concept(self, node: yaml.Node) -> SegmentedConcept | None:
        """A label of the coded table, or a mapping that gives the codes itself."""
        if isinstance(node, yaml.ScalarNode):
            concept = concept_for(node.value)
            if concept is None:
                self._wrong(node, f"no code is known for {node.value!r}: write label, category and type")
            return concept
        found = self._mapping(node, _CONCEPT, required=("label", "category", "type"))
        codes = {key: self._code(found[key]) for key in _CONCEPT[1:] if key in found}
        if "label" not in found or codes.get("category") is None or codes.get("type") is None:
            return None
        return SegmentedConcept(self._text(found["label"]), **codes)

    def _code(self, node: yaml.Node) -> Any:
        keys = ("value", "scheme", "meaning")
        found = self._mapping(node, keys, required=keys)
        return Code(*(self._text(found[key]) for key in keys)) if len(found) == len(keys) else None
