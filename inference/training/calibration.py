"""Set thresholds and calibration of a finished checkpoint from its own answers to questions kept out of training.

For a checkpoint of any size: prompts are those of the model's own [SEG] states. A target that the answer denies has no
mask and no threshold could give it one; so recall, here, is of what was named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.errors import AnswerMalformed, InferenceError, InputRefused
from inference.evaluation.matching import matched
from inference.evaluation.run import check_split, chosen_records
from inference.evaluation.scores import dice, iou
from inference.medseg_qa.records import Record
from inference.medseg_r.answers import statements
from inference.medseg_r.checkpoint import Checkpoint, load_checkpoint, set_thresholds
from inference.medseg_r.grounding import Drawn
from inference.open import torch_device
from inference.progress import progress_bar
from inference.training.thresholds import MASK_LOGITS, Judged, calibrated, choose_thresholds, cross_validated
from inference.transform import from_square, grounding_square, to_square

__all__ = ["calibrate_checkpoint", "judge_answers"]

_FEWEST = 20  # masks, of things that are there; fewer say nothing


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
    with progress_bar() as progress:
        bar = progress.add_task("images", total=None)
        judged = judge_answers(
            checkpoint,
            qa,
            split,
            most_per_set=most_per_set,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    present = sum(one.present for one in judged)
    if present < _FEWEST:
        raise InferenceError(
            f"the answers to the questions of the split {split} of {qa} name {present} things that are there, of "
            f"{_FEWEST} that are needed; train the checkpoint first, or choose a larger split"
        )
    thresholds = choose_thresholds(judged)
    calibration = calibrated(judged, thresholds)
    described = set_thresholds(folder, thresholds, calibration)
    outcome = cross_validated(judged)
    return {
        "digest": described.digest,
        "thresholds": vars(thresholds),
        "calibration": [list(pair) for pair in calibration],
        "cross_validated": None if outcome is None else outcome._asdict(),
        "masks": len(judged),
    }


def judge_answers(
    checkpoint: Checkpoint,
    qa: Path,
    split: str,
    *,
    most_per_set: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """Ask the questions of a split that stand alone, and judge a mask for each label that an answer names.

    Answers against the grammar and questions that the model has no room for are left out.
    """
    records = chosen_records(qa, split, most_per_set)
    labels: dict[str, int] = {}
    judged: list[Judged] = []
    for number, record in enumerate(records):
        for label, true, drawn, masks in _answered(checkpoint, record, qa):
            overlaps = [(-1.0, 0.0) if true is None else (dice(mask, true), iou(mask, true)) for mask in masks]
            judged.append(
                Judged(
                    number,
                    labels.setdefault(label, len(labels)),
                    True,
                    float(drawn.seen[0]),
                    float(drawn.quality[0]),
                    tuple(int((drawn.logits > logit).sum()) for logit in MASK_LOGITS),
                    tuple(score for score, _ in overlaps),
                    tuple(share for _, share in overlaps),
                )
            )
        if progress is not None:
            progress(number + 1, len(records))
    return judged


_Mask = NDArray[np.bool_]


@torch.inference_mode()
def _answered(
    checkpoint: Checkpoint, record: Record, qa: Path
) -> Iterator[tuple[str, _Mask | None, Drawn, list[_Mask]]]:
    """Yield each asked label that was named, its true mask if it is there, what was drawn, and that at every logit."""
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
            [[spoken]] = model.context.speak(prefix, [((), turn.question)], config.most_answer_tokens)
            named = [one.phrase for one in statements(model.words.text(spoken.ids), len(spoken.states))]
        except (AnswerMalformed, InputRefused):
            continue
        if not named:
            continue
        drawn = model.grounding.decode(features, model.prompt_projector(spoken.states.to(model.device)))
        there = {record.targets[index].label: record.targets[index].mask for index in turn.targets}
        for label, place in matched(record, turn, named).items():
            one = drawn[place]
            masks = [
                from_square(one.logits, extent, rows, columns, logit, config.grounding.image_size)[0]
                for logit in MASK_LOGITS
            ]
            true = None
            if label in there:
                with Image.open(qa / there[label]) as picture:
                    true = np.asarray(picture) > 127
            yield label, true, one, masks
