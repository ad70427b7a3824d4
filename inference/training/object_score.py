"""The object score learns when a prompt's target is there at all, on a grounding that stays as it is.

Every label of an augmented training image is asked, there or not, and some of other kinds of image. What the head reads
of each (`ObjectScore.evidence`) is gathered once; then the head is fitted to it, each label's cases that are there and
those that are not weighted by the inverse root of how many there are: else a rare label would best be denied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from inference.medseg_qa.labels import DATASETS, LABELS
from inference.medseg_r.grounding import Grounding, ObjectScore
from inference.medseg_r.transform import standardise
from inference.training.packing import Pack
from inference.training.vision import PROMPT_NOISE, augmented, draw_record

__all__ = ["Evidence", "fit_object_score", "gather_evidence"]

_SHARES = {
    "acdc": 0.17,
    "btcv": 0.25,
    "busi": 0.17,
    "chasedb1": 0.03,
    "cxr_covid": 0.15,
    "hippocampus": 0.15,
    "kvasir_seg": 0.08,
}
"""Of the images: more than in training of the sets whose images lack a label now and then."""

_FOREIGN = 2  # prompts for labels of other kinds of image, for each image
_ROUNDS = 20  # through all evidence; three times as many tell validation images apart less well
_BATCH = 512
_RATE = 1e-3
_DECAY = 0.1


@dataclass(frozen=True)
class Evidence:
    """`rows`: float32 `n features`. `labels`: int64 `n`, places in LABELS. `present`: bool `n`."""

    rows: Tensor
    labels: Tensor
    present: Tensor


def gather_evidence(
    pack: Pack,
    grounding: Grounding,
    prompts: Tensor,
    *,
    images: int,
    seed: int = 0,
    among: NDArray[np.bool_] | None = None,
    contrast: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Ask `grounding`, which has an object score, all labels of `images` augmented training images.

    `prompts`: `labels prompt_width`. `among`: the records to draw from, best those that the grounding never saw; a set
    without any there gives all that it has. `contrast`: the share that is shown in another contrast.
    """
    grounding.train(mode=False)
    rows, labels, present = [], [], []
    random = np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(seed)
    for number in range(images):
        name = str(random.choice(list(_SHARES), p=list(_SHARES.values())))
        (record, _), own = draw_record(pack, name, random, among=among), DATASETS[name]
        image, bits = augmented(pack, record, random, contrast=contrast)
        union = int(np.bitwise_or.reduce(bits, axis=None))
        foreign = random.choice([label for label in LABELS if label not in own], _FOREIGN, replace=False).tolist()
        asked = torch.tensor([LABELS.index(label) for label in (*own, *foreign)])
        square = torch.from_numpy(standardise(image)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            prompt = prompts[asked]
            prompt = prompt + PROMPT_NOISE * torch.randn(prompt.shape, generator=noise)
            evidence = grounding.decode(grounding.encode(square)[0], prompt).evidence
        assert evidence is not None, "the grounding has an object score"
        rows.append(evidence.clone())
        labels.append(asked)
        present.append(torch.tensor([bool(union >> i & 1) for i in range(len(own))] + [False] * _FOREIGN))
        if progress is not None:
            progress(number + 1, images)
    return Evidence(torch.cat(rows), torch.cat(labels), torch.cat(present))


def fit_object_score(
    evidence: Evidence, score: ObjectScore, *, rounds: int = _ROUNDS, rate: float = _RATE, seed: int = 0
) -> float:
    """Fit a head to `evidence`, from wherever it begins; return the last round's mean loss.

    `rounds`: through all of it. `rate`: the learning rate, which falls to 0 with a cosine.
    """
    torch.manual_seed(seed)
    cases = evidence.labels * 2 + evidence.present.long()
    counts = torch.bincount(cases, minlength=2 * len(LABELS)).float()
    weights = counts[cases].rsqrt()
    weights = weights / weights.mean()
    true = evidence.present.float()
    optimiser = torch.optim.AdamW(score.parameters(), lr=rate, weight_decay=_DECAY)
    steps = rounds * -(-len(true) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    mean = 0.0
    for _ in range(rounds):
        losses = []
        for chosen in torch.split(torch.randperm(len(true)), _BATCH):
            each = F.binary_cross_entropy_with_logits(score(evidence.rows[chosen]), true[chosen], reduction="none")
            loss = (each * weights[chosen]).mean()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        mean = float(np.mean(losses))
    return mean
