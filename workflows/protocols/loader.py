"""Loader: YAML files -> reading protocols, or every mistake of every file at once, with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import yaml

from dicom_node.results.codes import LABELS, concept_for
from dicom_node.results.finding import Code, SegmentedConcept
from dicom_node.volumes.frames import MIDDLE_FRAME, FrameChoice
from inference.suggestions import similar_name
from workflows.errors import ProtocolErrors, ProtocolMistake, QuestionRefused
from workflows.protocols.conversation import require_question
from workflows.protocols.nodes import NodeReader, kind_of, line_of
from workflows.protocols.schema import Priority, ProtocolQuestion, ReadingProtocol, Selector, Turn

__all__ = ["load_directory", "load_file"]

_TOP = ("name", "version", "title", "select", "frames", "priority", "useful_for_minutes", "questions")
_SELECT = (
    "modality", "texts", "codes", "vague_texts", "body_part", "exclude", "image_type", "sop_classes", "instances",
    "slice_thickness_mm",
)  # fmt: skip
_QUESTION = ("id", "text", "findings")
_QUESTION_MAY = (*_QUESTION, "follow_ups", "predictor")
_CONCEPT = ("label", "category", "type", "laterality", "site")
_CODE = ("value", "scheme", "meaning")

# What to write where a key is missing.
_EXAMPLES = {
    "name": "name: abdominal-ct",
    "version": 'version: "1"',
    "select": r"select: {modality: CT, texts: ['\babdomen\b']}",
    "questions": "questions: [{id: liver, text: Where is the liver?, findings: liver}]",
    "modality": "modality: CT",
    "id": "id: liver",
    "text": "text: Where is the liver?",
    "findings": "findings: liver",
    "label": "label: renal cyst",
    "category": "category: {value: '49755003', scheme: SCT, meaning: Morphologically Abnormal Structure}",
    "type": "type: {value: '367643001', scheme: SCT, meaning: Cyst}",
    "value": "value: '367643001'",
    "scheme": "scheme: SCT",
    "meaning": "meaning: Cyst",
}
# The most characters that the archive (PS3.5 6.2: SH 16, LO 64) and our own database take.
_LONGEST = {"name": 64, "version": 16, "label": 64, "value": 16, "scheme": 16, "meaning": 64}
_LONGEST_USE = 10 * 365 * 24 * 60.0  # minutes
# The labels as they stand in the table and as people say them.
_LABELS = [*LABELS, *(re.sub(r"^(.*) (left|right)$", r"\2 \1", label) for label in LABELS)]


def load_directory(directory: Path, predictors: Collection[str] | None = None) -> tuple[ReadingProtocol, ...]:
    """All protocols of a folder (`*.yaml`, `*.yml`), by name. Raises ProtocolErrors with all mistakes.

    `predictors`: the names that a question's `predictor` may be; None: any.
    """
    files = sorted([*directory.glob("*.yaml"), *directory.glob("*.yml")])
    if not files:
        why = "no *.yaml files here"
        if not directory.is_dir():
            why = "a file; name the folder it lies in" if directory.is_file() else "no such folder"
        raise ProtocolErrors((ProtocolMistake(directory, 0, f"{why} (the argument, or [protocols] directory)"),))
    mistakes: list[ProtocolMistake] = []
    protocols: list[ReadingProtocol] = []
    files_of: dict[tuple[str, str], Path] = {}
    for file in files:
        reader = _Reader(file, predictors)
        protocol = reader.read()
        if protocol is not None:
            protocols.append(protocol)
        if all(reader.identity):
            name, version = reader.identity
            if (other := files_of.setdefault(reader.identity, file)) != file:
                message = f"{name} version {version} stands in {other.name} too: give one a new name or version"
                reader.mistakes.append(ProtocolMistake(file, reader.name_line, message))
        mistakes += sorted(reader.mistakes, key=lambda mistake: mistake.line)
    if mistakes:
        raise ProtocolErrors(tuple(mistakes))
    return tuple(protocols)


def load_file(file: Path) -> ReadingProtocol:
    """One protocol. Raises ProtocolErrors."""
    reader = _Reader(file)
    protocol = reader.read()
    if protocol is None or reader.mistakes:
        raise ProtocolErrors(tuple(sorted(reader.mistakes, key=lambda mistake: mistake.line)))
    return protocol


class _Reader(NodeReader):
    """Reads one file into a protocol, and collects mistakes instead of stopping."""

    def __init__(self, file: Path, predictors: Collection[str] | None = None) -> None:
        super().__init__(file, _EXAMPLES)
        self._predictors = predictors
        self.name_line = 1
        self.identity = ("", "")  # name and version, known even where something else is wrong

    def read(self) -> ReadingProtocol | None:
        root = self.composed(_TOP)
        if root is None:
            return None
        top = self.mapping(root, "a protocol", _TOP, required=("name", "version", "select", "questions"))
        name = self._archived(top["name"], "name") if "name" in top else ""
        self.name_line = line_of(top["name"]) if "name" in top else 1
        version = self._archived(top["version"], "version") if "version" in top else ""
        self.identity = name, version
        title = self.text(top["title"], "title") if "title" in top else name
        selector = self._selector(top["select"]) if "select" in top else None
        frames = self._frames(top["frames"]) if "frames" in top else MIDDLE_FRAME
        priority = self._priority(top["priority"]) if "priority" in top else Priority.ROUTINE
        useful = self._minutes(top["useful_for_minutes"]) if "useful_for_minutes" in top else None
        questions = self._questions(top["questions"]) if "questions" in top else ()
        if self.mistakes or selector is None:
            return None
        return ReadingProtocol(name, version, title, selector, questions, frames, priority, useful)

    def _archived(self, node: yaml.Node, key: str) -> str:
        """A text that results take into the archive."""
        text = self.text(node, key)
        if len(text) > _LONGEST[key]:
            self.wrong(node, f"{key} has {len(text)} characters; an archive takes {_LONGEST[key]}")
        if "\\" in text or not text.isprintable():
            self.wrong(node, f"{key} {text!r} holds a backslash or a control character, which DICOM forbids here")
        elif key in ("name", "version") and not text.isascii():
            self.wrong(node, f"{key} {text!r} becomes part of series descriptions; write ASCII characters only")
        return text

    def _frames(self, node: yaml.Node) -> FrameChoice:
        try:
            return FrameChoice(self.text(node, "frames"))
        except ValueError as error:
            self.wrong(node, f"frames: {error}")
            return MIDDLE_FRAME

    def _priority(self, node: yaml.Node) -> Priority:
        said = self.text(node, "priority")
        try:
            return Priority(said.lower())
        except ValueError:
            if said:
                self.wrong(node, f"priority {said!r} is neither stat nor routine; leave it out for routine")
            return Priority.ROUTINE

    def _minutes(self, node: yaml.Node) -> float | None:
        """How long an answer is of use, in minutes."""
        said = self.text(node, "useful_for_minutes")
        try:
            minutes = float(said)
        except ValueError:
            minutes = math.nan
        if 0 < minutes <= _LONGEST_USE:
            return minutes
        if said:
            self.wrong(node, f"useful_for_minutes {said!r} is no number of minutes above 0, such as 90")
        return None

    def _selector(self, node: yaml.Node) -> Selector:
        select = self.mapping(node, "select", _SELECT, required=("modality",))
        if "body_part" in select and "vague_texts" not in select:
            why = "body_part is often wrong and never decides alone"
            self.wrong(select["body_part"], f"{why}; add vague_texts, or use texts or codes instead")
        if "vague_texts" in select and "body_part" not in select:
            why = "vague_texts decide only with a body part"
            self.wrong(select["vague_texts"], f"{why}; add body_part, or call them texts")
        self._check(select, "modality", r"[A-Z0-9_]{1,16}", "a modality code: capital letters, such as CT")
        self._check(select, "codes", r"[^:\s]+:\S+", "SCHEME:VALUE, such as SCT:818981001")
        self._check(select, "sop_classes", r"[0-9]+(\.[0-9]+)+", "a SOP Class UID, such as 1.2.840.10008.5.1.4.1.1.2")
        return Selector(
            modality=self.texts(select.get("modality"), "modality"),
            texts=self.patterns(select.get("texts"), "texts"),
            codes=self.texts(select.get("codes"), "codes"),
            vague_texts=self.patterns(select.get("vague_texts"), "vague_texts"),
            body_part=tuple(text.upper() for text in self.texts(select.get("body_part"), "body_part")),
            exclude=self.patterns(select.get("exclude"), "exclude"),
            image_type=tuple(text.upper() for text in self.texts(select.get("image_type"), "image_type")),
            sop_classes=self.texts(select.get("sop_classes"), "sop_classes"),
            instances=self.number_range(select.get("instances"), "instances"),
            slice_thickness_mm=self.number_range(select.get("slice_thickness_mm"), "slice_thickness_mm"),
        )

    def _check(self, select: dict[str, yaml.Node], key: str, form: str, wanted: str) -> None:
        node = select.get(key)
        for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(entry, yaml.ScalarNode) and entry.value and not re.fullmatch(form, entry.value.strip()):
                self.wrong(entry, f"{key}: {entry.value!r} is not {wanted}")

    def _questions(self, node: yaml.Node) -> tuple[ProtocolQuestion, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            kind = "an empty list" if isinstance(node, yaml.SequenceNode) else kind_of(node)
            self.wrong(node, f"questions is {kind}; write a list of at least one {{id, text, findings}}")
            return ()
        firsts: dict[tuple[str, str], yaml.Node] = {}
        asked = (self._question(entry, number, firsts) for number, entry in enumerate(node.value, start=1))
        return tuple(question for conversation in asked for question in conversation)

    def _question(
        self, node: yaml.Node, number: int, firsts: dict[tuple[str, str], yaml.Node]
    ) -> tuple[ProtocolQuestion, ...]:
        """One question and what goes on from it; `firsts` has where each id and text was first seen."""
        found = self.mapping(node, f"question {number}", _QUESTION_MAY, required=_QUESTION)
        said = {"id": "", "text": ""}
        for key in [key for key in said if key in found]:
            said[key] = self.text(found[key], f"{key} of question {number}")
            first = firsts.setdefault((key, said[key]), found[key])
            if said[key] and first is not found[key]:
                other = f"stands on line {line_of(first)} too"
                self.wrong(found[key], f"{key} {said[key]!r} {other}: give each question its own")
        findings = tuple(self._findings(found["findings"], number)) if "findings" in found else ()
        predictor = self._predictor(found["predictor"], number) if "predictor" in found else ""
        question = ProtocolQuestion(said["id"], said["text"], findings, predictor=predictor)
        if "text" in found:
            self._check_asks(found["text"], said["text"], ())
        return (question, *self._follow_ups(found.get("follow_ups"), question))

    def _follow_ups(self, node: yaml.Node | None, question: ProtocolQuestion) -> tuple[ProtocolQuestion, ...]:
        """What is asked in the same conversation: each goes on from what was asked before it."""
        earlier = [Turn(question.text, "", tuple(finding.label for finding in question.findings))]
        texts = self.texts(node, "follow_ups")
        for entry, text in zip(self.entries(node, "follow_ups"), texts, strict=False):
            if text in [turn.question for turn in earlier]:
                self.wrong(entry, f"follow_ups: {text!r} was asked in this conversation already; remove one")
            self._check_asks(entry, text, earlier)
            earlier.append(Turn(text, "", earlier[0].phrases))
        return question.follow_ups(texts)

    def _check_asks(self, node: yaml.Node, text: str, earlier: Sequence[Turn]) -> None:
        """A text that asks for nothing is a mistake here, not in the night when a study comes."""
        if not text:
            return
        try:
            require_question(text, earlier)
        except QuestionRefused as error:
            self.wrong(node, f"{text!r}: {error}")

    def _predictor(self, node: yaml.Node, number: int) -> str:
        """Who answers a question: a name of `[[predictors]]`."""
        name = self.text(node, f"predictor of question {number}")
        longest = _LONGEST["name"] - len(self.identity[0]) - 1
        if len(name) > longest:
            self.wrong(node, f"predictor {name!r} and the protocol's name are longer together than 64 characters")
        if name and self._predictors is not None and name not in self._predictors:
            near = similar_name(name, self._predictors)
            known = f"did you mean {near!r}?" if near else f"there are {', '.join(self._predictors) or 'none'}"
            self.wrong(node, f"predictor {name!r} of question {number} stands in no [[predictors]] name; {known}")
        return name

    def _findings(self, node: yaml.Node, number: int) -> Iterator[SegmentedConcept]:
        """The findings of a question. An empty list is meant: an answer in words, and nothing is marked."""
        if isinstance(node, yaml.ScalarNode) and not node.value.strip():
            remedy = "name what may be marked, or write [] for an answer in words only"
            self.wrong(node, f"findings of question {number} is empty; {remedy}")
            return
        seen: set[str] = set()
        for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            concept = self._concept(entry)
            if concept is not None and concept.label in seen:
                self.wrong(entry, f"finding {concept.label!r} stands twice in question {number}; remove one")
            elif concept is not None:
                seen.add(concept.label)
                yield concept

    def _concept(self, node: yaml.Node) -> SegmentedConcept | None:
        """A label of the coded table, or a mapping that gives the codes itself."""
        if isinstance(node, yaml.ScalarNode):
            concept = concept_for(node.value)
            if concept is None:
                near = similar_name(node.value.casefold(), _LABELS)
                hint = f"did you mean {near!r}? If not, write" if near else "write"
                self.wrong(node, f"no code is known for {node.value!r}; {hint} a mapping with label, category and type")
            return concept
        found = self.mapping(node, "a finding with its own codes", _CONCEPT, required=("label", "category", "type"))
        label = self._archived(found["label"], "label") if "label" in found else ""
        codes = {key: self._code(found[key], key) for key in _CONCEPT[1:] if key in found}
        category, type_ = codes.get("category"), codes.get("type")
        if not label or category is None or type_ is None:
            return None
        return SegmentedConcept(label, category, type_, codes.get("laterality"), codes.get("site"))

    def _code(self, node: yaml.Node, what: str) -> Code | None:
        found = self.mapping(node, what, _CODE, required=_CODE)
        parts = {key: self._archived(found[key], key) for key in _CODE if key in found}
        return Code(*parts.values()) if len(parts) == len(_CODE) else None
