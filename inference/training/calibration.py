"""Set thresholds and calibration of a finished checkpoint from its own answers to questions kept out of training.

For a checkpoint of any size: prompts are those of the model's own [SEG] states. What the answer does not name has no
mask whatever the thresholds, and counts with the rest: recall and specificity are of the whole way from question to
mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.errors import AnswerMalformed, InferenceError, InputRefused
from inference.interface import PredictorDescription, Question
from inference.medseg_qa.matching import match_phrases
from inference.medseg_qa.records import Record
from inference.medseg_qa.splits import check_split, select_records
from inference.medseg_r.answers import named_phrases
from inference.medseg_r.checkpoint import Checkpoint, load_checkpoint, set_card, set_thresholds
from inference.medseg_r.grounding import MaskPrediction
from inference.medseg_r.predictor import MedSegRPredictor
from inference.medseg_r.transform import from_square, grounding_square, to_square
from inference.open import torch_device
from inference.overlap import dice, iou
from inference.progress import Counter
from inference.training.least_confidence import claimed_from, least_confidences, looked_for
from inference.training.thresholds import MASK_LOGITS, Judged, Wanted, calibrated, choose_thresholds, cross_validated

__all__ = ["ENOUGH", "calibrate_checkpoint", "judge_answers"]

_FEWEST = 20  # masks, of things that are there; fewer say nothing
ENOUGH = 200
"""Masks of things that are there; thresholds that are chosen by fewer may not hold elsewhere."""
_WANTED = Wanted(specificity=0.9, recall=0.9)


def calibrate_checkpoint(
    folder: Path,
    qa: Path,
    split: str = "val",
    *,
    device: str = "auto",
    most_per_set: int | None = None,
) -> dict[str, Any]:
    """Choose both, write them into `folder`, and return them with what they come to, as plain values.

    Progress goes to stderr.
    Raises `CheckpointError` and `SourceError` for what cannot be read, `InferenceError` for a split without images
    and where the answers name too little to choose by.
    """
    check_split(qa, split)
    checkpoint = load_checkpoint(folder, accept_research_use=True, device=torch_device(device))
    with Counter("images") as progress:
        judged = judge_answers(checkpoint, qa, split, most_per_set=most_per_set, progress=progress)
    present = sum(one.present and one.pixels[0] > 0 for one in judged)
    if present < _FEWEST:
        raise InferenceError(
            f"the answers to the questions of the split {split} of {qa} name {present} things that are there, of "
            f"{_FEWEST} that are needed; train the checkpoint first, or choose a larger split"
        )
    thresholds = choose_thresholds(judged, _WANTED)
    calibration = calibrated(judged, thresholds)
    by = {"split": split, "images": len({one.image for one in judged}), "targets": len(judged), "masks": present}
    described = set_thresholds(folder, thresholds, calibration, by=by)
    least = _claim_labels(folder, qa, split, device, most_per_set)
    if least is not None:
        described = least.described
    outcome = cross_validated(judged, _WANTED)
    return {
        "digest": described.digest,
        "thresholds": vars(thresholds),
        "calibration": [list(pair) for pair in calibration],
        "least_confidence": None if least is None else least.by_label,
        "cross_validated": None if outcome is None else outcome._asdict(),
        **by,
    }


class _Claims(NamedTuple):
    """From which confidence labels are claimed, and what the checkpoint is known as with that in its card."""

    by_label: dict[str, float]
    described: PredictorDescription


def _claim_labels(folder: Path, qa: Path, split: str, device: str, most_per_set: int | None) -> _Claims | None:
    """Choose and write into the card from which confidence each label is claimed; None for a checkpoint without one."""
    place = torch_device(device)
    checkpoint = load_checkpoint(folder, accept_research_use=True, device=place)  # with the thresholds just chosen
    if checkpoint.card is None:
        return None
    checkpoint = replace(checkpoint, card=claimed_from(checkpoint.card, {}))
    with Counter("images looked through") as progress:
        looked = looked_for(
            MedSegRPredictor(checkpoint, place), qa, split, most_per_set=most_per_set, progress=progress
        )
    least = least_confidences(looked)
    assert checkpoint.card is not None
    described = set_card(folder, claimed_from(checkpoint.card, least), checkpoint.likeness)
    return _Claims({f"{label} ({modality})": bar for (label, modality), bar in least.items()}, described)


def judge_answers(
    checkpoint: Checkpoint,
    qa: Path,
    split: str,
    *,
    most_per_set: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """Ask the questions of a split that stand alone, and judge what each answer gives for each label asked for.

    An answer against the grammar names nothing, nor does the model where it has no room for the question.
    """
    records = select_records(qa, split, most_per_set)
    labels: dict[str, int] = {}
    judged: list[Judged] = []
    for number, record in enumerate(records):
        for label, true, given in _answered(checkpoint, record, qa):
            place = labels.setdefault(label, len(labels))
            absent = -1.0 if true is None else 0.0
            none = (0,) * len(MASK_LOGITS)
            if given is None:
                dices = tuple(absent for _ in none)
                judged.append(Judged(number, place, True, -np.inf, 0.0, none, dices, none))
                continue
            predicted, masks = given
            judged.append(
                Judged(
                    number,
                    place,
                    True,
                    float(predicted.seen[0]),
                    float(predicted.quality[0]),
                    tuple(int((predicted.logits > logit).sum()) for logit in MASK_LOGITS),
                    tuple(absent if true is None else dice(mask, true) for mask in masks),
                    tuple(0.0 if true is None else iou(mask, true) for mask in masks),
                )
            )
        if progress is not None:
            progress(number + 1, len(records))
    return judged


_Mask = NDArray[np.bool_]


@torch.inference_mode()
def _answered(
    checkpoint: Checkpoint, record: Record, qa: Path
) -> Iterator[tuple[str, _Mask | None, tuple[MaskPrediction, list[_Mask]] | None]]:
    """Yield each asked label, its true mask if it is there, and its predicted masks if it was named."""
    model, config = checkpoint.model, checkpoint.model.config
    turns = [turn for one in record.conversations for turn in one.turns if turn.standalone]
    if not turns:
        return
    image = np.asarray(Image.open(qa / record.image).convert("RGB"))
    rows, columns = image.shape[:2]
    prefix = model.context.encode([to_square(image, config.context_square)[0]])
    square, extent = grounding_square(image, config.grounding.preprocessing, config.grounding.image_size)
    features = model.grounding.encode(torch.from_numpy(square).permute(2, 0, 1)[None].contiguous().to(model.device))
    for turn in turns:
        try:
            [[answer]] = model.context.generate(prefix, [Question(turn.question)], config.most_answer_tokens)
            text = model.tokenizer.text(answer.ids)
            phrases = [named.phrase for named in named_phrases(text, len(answer.hidden_states))]
        except (AnswerMalformed, InputRefused):
            phrases = []
        places = match_phrases(record, turn, phrases)
        if phrases:
            prompts = model.prompt_projector(answer.hidden_states.to(model.device))
            predicted = model.grounding.decode(features, prompts)
        there = {record.targets[index].label: record.targets[index].mask for index in turn.targets}
        for label in (*there, *turn.absent):
            true = None
            if label in there:
                with Image.open(qa / there[label]) as picture:
                    true = np.asarray(picture) > 127
            if label not in places:
                yield label, true, None
                continue
            of_label = predicted[places[label]]
            size = config.grounding.image_size
            masks = [from_square(of_label.logits, extent, rows, columns, logit, size)[0] for logit in MASK_LOGITS]
            yield label, true, (of_label, masks)
