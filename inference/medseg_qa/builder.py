"""Builds a MedSeg-QA set: images and masks first, then splits, then conversations; all or nothing."""

from __future__ import annotations

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from inference.medseg_qa.annotators import Annotator
from inference.medseg_qa.annotators.template import TemplateAnnotator
from inference.medseg_qa.checks import check_conversation
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.duplicates import Fingerprint, assign_splits, near_duplicates
from inference.medseg_qa.errors import AnnotatorError, BuildError, BuildStopped, OutputExists
from inference.medseg_qa.images import StoredImage, safe_name, store_image
from inference.medseg_qa.knowledge import AnyLabel, LabelKnowledge, load_knowledge
from inference.medseg_qa.records import RECORDS_FILE, Conversation, Record, Split, record_from_json, record_to_json
from inference.medseg_qa.sources.types import Problem, Skip, Source, SourceImage

__all__ = ["BuildOptions", "BuildReport", "Progress", "build"]

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, in all)."""

_THREADS = 2
_AHEAD = 64
_SHOWN_DETAILS = 20
_log = structlog.get_logger()


@dataclass(frozen=True)
class BuildOptions:
    """How a set is built. `zero_shot`: labels whose patients go to the zero_shot split.

    `most_per_set`: of each data set and split, only that many images, the first; None for all.
    """

    seed: int = 0
    allow_unknown_labels: bool = False
    zero_shot: tuple[str, ...] = ()
    replace: bool = False
    most_per_set: int | None = None


@dataclass
class BuildReport:
    """What was built and what was left out, by reason; `details` names the first few of each.

    `zero_shot`: labels that were held out, so that a check knows them. `seed`, `most_per_set`: as they were asked for.
    """

    records: int = 0
    pairs: int = 0
    turns: int = 0
    moved_between_splits: int = 0
    near_duplicate_pairs: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    details: dict[str, list[str]] = field(default_factory=dict)
    zero_shot: list[str] = field(default_factory=list)
    seed: int = 0
    most_per_set: int | None = None
    annotator: str = ""
    annotator_summary: dict[str, float] = field(default_factory=dict)

    def skip(self, skip: Skip) -> None:
        """Count something left out."""
        reason = skip.problem.value
        self.skipped[reason] += 1
        shown = self.details.setdefault(reason, [])
        if len(shown) < _SHOWN_DETAILS:
            shown.append(skip.detail)

    def to_json(self) -> str:
        """The report as it stands in build.json."""
        return json.dumps(self.__dict__, sort_keys=True, indent=2, default=dict) + "\n"


def build(
    source: Source,
    out: Path,
    options: BuildOptions | None = None,
    *,
    annotator: Annotator | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Write a set to `out`: records.jsonl, images/, masks/ and build.json.

    The same source, options and package give the same bytes. Everything is written beside `out` and renamed at the
    end. A folder that is replaced may hold a set and nothing else. Raises OutputExists, or BuildError when nothing
    could be built or the disk is full; then nothing is left.
    """
    options = options or BuildOptions()
    unknown = set(options.zero_shot) - set(load_knowledge().labels)
    if unknown and not options.allow_unknown_labels:
        raise BuildError(f"labels to hold out that nobody knows: {', '.join(sorted(unknown))}")
    out = out.absolute()
    if out.exists() and not options.replace:
        raise OutputExists(f"{out} exists; name another folder or pass --force")
    _check_replaceable(out)
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        report = _Builder(source, partial, options, annotator, progress or _silent).run()
        if not report.records:
            raise BuildError(f"no image could be used: {dict(report.skipped)}")
        _put_in_place(partial, out)
    except OSError as error:
        raise BuildStopped(f"cannot write {out}: {error.strerror or error}; free some room and build again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


_OF_A_SET = frozenset({"records.jsonl", "images", "masks", "build.json"})


def _silent(phase: str, done: int, total: int) -> None:
    """No progress display."""


def _check_replaceable(out: Path) -> None:
    """Make sure that replacing `out` loses nothing but a set: no source, no review, nobody's other files."""
    if not out.exists():
        return
    others = sorted(path.name for path in out.iterdir() if path.name not in _OF_A_SET) if out.is_dir() else [out.name]
    if others:
        raise OutputExists(
            f"{out} holds more than a set ({', '.join(others[:3])}) and is not replaced; "
            "move that away or name another folder"
        )


def _put_in_place(partial: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


class _Builder:
    def __init__(
        self, source: Source, out: Path, options: BuildOptions, annotator: Annotator | None, progress: Progress
    ) -> None:
        self._source, self._out, self._options, self._progress = source, out, options, progress
        self._knowledge = load_knowledge()
        known = self._knowledge.labels
        self._labels: Mapping[str, LabelKnowledge] = (
            AnyLabel(self._knowledge) if options.allow_unknown_labels else dict(known)
        )
        self._annotator = annotator or TemplateAnnotator(self._knowledge, self._labels, options.seed)
        self._report = BuildReport(
            zero_shot=sorted(options.zero_shot),
            seed=options.seed,
            most_per_set=options.most_per_set,
            annotator=self._annotator.name,
        )
        self._prints: list[Fingerprint] = []
        self._groups: list[str] = []
        self._kinds: list[str] = []
        self._named: list[Split] = []
        self._held_out: set[str] = set()

    def run(self) -> BuildReport:
        self._store_images()
        pairs = near_duplicates(self._prints, self._groups, self._kinds)
        splits, moved = assign_splits(self._groups, self._named, pairs, self._held_out)
        self._report.near_duplicate_pairs, self._report.moved_between_splits = len(pairs), moved
        self._prints.clear()
        self._write_records(splits)
        self._report.annotator_summary = self._annotator.summary()
        (self._out / "build.json").write_text(self._report.to_json(), encoding="utf-8")
        return self._report

    def _store_images(self) -> None:
        spool = self._out / "spool.jsonl"
        with spool.open("w", encoding="utf-8") as lines:
            for source, stored in self._stored():
                if isinstance(stored, Skip):
                    self._report.skip(stored)
                    continue
                record = self._bare_record(source, stored)
                for skip in stored.skips:
                    self._report.skip(skip)
                lost = [skip for skip in stored.skips if skip.problem is not Problem.EMPTY_MASK]
                if lost and not record.targets:
                    (self._out / record.image).unlink(missing_ok=True)
                    continue
                self._remember(record, stored)
                searched = self._searched(source, stored)
                lines.write(json.dumps([record_to_json(record), searched]) + "\n")

    def _stored(self) -> Iterator[tuple[SourceImage, StoredImage | Skip]]:
        """Images stored by two threads, in the order of the source, never more than a few ahead."""
        waiting: deque[tuple[SourceImage, Future[StoredImage | Skip]]] = deque()
        names: set[str] = set()
        taken: Counter[tuple[str, str | None]] = Counter()
        total, done = len(self._source), 0
        with ThreadPoolExecutor(_THREADS) as pool:
            for item in self._source:
                if isinstance(item, Skip):
                    self._report.skip(item)
                    continue
                item = self._with_spacing(item)
                # ids that differ only in what a file name cannot hold would share their files
                name = f"{safe_name(item.dataset)}/{safe_name(item.id)}"
                if name in names:
                    self._report.skip(Skip(Problem.DUPLICATE_ID, f"{item.dataset}/{item.id}"))
                    continue
                names.add(name)
                if self._options.most_per_set is not None:
                    if taken[item.dataset, item.split] == self._options.most_per_set:
                        continue
                    taken[item.dataset, item.split] += 1
                waiting.append((item, pool.submit(self._store, item)))
                if len(waiting) >= _AHEAD:
                    source, future = waiting.popleft()
                    yield source, future.result()
                    done += 1
                    self._progress("images", done, max(total, done + len(waiting)))
            while waiting:
                source, future = waiting.popleft()
                yield source, future.result()
                done += 1
                self._progress("images", done, max(done, done + len(waiting)))

    def _with_spacing(self, item: SourceImage) -> SourceImage:
        """Spacing that a public set publishes beside its files."""
        known = self._knowledge.datasets.get(item.dataset, {}).get("spacing_mm")
        if item.spacing_mm is not None or known is None:
            return item
        return replace(item, spacing_mm=(float(known[0]), float(known[1])))

    def _store(self, item: SourceImage) -> StoredImage | Skip:
        try:
            Split(item.split or Split.ALL)
            return store_image(item, self._out, self._labels)
        except Skip as skip:
            return skip
        except ValueError as error:
            return Skip(Problem.BAD_ROW, f"{item.id}: {error}")

    def _bare_record(self, source: SourceImage, stored: StoredImage) -> Record:
        known = self._knowledge.datasets.get(source.dataset, {})
        return Record(
            id=f"{source.dataset}/{source.id}",
            dataset=source.dataset,
            source=source.source,
            licence=source.licence or known.get("licence", "unknown"),
            group=f"{source.dataset}/{source.group}",
            split=Split(source.split) if source.split is not None else Split.ALL,
            modality=source.modality,
            image=stored.image,
            size=stored.size,
            spacing_mm=source.spacing_mm,
            orientation=source.orientation or known.get("orientation", "image"),
            laterality=source.laterality,
            window=source.window,
            context=source.context,
            targets=stored.targets,
            conversations=(),
        )

    def _searched(self, source: SourceImage, stored: StoredImage) -> list[str]:
        """Labels that may be called absent: looked for by the annotators, or surely outside the field."""
        known = self._knowledge.datasets.get(source.dataset, {})
        searched = source.searched if source.searched is not None else known.get("absent", ())
        outside = self._knowledge.outside(source.dataset, source.modality)
        # an unusable mask, or an empty one with a positive label, says nothing about absence
        unsure = {skip.detail.split(": ")[1] for skip in stored.skips}
        shown = {target.label for target in stored.targets} | unsure
        near = [name for name in searched if name in self._labels and name not in shown]
        few = [name for name in outside if name not in shown] if len(near) < 2 else []
        return list(dict.fromkeys((*near, *few)))

    def _remember(self, record: Record, stored: StoredImage) -> None:
        self._prints.append(stored.fingerprint)
        self._groups.append(record.group)
        self._kinds.append(f"{record.modality}")
        self._named.append(record.split)
        if any(target.label in self._options.zero_shot for target in record.targets):
            self._held_out.add(record.group)

    def _write_records(self, splits: list[Split]) -> None:
        spool = self._out / "spool.jsonl"
        with spool.open(encoding="utf-8") as lines, (self._out / RECORDS_FILE).open("w", encoding="utf-8") as records:
            for number, (line, split) in enumerate(zip(lines, splits, strict=True), start=1):
                text, searched = json.loads(line)
                record = self._finished(record_from_json(text), split, searched)
                self._progress("conversations", number, len(splits))
                if record is None:
                    continue
                records.write(record_to_json(record) + "\n")
                self._report.records += 1
                self._report.pairs += len(record.targets)
                self._report.turns += sum(len(conversation.turns) for conversation in record.conversations)
        spool.unlink()

    def _finished(self, bare: Record, split: Split, searched: Iterable[str]) -> Record | None:
        held_out = () if split is Split.ZERO_SHOT else self._options.zero_shot
        absent = tuple(name for name in searched if name not in held_out)
        facts = ImageFacts.of(bare, absent, split)
        try:
            written = self._annotator.annotate(facts, self._out / bare.image)
            conversations = tuple(conversation for conversation in written if self._sound(conversation, facts))
            if conversations:
                return Record(**{**bare.__dict__, "split": split, "conversations": conversations})
            self._report.skip(Skip(Problem.FAILED_CHECK if written else Problem.NOTHING_TO_ASK, bare.id))
        except AnnotatorError as error:
            self._report.skip(Skip(Problem.ANNOTATOR_FAILED, f"{bare.id}: {error}"))
        for path in (bare.image, *(target.mask for target in bare.targets)):
            (self._out / path).unlink(missing_ok=True)
        return None

    def _sound(self, conversation: Conversation, facts: ImageFacts) -> bool:
        faults = check_conversation(conversation, facts, self._labels)
        for fault in faults:
            self._report.faults[fault.value] += 1
        if faults:
            _log.info("conversation_dropped", conversation=conversation.id, faults=[fault.value for fault in faults])
        return not faults
