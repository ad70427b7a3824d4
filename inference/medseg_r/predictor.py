"""Arrays in, answers out: MedSeg-R behind `inference.interface.Model`.

`locate` tells the language side the phrase, `<p> liver </p> [SEG]`, and takes the state that predicts [SEG]: one
forward pass, nothing generated, so nothing is misnamed. `free_answer` lets it speak: some of the slices are asked every
question. Either way masks are then predicted on all slices, each encoded once for everything that is drawn on it
(`volume.py` has the rules). All runs in batches that fit the memory (`batches.py`). Masks are written into the answer's
arrays slice by slice, so that nothing grows with the number of slices but the answer itself.

The same stack, questions and batch size give the same bytes. Another batch size changes the order of sums: logits move
by about 1e-4, and so do masks, at pixels that lie so close to the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.card import UNKNOWN_CARD, ModelCard
from inference.errors import InputRefused
from inference.interface import (
    Alike,
    Answer,
    Exchange,
    PredictorDescription,
    Progress,
    Question,
    SeenTarget,
    SliceStack,
)
from inference.medseg_r.batches import Batches
from inference.medseg_r.checkpoint import Checkpoint
from inference.medseg_r.context import GeneratedAnswer
from inference.medseg_r.grounding import MaskPrediction
from inference.medseg_r.likeness import rows_of
from inference.medseg_r.transform import Extent, from_square, grounding_square, to_square
from inference.medseg_r.volume import (
    DraftAnswer,
    DraftTarget,
    SliceAnswer,
    SlicePrediction,
    draft_answer,
    finished_answer,
    neighbour_weight,
    new_target,
    seen_target,
    slices_with_content,
    smoothed,
)
from inference.pictures import AS_IT_IS, DISPLAY_LETTERS, PictureView, Turn, turn_between, view_of
from inference.sampling import evenly_spaced

__all__ = ["MedSegRPredictor"]

SMALLEST_SIDE = 8

_TOLD = Exchange("Where is the {}?", "Here is the <p> {} </p> [SEG].")
"""In these words a label is told. Other frames and other names of the same thing (right kidney, kidney right) give the
same masks: on validation images mean Dice differs by 0.0001."""
_TOLD_SLICES = 4  # of a volume: the state that predicts [SEG] depends on the phrase, hardly on the image
_LIKENESS_SLICES = 8  # of a volume

_log = structlog.get_logger()


@dataclass(frozen=True)
class _Sight:
    """A stack as the model looks at it: which slices show something, and how they become pictures."""

    stack: SliceStack
    slices: Sequence[int]
    view: PictureView

    def picture(self, index: int) -> NDArray[np.uint8]:
        """Return the picture of a slice of the stack: uint8 `rows columns 3`."""
        return self.view.picture(self.stack.values[index])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the stack."""
        slices, rows, columns = self.stack.values.shape[:3]
        return slices, rows, columns


class MedSegRPredictor:
    """Draws and answers with a loaded checkpoint; deterministic for the same stack, questions and batch size.

    `device`: where the checkpoint was loaded to. `batch_size`: slices at once, instead of what the memory takes.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", *, batch_size: int | None = None) -> None:
        self.checkpoint, self._model = checkpoint, checkpoint.model
        config = checkpoint.model.config
        place = torch.device(device)
        self._counting = Batches(self._model, place, config.context_square, 1)
        self._language = Batches(self._model, place, config.context_square, batch_size)
        self._grounding = Batches(self._model, place, config.grounding.image_size, batch_size)

    @property
    def description(self) -> PredictorDescription:
        """Which model answers, and under which terms."""
        return self.checkpoint.description

    @property
    def card(self) -> ModelCard:
        """What the checkpoint says that it has learned; one that says nothing takes any label."""
        return self.checkpoint.card or UNKNOWN_CARD

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]:
        """Look for each label on all slices; None where it is not seen. Slices are encoded once for all labels.

        A label learned on pictures that lie otherwise (`ModelCard.letters`) is sought on slices turned so. Where a
        stack does not say how it lies, RGB is taken as it is, a slice as displayed, and a volume is looked at both
        ways: the surer one counts (on ten validation volumes it was the right one in all).
        Raises `InputRefused` for a stack that is no picture, `OutOfMemory` where the device has no room.
        """
        _check_stack(stack)
        slices = slices_with_content(stack.values)
        seen: dict[str, SeenTarget | None] = dict.fromkeys(labels)
        if not slices or not labels:
            return tuple(seen[label] for label in labels)
        groups = self._by_turn(stack, list(seen))
        with torch.inference_mode():
            for number, (turn, group) in enumerate(groups.items()):
                sight = _Sight(stack, slices, view_of(stack.values, stack.modality, self.card.windows, turn=turn))
                targets = self._told(sight, group)
                self._fill_masks(sight, targets, _part(progress, number, len(groups)))
                for label, target in zip(group, targets, strict=True):
                    seen[label] = _surer(
                        seen[label], seen_target(target, self.checkpoint.calibration, stack.spacing_mm)
                    )
        return tuple(seen[label] for label in labels)

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Answer each question about the stack, with a mask for each thing seen, on the stack's grid.

        `progress` counts the slices whose masks are there. Raises `InputRefused` for an empty or overlong question and
        for a stack that is no picture (too small, wrong channels, NaN), `AnswerMalformed` where all answers to a
        question break the grammar, `OutOfMemory` where the device has no room.
        """
        _check_stack(stack)
        slices = slices_with_content(stack.values)
        with torch.inference_mode():
            self._check_questions(questions)
            if not slices or not questions:
                return tuple(Answer(question, "The image is blank: nothing is seen.", (), ()) for question in questions)
            sight = _Sight(stack, slices, view_of(stack.values, stack.modality, self.card.windows))
            drafts = self._ask(sight, questions)
            targets = [target for draft in drafts for target in draft.targets]
            self._fill_masks(sight, targets, progress)
        return tuple(finished_answer(draft, self.checkpoint.calibration, stack.spacing_mm) for draft in drafts)

    def likeness(self, stack: SliceStack) -> Alike:
        """Return by label how alike the stack is to images that taught it; None where the checkpoint has no measure.

        By a few of its slices, and by those turns of them that the label is sought on: the most alike counts.
        """
        _check_stack(stack)
        measure = self.checkpoint.likeness
        if measure is None:
            return None
        some = evenly_spaced(slices_with_content(stack.values) or [0], _LIKENESS_SLICES)
        known = self.card.known_labels  # those of other modalities are refused by the card before likeness is asked
        here = [label for label in known if self.card.learned(label, stack.modality)] or known
        alike: dict[str, float] = {}
        for turn, labels in self._by_turn(stack, here).items():
            view = view_of(stack.values, stack.modality, self.card.windows, turn=turn)
            pictures = [view.picture(stack.values[index]) for index in some]
            [(_, rows)] = self._counting.run(1, partial(self._rows_of, pictures))
            for label in labels:
                alike[label] = max(alike.get(label, 0.0), measure.of(rows, stack.modality, label))
        return alike or None

    def _rows_of(self, pictures: Sequence[NDArray[np.uint8]], _: range) -> NDArray[np.float32]:
        return rows_of(self._model, pictures)

    def _by_turn(self, stack: SliceStack, labels: Sequence[str]) -> dict[Turn, list[str]]:
        """Return the ways in which the stack is to be looked at, each with the labels that are sought on it."""
        groups: dict[Turn, list[str]] = {}
        for label in labels:
            for turn in self._turns(stack, label):
                groups.setdefault(turn, []).append(label)
        return groups

    def _turns(self, stack: SliceStack, label: str) -> Sequence[Turn]:
        learned = self.card.letters.get(label)
        if learned is None:
            return [AS_IT_IS]
        if all(stack.context.letters):
            return [turn_between(stack.context.letters, learned) or AS_IT_IS]
        displayed = turn_between(DISPLAY_LETTERS, learned)
        if displayed is None or stack.values.ndim == 4:
            return [AS_IT_IS]
        return list(dict.fromkeys([displayed, AS_IT_IS] if len(stack.values) > 1 else [displayed]))

    def _check_questions(self, questions: Sequence[Question]) -> None:
        context, side = self._model.context, self._model.config.context_square
        blank = np.zeros((side, side, 3), dtype=np.uint8)
        [(_, tokens)] = self._counting.run(1, lambda _: context.visual_tokens(context.pixels([blank])))
        for question in questions:
            context.check(question, tokens)

    def _told(self, sight: _Sight, labels: Sequence[str]) -> list[DraftTarget]:
        """Tell the language side each label on a few slices, and return targets with the states that predict [SEG]."""
        context = self._model.context
        chosen = evenly_spaced(sight.slices, _TOLD_SLICES)
        told = [Exchange(_TOLD.question.format(label), _TOLD.answer.format(label)) for label in labels]

        def work(batch: range) -> Tensor:
            prefix = context.encode([self._context_square(sight, chosen[place]) for place in batch])
            together = max(1, self._language.rows // len(batch))
            parts = [context.told(prefix, told[start : start + together]) for start in range(0, len(told), together)]
            return torch.cat(parts).cpu()  # labels batch width

        states = torch.cat([states for _, states in self._language.run(len(chosen), work)], dim=1)
        return [new_target(label, list(of_label), sight.shape) for label, of_label in zip(labels, states, strict=True)]

    def _context_square(self, sight: _Sight, index: int) -> NDArray[np.uint8]:
        return to_square(sight.picture(index), self._model.config.context_square)[0]

    def _ask(self, sight: _Sight, questions: Sequence[Question]) -> list[DraftAnswer]:
        """Put every question to some slices."""
        model = self._model
        chosen = evenly_spaced(sight.slices, model.config.asked_slices)

        def work(batch: range) -> list[list[GeneratedAnswer]]:
            prefix = model.context.encode([self._context_square(sight, chosen[place]) for place in batch])
            together = max(1, self._language.rows // len(batch))
            generated: list[list[GeneratedAnswer]] = []
            for start in range(0, len(questions), together):
                some = questions[start : start + together]
                generated += model.context.generate(prefix, some, model.config.most_answer_tokens)
            return generated

        slice_answers: list[dict[int, SliceAnswer]] = [{} for _ in questions]
        cut = 0
        for batch, generated in self._language.run(len(chosen), work):
            for of_question, answers in zip(slice_answers, generated, strict=True):
                for place, answer in zip(batch, answers, strict=True):
                    text = model.tokenizer.text(answer.ids)
                    of_question[chosen[place]] = SliceAnswer(text, answer.hidden_states.cpu())
                    cut += not answer.finished
        if cut:
            _log.warning("answers cut off", answers=cut, most_tokens=model.config.most_answer_tokens)
        return [
            draft_answer(question, of_question, sight.shape)
            for question, of_question in zip(questions, slice_answers, strict=True)
        ]

    def _fill_masks(self, sight: _Sight, targets: Sequence[DraftTarget], progress: Progress | None) -> None:
        """Predict the mask of every target on every slice that shows something, straight into its array."""
        total, side = sight.shape[0], self._model.config.grounding.image_size
        threshold = self.checkpoint.thresholds.mask_logit
        weight = neighbour_weight(sight.stack.spacing_mm)
        rows, columns = sight.view.size
        for drawn in smoothed(self._predictions(sight, targets) if targets else (), weight):
            kept = self._kept(drawn)
            for number in kept:
                [mask] = from_square(drawn.logits[number][None], drawn.extent, rows, columns, threshold, side)
                targets[number].mask[drawn.index] = sight.view.back(mask)
                targets[number].scores.append((float(drawn.quality[number]), int(mask.sum())))
            if progress is not None:
                progress(drawn.index + 1, total)
        if progress is not None:
            progress(total, total)

    def _predictions(self, sight: _Sight, targets: Sequence[DraftTarget]) -> Iterator[SlicePrediction]:
        """Yield what the grounding says of every target on each slice that shows something, in their order."""
        model, config = self._model, self._model.config.grounding
        extents: dict[int, Extent] = {}

        def work(batch: range) -> list[MaskPrediction]:
            prompts = self._prompts(targets)
            squares = []
            for place in batch:
                picture = sight.picture(sight.slices[place])
                square, extents[place] = grounding_square(picture, config.preprocessing, config.image_size)
                squares.append(torch.from_numpy(square))
            tensor = torch.stack(squares).permute(0, 3, 1, 2).contiguous().to(model.device)  # batch 3 side side
            features = model.grounding.encode(tensor)
            return [model.grounding.decode(features[number], prompts) for number in range(len(batch))]

        for batch, predicted in self._grounding.run(len(sight.slices), work):
            for place, of_slice in zip(batch, predicted, strict=True):
                yield SlicePrediction(
                    sight.slices[place], of_slice.logits, of_slice.seen, of_slice.quality, extents[place]
                )

    def _prompts(self, targets: Sequence[DraftTarget]) -> Tensor:
        """Return a prompt for each target, `targets prompt_width`: the mean of what its hidden states give."""
        states = [torch.stack(target.hidden_states).to(self._model.device) for target in targets]
        return torch.stack([self._model.prompt_projector(of_target).mean(dim=0) for of_target in states])

    def _kept(self, drawn: SlicePrediction) -> list[int]:
        """Return the targets that pass the thresholds on a slice."""
        thresholds = self.checkpoint.thresholds
        inside = _without_padding(drawn.logits, drawn.extent, self._model.config.grounding.image_size)
        pixels = (inside > thresholds.mask_logit).sum((1, 2))  # targets
        kept = (pixels >= thresholds.fewest_pixels) & (drawn.seen >= thresholds.seen)
        return [int(number) for number in torch.nonzero(kept)[:, 0]]


def _part(progress: Progress | None, number: int, parts: int) -> Progress | None:
    """Return progress of the `number`th of several looks at the same slices."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, parts * total)


def _surer(one: SeenTarget | None, other: SeenTarget | None) -> SeenTarget | None:
    if one is None or other is None:
        return one or other
    return other if other.confidence > one.confidence else one


def _check_stack(stack: SliceStack) -> None:
    values: NDArray[np.float32] | NDArray[np.uint8] = stack.values
    colour = values.ndim == 4 and values.shape[-1] == 3
    if values.ndim != 3 and not colour:
        raise InputRefused(
            f"a stack has the axes slices rows columns, or slices rows columns 3 for RGB; this one is {values.shape}"
        )
    slices, rows, columns = values.shape[:3]
    if slices == 0 or min(rows, columns) < SMALLEST_SIDE:
        raise InputRefused(
            f"a stack of {slices} slices of {rows} x {columns} pixels shows nothing; "
            f"at least {SMALLEST_SIDE} x {SMALLEST_SIDE} are needed"
        )
    if colour and values.dtype != np.uint8:
        raise InputRefused(f"an RGB stack is uint8; this one is {values.dtype}")
    if not colour and not all(np.isfinite(plane).all() for plane in values):
        raise InputRefused("the stack holds values that are not finite (NaN or infinity); load the series again")


def _without_padding(logits: Tensor, extent: Extent, side: int) -> Tensor:
    """Return the part of `targets size size` that shows the image, whose `extent` is counted in a square of `side`."""
    size = logits.shape[-1]
    rows, columns = (-(-length * size // side) for length in extent)
    return logits[:, :rows, :columns]
