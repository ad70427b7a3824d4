"""Reading: parts and questions in, answers and saved result objects out. The predict step and `ask` call it.

slice_stack     a part's voxels, turned to display orientation, with what its headers say (image_context.py)
answered        every question, then what goes on from it, in the same conversation, where it is asked (follow_ups.py)
code_answer     each answer, its masks back on the source grid, coded and measured (coding.py)
make_objects    the objects of each profile, each read back through the gate (results/objects.py)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dicom_node.identifiers import derived_uid
from dicom_node.results.caveats import number_notes
from dicom_node.results.comparing import AskedQuestion, ReadNow, compared_parts
from dicom_node.results.earlier import EarlierResult
from dicom_node.results.finding import ReadAnswer, ReadPart, ResultContext
from dicom_node.results.identity import ResultIdentity, own_texts, result_identity
from dicom_node.results.objects import make_objects
from dicom_node.results.profiles import Profile, Wishes
from dicom_node.volumes.contents import LeftOut
from dicom_node.volumes.display import DisplayView, display_view
from dicom_node.volumes.load import LoadedSeries, SeriesVolume
from inference.errors import QuestionRefused
from inference.interface import Answer, Exchange, Predictor, PredictorDescription, Progress, Question, SliceStack
from workflows.coding import answer_record, code_answer, labels_of
from workflows.follow_ups import not_asked, why_not_asked
from workflows.image_context import image_context
from workflows.protocols.schema import ProtocolQuestion
from workflows.state.answers import AnswerRecord
from workflows.state.keys import LOW_CONFIDENCE, object_key
from workflows.state.records import Part, PartKind, SavedObject

__all__ = ["Reading", "ReadingContext", "digest_of", "read", "slice_stack"]


@dataclass(frozen=True)
class ReadingContext:
    """What a reading needs beside parts, questions and predictor.

    `folders`: where each profile's objects are saved; absolute. `only_findings`: mark what the questions' findings name
    and nothing else; False where no protocol asks. `predecessors`: SOP Class and Instance UIDs of the reports that each
    profile's report replaces. `low_confidence`: a mask whose confidence is below is named so and not measured.
    `node_uid`: the installation's, empty where none is. `wishes`: what the destinations of each profile want; without
    an entry what the profile has. `edition`: how often the objects of this job were made under UIDs of their own.
    `protocol_digest`: SHA-256 of the protocol's file, which the report names; empty where no file asked.
    `earlier`: the result that this one is compared with, `now`: what of the images that are read is compared.
    """

    job_key: str
    answer_key: str
    created: datetime
    protocol: str
    station_ae_title: str
    folders: Mapping[Profile, Path]
    predecessors: Mapping[Profile, Sequence[tuple[str, str]]]
    only_findings: bool = True
    low_confidence: float = LOW_CONFIDENCE
    node_uid: str = ""
    wishes: Mapping[Profile, Sequence[Wishes]] = field(default_factory=dict)
    edition: int = 1
    earlier: EarlierResult | None = None
    now: ReadNow | None = None
    protocol_digest: str = ""


@dataclass(frozen=True)
class Reading:
    """Who answered what about which parts, and the objects that say so; paths are absolute.

    `notes`: sentences on what was not read, what numbers mean and what could not be written; the report has them too.
    """

    model: PredictorDescription
    parts: tuple[Part, ...]
    answers: tuple[AnswerRecord, ...]
    objects: tuple[SavedObject, ...]
    notes: tuple[str, ...] = ()


def read(
    series: LoadedSeries,
    questions: Sequence[ProtocolQuestion],
    predictor: Predictor,
    context: ReadingContext,
    *,
    progress: Progress | None = None,
    export: Callable[[Sequence[ReadPart]], object] | None = None,
) -> Reading:
    """Ask the predictor every question about every part of a series, and save the answers as result objects.

    `progress` counts slices that were drawn. `export` gets the parts with their masks before objects are made. What the
    objects say of who answered comes from the predictor. A SEG that cannot be written is left out, and the report says
    so. Raises ResultRefused when one of our own objects fails a check, or no report can be written, and what predictors
    raise.
    """
    parts = tuple(
        _read_part(ordinal, volume, questions, predictor, context, progress)
        for ordinal, volume in enumerate(series.parts)
    )
    if context.earlier is not None and context.now is not None:
        asked = [AskedQuestion(one.id, one.text, one.findings, bool(one.follows)) for one in questions]
        parts = compared_parts(parts, asked, context.earlier, context.now)
    if export is not None:
        export(parts)
    notes = [*_left_out(series.left_out), *dict.fromkeys(note for part in parts for note in number_notes(part))]
    texts = [(part.answers, part.volume.name) for part in parts], notes
    source = max(
        (part.volume.identity for part in parts), key=lambda one: one.names
    )  # the first of those that say most
    identity = result_identity(source, own_texts(*texts, context, predictor.description))
    objects: list[SavedObject] = []
    for profile, folder in context.folders.items():
        objects += _save_objects(parts, identity, profile, folder, predictor.description, context, notes)
    return Reading(
        model=predictor.description,
        parts=tuple(_part_record(part) for part in parts),
        answers=tuple(answer_record(answer, part) for part in parts for answer in part.answers),
        objects=tuple(objects),
        notes=tuple(notes),
    )


_NAMED = 5


def _left_out(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """What of the series was not read, the first few by name."""
    for one in left_out[:_NAMED]:
        yield f"Not read: {one.detail}."
    if len(left_out) > _NAMED:
        yield f"Not read: {len(left_out) - _NAMED} more instances of this series."


def _read_part(
    ordinal: int,
    volume: SeriesVolume,
    questions: Sequence[ProtocolQuestion],
    predictor: Predictor,
    context: ReadingContext,
    progress: Progress | None,
) -> ReadPart:
    view = display_view(volume)
    # The first part's tracking UIDs stay those of a job with one part, whatever is sent later.
    scope = derived_uid(context.answer_key, "part", str(ordinal))

    def code(answer: Answer, place: int, before: Sequence[ReadAnswer]) -> ReadAnswer:
        return code_answer(
            answer,
            questions[place],
            volume,
            view,
            scope,
            place,
            only_findings=context.only_findings,
            low_confidence=context.low_confidence,
            before=before,
        )

    stack = slice_stack(volume, view)
    return ReadPart(
        ordinal, volume, _answered(stack, questions, predictor, progress, code, with_labels=context.only_findings)
    )


def _answered(
    stack: SliceStack,
    questions: Sequence[ProtocolQuestion],
    predictor: Predictor,
    progress: Progress | None,
    code: Callable[[Answer, int, Sequence[ReadAnswer]], ReadAnswer],
    *,
    with_labels: bool,
) -> tuple[ReadAnswer, ...]:
    """The answers, in the order of questions: first of those that stand alone, all at once, then of what goes on.

    What goes on is asked once what it goes on from is coded and measured, and only where its condition holds.
    `code`: codes an answer, by the place of its question, after the coded answers of its conversation.
    """
    before = [_before(place, questions) for place in range(len(questions))]
    answers: dict[int, Answer] = {}
    coded: dict[int, ReadAnswer] = {}
    for turn in range(1 + max(map(len, before))):
        asked: dict[int, Question] = {}
        for place, question in enumerate(questions):
            if len(before[place]) != turn:
                continue
            if why := why_not_asked(question, [coded[then] for then in before[place]]):
                coded[place] = not_asked(question, why)
                continue
            turns = *_earlier_turns(question), *(_turn(answers[then]) for then in before[place])
            asked[place] = Question(
                question.text, earlier=turns, labels=labels_of(question.findings) if with_labels else ()
            )
        if asked:
            answers |= zip(asked, _answers(stack, list(asked.values()), predictor, progress), strict=True)
        for place in asked:
            coded[place] = code(answers[place], place, [coded[then] for then in before[place]])
    return tuple(coded[place] for place in range(len(questions)))


def _answers(
    stack: SliceStack, asked: Sequence[Question], predictor: Predictor, progress: Progress | None
) -> Sequence[Answer]:
    """An answer to each question; one that a model does not take costs the others nothing, and is told in its words.

    Raises QuestionRefused where it is the only one that was ever asked: whoever asks can ask otherwise.
    """
    try:
        return predictor.answer(stack, asked, progress=progress)
    except QuestionRefused as error:
        if len(asked) > 1:
            return [answer for one in asked for answer in _answers_alone(stack, one, predictor, progress)]
        if asked[0].earlier:  # the answers before it stand
            return [_not_taken(asked[0], error)]
        raise


def _answers_alone(
    stack: SliceStack, question: Question, predictor: Predictor, progress: Progress | None
) -> Sequence[Answer]:
    try:
        return predictor.answer(stack, [question], progress=progress)
    except QuestionRefused as error:
        return [_not_taken(question, error)]


def _not_taken(question: Question, error: QuestionRefused) -> Answer:
    return Answer(question, f"Not answered: {error}", (), ())


def _before(place: int, questions: Sequence[ProtocolQuestion]) -> list[int]:
    """The places of the questions that one goes on from, the first first."""
    places = {one.id: number for number, one in enumerate(questions)}
    chain: list[int] = []
    while questions[place].follows:
        place = places[questions[place].follows]
        chain.insert(0, place)
    return chain


def _earlier_turns(question: ProtocolQuestion) -> list[Exchange]:
    return [Exchange(turn.question, turn.answer, turn.phrases) for turn in question.earlier]


def _turn(answer: Answer) -> Exchange:
    """An answer as the next question of its conversation has it; of one that marked nothing what it did not see."""
    phrases = tuple(target.phrase for target in answer.targets) or answer.not_seen
    return Exchange(answer.question.text, answer.text, phrases)


def slice_stack(volume: SeriesVolume, view: DisplayView) -> SliceStack:
    """The volume's values in display orientation, with modality, spacing and what else its headers say."""
    spacing = volume.spacing_mm
    if spacing is not None and view.transpose:
        spacing = (spacing[0], spacing[2], spacing[1])
    return SliceStack(
        values=view.apply(volume.values),
        modality=volume.modality,
        spacing_mm=spacing,
        context=image_context(volume, view),
    )


def _part_record(part: ReadPart) -> Part:
    kind = PartKind.IMAGE if part.volume.geometry is None else PartKind.VOLUME
    return Part(part.ordinal, kind, int(part.volume.values.shape[0]), part.volume.name)


# --- Objects ----------------------------------------------------------------------------------------------------------


def _save_objects(
    parts: Sequence[ReadPart],
    identity: ResultIdentity,
    profile: Profile,
    folder: Path,
    model: PredictorDescription,
    reading: ReadingContext,
    notes: list[str],
) -> Iterator[SavedObject]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    context = ResultContext(
        object_key=object_key(reading.job_key, profile, reading.edition),
        created=reading.created,
        algorithm_name=model.name,
        algorithm_version=model.version,
        weights_digest=model.digest,
        terms=model.terms,
        protocol=reading.protocol,
        station_ae_title=reading.station_ae_title,
        profile=profile,
        node_uid=reading.node_uid,
        predecessors=reading.predecessors.get(profile, ()),
        protocol_digest=reading.protocol_digest,
    )
    wishes = reading.wishes.get(profile) or (Wishes(),)
    for made in make_objects(parts, identity, wishes, folder, context, notes):
        yield SavedObject(
            sop_instance_uid=made.sop_instance_uid,
            sop_class_uid=made.sop_class_uid,
            kind=made.kind,
            part=made.part,
            profile=profile,
            path=made.path,
            digest=digest_of(made.path),
            references=made.references,
            series_uid=made.series_uid,
        )


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
