"""Arrays in, answers out: MedSeg-R behind `inference.interface.Predictor`.

A stack is answered in two passes. First some of its slices are asked every question; then masks are predicted on all of
its slices, each encoded once, with a prompt for each thing that was named (`volume.py` has the rules). Both passes run
in batches that fit the memory (`batches.py`). Masks are written into the answer's arrays slice by slice, so that
nothing grows with the number of slices but the answer itself.

The same stack, questions and batch size give the same bytes. Another batch size changes the order of sums: logits move
by about 1e-4, and so do masks, at pixels that lie so close to the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import InputRefused
from inference.interface import Answer, PredictorDescription, Progress, Question, SliceStack
from inference.medseg_r.batches import Batches
from inference.medseg_r.checkpoint import Checkpoint
from inference.medseg_r.context import GeneratedAnswer
from inference.medseg_r.grounding import MaskPrediction
from inference.medseg_r.transform import Extent, apply_window, choose_window, from_square, grounding_square, to_square
from inference.medseg_r.volume import (
    DraftAnswer,
    DraftTarget,
    SliceAnswer,
    draft_answer,
    finished_answer,
    slices_with_content,
)
from inference.sampling import evenly_spaced

__all__ = ["MedSegRPredictor"]

SMALLEST_SIDE = 8

_log = structlog.get_logger()

_KeptMasks = list[tuple[int, Tensor, Tensor]]
"""For one slice, each kept target's number, its mask logits `size size` and its quality."""


class MedSegRPredictor:
    """Answers questions with a loaded checkpoint; deterministic for the same stack, questions and batch size.

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

    def answer(
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
            limits = choose_window(stack)
            drafts = self._ask(stack, limits, questions, evenly_spaced(slices, self._model.config.asked_slices))
            targets = [target for draft in drafts for target in draft.targets]
            self._fill_masks(stack, limits, slices, targets, progress)
        return tuple(finished_answer(draft, self.checkpoint.calibration) for draft in drafts)

    def _check_questions(self, questions: Sequence[Question]) -> None:
        context, side = self._model.context, self._model.config.context_square
        blank = np.zeros((side, side, 3), dtype=np.uint8)
        [(_, tokens)] = self._counting.run(1, lambda _: context.visual_tokens(context.pixels([blank])))
        for question in questions:
            context.check(question, tokens)

    def _ask(
        self,
        stack: SliceStack,
        limits: tuple[float, float] | None,
        questions: Sequence[Question],
        chosen: Sequence[int],
    ) -> list[DraftAnswer]:
        """Put every question to the chosen slices."""
        model = self._model

        def work(batch: range) -> list[list[GeneratedAnswer]]:
            images = (apply_window(stack.values[chosen[place]], limits) for place in batch)
            prefix = model.context.encode([to_square(image, model.config.context_square)[0] for image in images])
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
        shape = stack.values.shape[:3]
        return [
            draft_answer(question, of_question, shape)
            for question, of_question in zip(questions, slice_answers, strict=True)
        ]

    def _fill_masks(
        self,
        stack: SliceStack,
        limits: tuple[float, float] | None,
        slices: Sequence[int],
        targets: Sequence[DraftTarget],
        progress: Progress | None,
    ) -> None:
        """Predict the mask of every target on every slice that shows something, straight into its array."""
        model, config = self._model, self._model.config.grounding
        total, rows, columns = stack.values.shape[:3]
        threshold = self.checkpoint.thresholds.mask_logit
        extents: dict[int, Extent] = {}

        def work(batch: range) -> list[_KeptMasks]:
            prompts = self._prompts(targets)
            images = []
            for place in batch:
                image = apply_window(stack.values[slices[place]], limits)
                square, extents[place] = grounding_square(image, config.preprocessing, config.image_size)
                images.append(torch.from_numpy(square))
            tensor = torch.stack(images).permute(0, 3, 1, 2).contiguous().to(self._model.device)  # batch 3 side side
            features = model.grounding.encode(tensor)
            return [
                self._kept_masks(model.grounding.decode(features[number], prompts), extents[place])
                for number, place in enumerate(batch)
            ]

        for batch, kept_masks in self._grounding.run(len(slices) if targets else 0, work):
            for place, kept in zip(batch, kept_masks, strict=True):
                for number, logits, quality in kept:
                    [mask] = from_square(logits[None], extents[place], rows, columns, threshold, config.image_size)
                    targets[number].mask[slices[place]] = mask
                    targets[number].scores.append((float(quality), int(mask.sum())))
            if progress is not None:
                progress(slices[batch[-1]] + 1, total)
        if progress is not None:
            progress(total, total)

    def _prompts(self, targets: Sequence[DraftTarget]) -> Tensor:
        """Return a prompt for each target, `targets prompt_width`: the mean of what its hidden states give."""
        states = [torch.stack(target.hidden_states).to(self._model.device) for target in targets]
        return torch.stack([self._model.prompt_projector(of_target).mean(dim=0) for of_target in states])

    def _kept_masks(self, predicted: MaskPrediction, extent: Extent) -> _KeptMasks:
        """Return the targets that pass the thresholds."""
        thresholds = self.checkpoint.thresholds
        inside = _without_padding(predicted.logits, extent, self._model.config.grounding.image_size)
        pixels = (inside > thresholds.mask_logit).sum((1, 2))  # targets
        kept = (pixels >= thresholds.fewest_pixels) & (predicted.seen >= thresholds.seen)
        return [
            (number, predicted.logits[number], predicted.quality[number])
            for number in torch.nonzero(kept)[:, 0].tolist()
        ]


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
