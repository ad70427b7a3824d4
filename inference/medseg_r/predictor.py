"""Arrays in, answers out: MedSeg-R behind `inference.interface.Predictor`.

A volume is answered in two passes.
1. Language: each question is asked of at most `ASKED_SLICES` slices, evenly spaced from the first to the last. A target
   counts as named where at least a tenth of those slices name it; its prompt is the mean of the prompts they gave.
2. Grounding: every slice is encoded once and drawn with every named target's prompt. A slice's mask is dropped where
   the quality head or its size puts it below the checkpoint's thresholds; a target without any mask is not seen.
Specks: connected parts smaller than a twentieth of a target's largest part are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from inference.errors import InputRefused, OutOfMemory
from inference.interface import Answer, PredictorDescription, Progress, Question, SeenTarget, SliceStack
from inference.medseg_r.answers import Statement, absent_in, composed, readable, statements
from inference.medseg_r.checkpoint import Checkpoint, load_checkpoint
from inference.medseg_r.context import Spoken, check_question, prefix_cache, speak
from inference.medseg_r.model import context_images
from inference.transform import Extent, from_square, standardise, to_square, window, windowed

__all__ = ["MedSegRPredictor"]

ASKED_SLICES = 16
NAMED_SHARE = 0.1
SPECK_SHARE = 0.05
SMALLEST_SIDE = 8
BATCH = 8


@dataclass
class _Target:
    """A named thing on its way to a mask. `scores`: quality estimate and pixels of each slice that was kept."""

    phrase: str
    prompt: Tensor
    mask: NDArray[np.bool_]
    scores: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class _Asked:
    """A question, what was said to it slice by slice, and the targets that came of it."""

    question: Question
    texts: list[str]
    targets: list[_Target]


class MedSegRPredictor:
    """Answers questions with a checkpoint folder; deterministic for the same stack and questions.

    Raises `CheckpointError` and `TermsNotAccepted` when built.
    """

    def __init__(self, folder: Path, device: str = "cpu", *, accept_research_use: bool = False) -> None:
        self._use(load_checkpoint(folder, accept_research_use=accept_research_use, device=device), device)

    @classmethod
    def of(cls, checkpoint: Checkpoint, device: str = "cpu") -> MedSegRPredictor:
        """Build from a checkpoint already in memory."""
        predictor = cls.__new__(cls)
        predictor._use(checkpoint, device)
        return predictor

    def _use(self, checkpoint: Checkpoint, device: str) -> None:
        self._checkpoint, self._device = checkpoint, torch.device(device)
        self._model = checkpoint.model

    @property
    def description(self) -> PredictorDescription:
        """Which model answers, and under which terms."""
        return self._checkpoint.description

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Answer each question about the stack, with a mask for each thing seen, on the stack's grid.

        `progress` counts the slices that were drawn. Raises `InputRefused` for an empty or overlong question and for a
        stack that is no picture (too small, wrong channels, NaN), `OutOfMemory` where the device has no room.
        """
        for question in questions:
            check_question(self._model.language_model, self._model.words, question.text)
        _check_stack(stack)
        if float(stack.values.min()) == float(stack.values.max()):
            return tuple(Answer(question, "The image is blank: nothing is seen.", (), ()) for question in questions)
        try:
            with torch.inference_mode():
                limits = window(stack)
                asked = self._ask(stack, limits, questions)
                self._draw(stack, limits, [target for one in asked for target in one.targets], progress)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"{self._device} has no room for {BATCH} slices; use another device") from error
        return tuple(_answer(one, stack.values.shape[0]) for one in asked)

    def _ask(
        self, stack: SliceStack, limits: tuple[float, float] | None, questions: Sequence[Question]
    ) -> list[_Asked]:
        slices = stack.values.shape[0]
        chosen = np.unique(np.linspace(0, slices - 1, min(slices, ASKED_SLICES)).round().astype(int)).tolist()
        said: list[list[Spoken]] = [[] for _ in questions]
        for start in range(0, len(chosen), BATCH):
            images, _ = self._squares(stack, limits, chosen[start : start + BATCH])
            small = context_images(images, self._model.config)
            cache = prefix_cache(self._model.language_model, self._model.words, small)
            for number, question in enumerate(questions):
                said[number] += speak(
                    self._model.language_model, self._model.words, cache, question.text, images.shape[0]
                )
        return [self._gather(question, spoken, stack) for question, spoken in zip(questions, said, strict=True)]

    def _gather(self, question: Question, spoken: Sequence[Spoken], stack: SliceStack) -> _Asked:
        texts = [self._model.words.text(one.ids) for one in spoken]
        states: dict[Statement, list[Tensor]] = {}
        for text, one in zip(texts, spoken, strict=True):
            for statement, state in zip(statements(text, len(one.states)), one.states, strict=True):
                states.setdefault(statement, []).append(state)
        targets = []
        for statement, found in states.items():
            if len(found) < NAMED_SHARE * len(spoken):
                continue
            prompt = self._model.prompt_projector(torch.stack(found)).mean(dim=0)  # prompt_width
            mask = np.zeros(stack.values.shape[:3], dtype=np.bool_)
            targets.append(_Target(statement.phrase, prompt, mask))
        return _Asked(question, texts, targets)

    def _draw(
        self,
        stack: SliceStack,
        limits: tuple[float, float] | None,
        targets: Sequence[_Target],
        progress: Progress | None,
    ) -> None:
        slices, rows, columns = stack.values.shape[:3]
        thresholds = self._checkpoint.thresholds
        for start in range(0, slices, BATCH):
            chosen = list(range(start, min(start + BATCH, slices)))
            if targets:
                images, extent = self._squares(stack, limits, chosen)
                features = self._model.grounding.encode(images)
                prompts = torch.stack([target.prompt for target in targets])  # targets prompt_width
                for place, index in enumerate(chosen):
                    logits, quality = self._model.grounding.decode(features[place], prompts)
                    logits = _without_padding(logits, extent)
                    pixels = (logits > thresholds.mask_logit).sum((1, 2))  # targets
                    kept = (pixels >= thresholds.fewest_pixels) & (quality >= thresholds.quality)
                    drawn = torch.nonzero(kept)[:, 0].tolist()
                    if not drawn or float(images[place].abs().max()) == 0.0:  # a blank slice standardises to zeros
                        continue
                    masks = from_square(logits[drawn], extent, rows, columns, thresholds.mask_logit)
                    for mask, number in zip(masks, drawn, strict=True):
                        targets[number].mask[index] = mask
                        targets[number].scores.append((float(quality[number]), int(mask.sum())))
            if progress is not None:
                progress(chosen[-1] + 1, slices)

    def _squares(
        self, stack: SliceStack, limits: tuple[float, float] | None, chosen: Sequence[int]
    ) -> tuple[Tensor, Extent]:
        """Return slices as the model sees them, float32 `chosen 3 256 256`, and the image's part of the square."""
        squares, extent = [], (0, 0)
        for index in chosen:
            square, extent = to_square(windowed(stack.values[index], limits))
            squares.append(torch.from_numpy(standardise(square)))
        return torch.stack(squares).permute(0, 3, 1, 2).contiguous().to(self._device), extent


def _check_stack(stack: SliceStack) -> None:
    values = stack.values
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


def _without_padding(logits: Tensor, extent: Extent) -> Tensor:
    """Make sure that nothing is drawn where the square only has padding."""
    size = logits.shape[-1]
    rows, columns = (-(-side * size // 256) for side in extent)
    return F.pad(logits[:, :rows, :columns], (0, size - columns, 0, size - rows), value=-100.0)


def _answer(asked: _Asked, slices: int) -> Answer:
    seen, lost = [], []
    for target in asked.targets:
        mask = _without_specks(target.mask)
        if mask.any():
            seen.append(SeenTarget(target.phrase, _confidence(target.scores), mask))
        else:
            lost.append(target.phrase)
    if len(asked.texts) == 1 and not lost:
        text = readable(asked.texts[0])
    else:
        named = [target.phrase for target in seen]
        absent = [phrase for one in asked.texts for phrase in absent_in(one)]
        text = composed(asked.texts, named, [phrase for phrase in [*lost, *absent] if phrase not in named])
    return Answer(asked.question, text, tuple(seen), tuple(range(slices)))


def _confidence(scores: Sequence[tuple[float, int]]) -> float:
    """Return the quality head's estimate, slices weighted by their area, within 0 to 1."""
    area = sum(pixels for _, pixels in scores)
    if area == 0:
        return 0.0
    return min(1.0, max(0.0, sum(quality * pixels for quality, pixels in scores) / area))


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop connected parts (faces, edges and corners connect) below `SPECK_SHARE` of the largest; in place."""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    mask &= (sizes >= SPECK_SHARE * sizes.max())[parts]
    return mask
