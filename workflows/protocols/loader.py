"""Loader: YAML files -> reading protocols, or every mistake of every file at once, with its line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from dicom_node.results.codes import LABELS, concept_for
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
_CODE = ("value", "scheme", "meaning")
_RANGE = ("minimum", "maximum")

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
# The labels as they stand in the table and as people say them.
_LABELS = [*LABELS, *(re.sub(r"^(.*) (left|right)$", r"\2 \1", label) for label in LABELS)]
# What PyYAML says, and what a person has to do about it.
_YAML_REMEDIES = (
    ("escape", "write regular expressions in single quotes"),
    (r"'\t'", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "check the indentation, and put a text that holds ': ' in quotes"),
    ("cannot start any token", "put the text in quotes"),
    ("alias", "put a text that begins with * or & in quotes"),
    ("another document", "one file holds one protocol; remove what follows ---"),
)
_YAML_REMEDY = "check brackets, quotes and indentation from here on"


def load_directory(directory: Path) -> tuple[ReadingProtocol, ...]:
    """All protocols of a folder (`*.yaml`, `*.yml`), by name. Raises ProtocolErrors with all mistakes."""
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
        reader = _Reader(file)
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


class _Reader:
    """Walks one file's YAML nodes, which know their lines, and collects mistakes instead of stopping."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.mistakes: list[ProtocolMistake] = []
        self.name_line = 1
        self.identity = ("", "")  # name and version, known even where something else is wrong

    def read(self) -> ReadingProtocol | None:
        root = self._composed()
        if root is None:
            return None
        top = self._mapping(root, "a protocol", _TOP, required=("name", "version", "select", "questions"))
        name = self._archived(top["name"], "name") if "name" in top else ""
        self.name_line = _line(top["name"]) if "name" in top else 1
        version = self._archived(top["version"], "version") if "version" in top else ""
        self.identity = name, version
        title = self._text(top["title"], "title") if "title" in top else name
        selector = self._selector(top["select"]) if "select" in top else None
        questions = self._questions(top["questions"]) if "questions" in top else ()
        if self.mistakes or selector is None:
            return None
        return ReadingProtocol(name, version, title, selector, questions)

    def _composed(self) -> yaml.Node | None:
        """The file's root node; None, and a mistake, where there is none."""
        line, text = 1, ""
        try:
            text = self.file.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if root is not None:
                return root
            message = f"the file is empty: a protocol has {', '.join(_TOP)}"
        except yaml.MarkedYAMLError as error:
            line, message = _not_yaml(error)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            message = "not YAML: a control character stands here; remove it"
        except UnicodeDecodeError:
            message = "not UTF-8; save the file in that encoding"
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
        self.mistakes.append(ProtocolMistake(self.file, line, message))
        return None

    def _wrong(self, node: yaml.Node, message: str) -> None:
        self.mistakes.append(ProtocolMistake(self.file, _line(node), message))

    def _mapping(
        self, node: yaml.Node, what: str, known: tuple[str, ...], required: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, f"{what} is {_kind(node)}; write a mapping with {', '.join(known)}")
            return {}
        found: dict[str, yaml.Node] = {}
        misspelt: set[str] = set()
        for key, value in node.value:
            if key.value not in known:
                near = difflib.get_close_matches(str(key.value), known, 1)
                misspelt.update(near)
                hint = f"did you mean {near[0]!r}?" if near else f"{what} has {', '.join(known)}"
                self._wrong(key, f"unknown key {key.value!r}; {hint}")
            elif key.value in found:
                self._wrong(key, f"key {key.value!r} stands on line {_line(found[key.value])} too: keep one")
            else:
                found[key.value] = value
        for key in required:
            if key not in found and key not in misspelt:
                self._wrong(node, f"{what} lacks {key!r}; write, for example, {_EXAMPLES[key]}")
        return found

    def _text(self, node: yaml.Node, what: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.value.strip():
            return str(node.value).strip()
        self._wrong(node, f"{what} is {_kind(node)}; write a text")
        return ""

    def _archived(self, node: yaml.Node, key: str) -> str:
        """A text that results take into the archive."""
        text = self._text(node, key)
        if len(text) > _LONGEST[key]:
            self._wrong(node, f"{key} has {len(text)} characters; an archive takes {_LONGEST[key]}")
        if "\\" in text or not text.isprintable():
            self._wrong(node, f"{key} {text!r} holds a backslash or a control character, which DICOM forbids here")
        elif key in ("name", "version") and not text.isascii():
            self._wrong(node, f"{key} {text!r} becomes part of series descriptions; write ASCII characters only")
        return text

    def _list(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            if not node.value:
                remedy = "write something into it" if what == "modality" else "write something into it, or leave it out"
                self._wrong(node, f"{what} is an empty list; {remedy}")
            return list(node.value)
        return [node] if node is not None else []

    def _texts(self, node: yaml.Node | None, what: str) -> tuple[str, ...]:
        return tuple(text for entry in self._list(node, what) if (text := self._text(entry, what)))

    def _patterns(self, node: yaml.Node | None, what: str) -> tuple[TextPattern, ...]:
        patterns = []
        for entry in self._list(node, what):
            if not (text := self._text(entry, what)):
                continue
            try:
                everything = re.search(text, "") is not None
            except re.error as error:
                self._wrong(entry, f"{what}: {text!r} is not a regular expression: {error}")
                continue
            if everything:
                self._wrong(entry, f"{what}: {text!r} matches every text; say what has to stand there")
            elif not text.isprintable():
                why = r"in double quotes YAML makes one of \b"
                self._wrong(entry, f"{what}: {text!r} holds a control character ({why}); write it in single quotes")
            patterns.append(TextPattern(text))
        return tuple(patterns)

    def _range(self, node: yaml.Node | None, what: str) -> NumberRange:
        if node is None:
            return NumberRange()
        bounds: dict[str, float] = {}
        given = self._mapping(node, what, _RANGE)
        for key, value in given.items():
            written = value.value if isinstance(value, yaml.ScalarNode) else ""
            try:
                number = float(written)
            except ValueError:
                number = math.nan
            if not math.isfinite(number) or number < 0:
                self._wrong(value, f"{what}: {key} is {_kind(value)}; write a number, 0 or more")
            else:
                bounds[key] = number
        if isinstance(node, yaml.MappingNode) and not node.value:
            self._wrong(node, f"{what} is empty; write minimum, maximum or both, or leave it out")
        if "minimum" in bounds and bounds["minimum"] > bounds.get("maximum", math.inf):
            self._wrong(node, f"{what}: minimum is above maximum, so nothing could match; exchange them")
        return NumberRange(**bounds)

    def _selector(self, node: yaml.Node) -> Selector:
        select = self._mapping(node, "select", _SELECT, required=("modality",))
        if "body_part" in select and "vague_texts" not in select:
            why = "body_part is often wrong and never decides alone"
            self._wrong(select["body_part"], f"{why}; add vague_texts, or use texts or codes instead")
        if "vague_texts" in select and "body_part" not in select:
            why = "vague_texts decide only with a body part"
            self._wrong(select["vague_texts"], f"{why}; add body_part, or call them texts")
        self._check(select, "modality", r"[A-Z0-9_]{1,16}", "a modality code: capital letters, such as CT")
        self._check(select, "codes", r"[^:\s]+:\S+", "SCHEME:VALUE, such as SCT:818981001")
        self._check(select, "sop_classes", r"[0-9]+(\.[0-9]+)+", "a SOP Class UID, such as 1.2.840.10008.5.1.4.1.1.2")
        return Selector(
            modality=self._texts(select.get("modality"), "modality"),
            texts=self._patterns(select.get("texts"), "texts"),
            codes=self._texts(select.get("codes"), "codes"),
            vague_texts=self._patterns(select.get("vague_texts"), "vague_texts"),
            body_part=tuple(text.upper() for text in self._texts(select.get("body_part"), "body_part")),
            exclude=self._patterns(select.get("exclude"), "exclude"),
            image_type=tuple(text.upper() for text in self._texts(select.get("image_type"), "image_type")),
            sop_classes=self._texts(select.get("sop_classes"), "sop_classes"),
            instances=self._range(select.get("instances"), "instances"),
            slice_thickness_mm=self._range(select.get("slice_thickness_mm"), "slice_thickness_mm"),
        )

    def _check(self, select: dict[str, yaml.Node], key: str, form: str, wanted: str) -> None:
        node = select.get(key)
        for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(entry, yaml.ScalarNode) and entry.value and not re.fullmatch(form, entry.value.strip()):
                self._wrong(entry, f"{key}: {entry.value!r} is not {wanted}")

    def _questions(self, node: yaml.Node) -> tuple[ProtocolQuestion, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            kind = "an empty list" if isinstance(node, yaml.SequenceNode) else _kind(node)
            self._wrong(node, f"questions is {kind}; write a list of at least one {{id, text, findings}}")
            return ()
        firsts: dict[tuple[str, str], yaml.Node] = {}
        return tuple(self._question(entry, number, firsts) for number, entry in enumerate(node.value, start=1))

    def _question(self, node: yaml.Node, number: int, firsts: dict[tuple[str, str], yaml.Node]) -> ProtocolQuestion:
        """One question; `firsts` has where each id and text was first seen."""
        found = self._mapping(node, f"question {number}", _QUESTION, required=_QUESTION)
        said = {"id": "", "text": ""}
        for key in [key for key in said if key in found]:
            said[key] = self._text(found[key], f"{key} of question {number}")
            first = firsts.setdefault((key, said[key]), found[key])
            if said[key] and first is not found[key]:
                other = f"stands on line {_line(first)} too"
                self._wrong(found[key], f"{key} {said[key]!r} {other}: give each question its own")
        findings = tuple(self._findings(found["findings"], number)) if "findings" in found else ()
        return ProtocolQuestion(said["id"], said["text"], findings)

    def _findings(self, node: yaml.Node, number: int) -> Iterator[SegmentedConcept]:
        """The findings of a question. An empty list is meant: an answer in words, and nothing is marked."""
        if isinstance(node, yaml.ScalarNode) and not node.value.strip():
            remedy = "name what may be marked, or write [] for an answer in words only"
            self._wrong(node, f"findings of question {number} is empty; {remedy}")
            return
        seen: set[str] = set()
        for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            concept = self._concept(entry)
            if concept is not None and concept.label in seen:
                self._wrong(entry, f"finding {concept.label!r} stands twice in question {number}; remove one")
            elif concept is not None:
                seen.add(concept.label)
                yield concept

    def _concept(self, node: yaml.Node) -> SegmentedConcept | None:
        """A label of the coded table, or a mapping that gives the codes itself."""
        if isinstance(node, yaml.ScalarNode):
            concept = concept_for(node.value)
            if concept is None:
                near = difflib.get_close_matches(node.value.casefold(), _LABELS, 1)
                hint = f"did you mean {near[0]!r}? If not, write" if near else "write"
                self._wrong(
                    node, f"no code is known for {node.value!r}; {hint} a mapping with label, category and type"
                )
            return concept
        found = self._mapping(node, "a finding with its own codes", _CONCEPT, required=("label", "category", "type"))
        label = self._archived(found["label"], "label") if "label" in found else ""
        codes = {key: self._code(found[key], key) for key in _CONCEPT[1:] if key in found}
        category, type_ = codes.get("category"), codes.get("type")
        if not label or category is None or type_ is None:
            return None
        return SegmentedConcept(label, category, type_, codes.get("laterality"), codes.get("site"))

    def _code(self, node: yaml.Node, what: str) -> Code | None:
        found = self._mapping(node, what, _CODE, required=_CODE)
        parts = {key: self._archived(found[key], key) for key in _CODE if key in found}
        return Code(*parts.values()) if len(parts) == len(_CODE) else None


def _not_yaml(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """The line to look at and what to do there: of what was opened and not closed, where it was opened."""
    problem, mark = error.problem or str(error.context), error.problem_mark
    if error.context_mark is not None and ("flow" in str(error.context) or "end of stream" in problem):
        problem, mark = "a bracket, a brace or a quote that opens here is not closed", error.context_mark
    remedy = next((remedy for said, remedy in _YAML_REMEDIES if said in problem), _YAML_REMEDY)
    return mark.line + 1 if mark is not None else 1, f"not YAML: {problem}; {remedy}"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    """What stands there, for a sentence."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.value.strip() else "empty"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
