"""Checking: a whole folder of protocols, with every mistake that refuses it and every warning that does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.card import ModelCard
from inference.suggestions import similar_name
from workflows.errors import ProtocolErrors, ProtocolMistake
from workflows.protocols.examples import TriedExample, try_examples
from workflows.protocols.hints import hints
from workflows.protocols.learned import not_learned
from workflows.protocols.loader import ReadFile, read_directory, read_file
from workflows.protocols.nodes import Loc
from workflows.protocols.overlaps import Overlap, asked_by_others, unreachable
from workflows.protocols.schema import ReadingProtocol

__all__ = ["CheckedRules", "check_files", "check_rules"]


@dataclass(frozen=True)
class CheckedRules:
    """`mistakes`: the folder is refused while there is one (then `protocols` has those files that are right).
    `warnings`: what will not do what its writer expects: overlaps, what can never match, findings not learned, ...
    `passed`: how many examples of a protocol, by name and version, came out as they say."""

    protocols: tuple[ReadingProtocol, ...]
    mistakes: tuple[ProtocolMistake, ...]
    warnings: tuple[ProtocolMistake, ...]
    passed: Mapping[tuple[str, str], int] = field(default_factory=dict)


def check_rules(
    directory: Path,
    predictors: Collection[str] | None = None,
    archives: Collection[str] | None = None,
    card: ModelCard | None = None,
) -> CheckedRules:
    """Load and check a folder, its examples included, or one file. `predictors`, `archives`: names that may stand in a
    file; None: any. `card`: of the model in service, to warn of what it has not learned; None: not compared. Raises
    nothing for what is in the files; a folder that is missing is a mistake."""
    try:
        files = (read_file(directory, predictors),) if directory.is_file() else read_directory(directory, predictors)
    except ProtocolErrors as error:
        return CheckedRules((), error.mistakes, ())
    return check_files(files, archives, card)


def check_files(
    files: Sequence[ReadFile], archives: Collection[str] | None = None, card: ModelCard | None = None
) -> CheckedRules:
    """The same of files that are read already."""
    checking = _Checking(files)
    checking.archives(archives)
    tried = checking.examples()
    checking.single_files(tried, card)
    checking.between_files(tried)
    passed = {
        (one.name, one.version): sum(example.protocol is one and not example.failure for example in tried)
        for one in checking.protocols
    }
    return CheckedRules(
        checking.right(), checking.in_order(checking.mistakes), checking.in_order(checking.warnings), passed
    )


class _Checking:
    """The files of a folder while they are checked."""

    def __init__(self, files: Sequence[ReadFile]) -> None:
        self.protocols = [file.protocol for file in files if file.protocol is not None]
        self.mistakes = [mistake for file in files for mistake in file.mistakes]
        self.warnings: list[ProtocolMistake] = []
        self._files = list(files)
        self._file_of = {id(file.protocol): file for file in files if file.protocol is not None}

    def right(self) -> tuple[ReadingProtocol, ...]:
        """The protocols of files without a mistake."""
        wrong = {mistake.file for mistake in self.mistakes}
        return tuple(one for one in self.protocols if self._file_of[id(one)].file not in wrong)

    def in_order(self, told: Sequence[ProtocolMistake]) -> tuple[ProtocolMistake, ...]:
        """By file and line, each once."""
        places = {file.file: place for place, file in enumerate(self._files)}
        return tuple(sorted(dict.fromkeys(told), key=lambda one: (places.get(one.file, -1), one.line)))

    def archives(self, archives: Collection[str] | None) -> None:
        """Names of archives that no setting has: results would go nowhere."""
        for protocol in self.protocols if archives is not None else ():
            for index, name in enumerate(protocol.results.archives):
                if archives is not None and name not in archives:
                    near = similar_name(name, archives)
                    known = f"did you mean {near!r}?" if near else f"there are {', '.join(archives) or 'none'}"
                    file = self._file_of[id(protocol)]
                    self._wrong(
                        file,
                        ("results", "archives", index),
                        f"archive {name!r} stands in no [[archives]] name; {known}",
                    )

    def examples(self) -> tuple[TriedExample, ...]:
        """Every example, tried with the whole folder; one that comes out otherwise is a mistake."""
        tried = tuple(try_examples(self.protocols))
        for one in tried:
            if one.failure:
                file = self._file_of[id(one.protocol)]
                self.mistakes.append(ProtocolMistake(file.file, one.example.line, one.failure))
        return tried

    def single_files(self, tried: Sequence[TriedExample], card: ModelCard | None) -> None:
        """What is odd in a file by itself."""
        for protocol in self.protocols:
            file = self._file_of[id(protocol)]
            own = [one for one in tried if one.protocol is protocol]
            for loc, message in hints(file, protocol):
                self._warn(file, loc, message)
            if card is not None and not protocol.off_because:
                for index, message in not_learned(protocol, own, card):
                    self._warn(file, ("questions", index, "findings"), message)

    def between_files(self, tried: Sequence[TriedExample]) -> None:
        """Protocols that ask what others ask."""
        told = set()
        for protocol, message in unreachable(self.protocols):
            told.add(protocol.name)
            self._warn(self._file_of[id(protocol)], ("name",), f"{protocol.name} {message}")
        for overlap in asked_by_others(tried, self.protocols):
            if overlap.protocol.name in told or overlap.other.name in told:
                continue
            example, file = overlap.example.example, self._file_of[id(overlap.protocol)].file
            message = (
                f"overlaps with {overlap.other.name}: of example {example.title!r} both ask {_overlapping(overlap)}"
            )
            self.warnings.append(ProtocolMistake(file, example.line, message))

    def _wrong(self, file: ReadFile, loc: Loc, message: str) -> None:
        self.mistakes.append(ProtocolMistake(file.file, file.line(*loc), message))

    def _warn(self, file: ReadFile, loc: Loc, message: str) -> None:
        self.warnings.append(ProtocolMistake(file.file, file.line(*loc), message))


def _overlapping(overlap: Overlap) -> str:
    """Which questions, and how often each is asked."""
    parts = []
    if overlap.once:
        parts.append(f"{_questions(overlap.once)}; {overlap.by} asks, as it comes first")
    if overlap.twice:
        why = "follow-ups, results or useful_for_minutes differ: make them alike, or leave it to one of the two"
        parts.append(f"{_questions(overlap.twice)}, each by itself, and so it is answered twice: {why}")
    return "; and ".join(parts)


def _questions(names: Sequence[str]) -> str:
    return f"question{'s' if len(names) > 1 else ''} {', '.join(names)}"
