"""Stage 1: pixel-level grounding learns every label of an image at once, prompted by a fixed vector per label.

The vectors stand in for the [SEG] states of a language model that is not trained yet. They are drawn once from a seed
and never change, so that the language side can learn to give them at the same time; noise on them teaches the grounding
to take what comes near. A prompt is for a label that is there, one that is not, or one of another kind of image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.medseg_qa.labels import DATASETS, LABELS
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.model import mask_loss, quality_loss
from inference.medseg_r.transform import standardise
from inference.open import torch_device
from inference.overlap import dice
from inference.sampling import evenly_spaced
from inference.training.augment import augment, recast
from inference.training.packing import Pack, held_out
from inference.training.pretrained import load_pretrained_stem
from inference.training.settings import TrainSettings
from inference.training.start import starting_point
from inference.training.steps import run_steps

__all__ = [
    "IMAGE_SHARES",
    "PROMPT_NOISE",
    "Batch",
    "augmented",
    "draw_record",
    "label_prompts",
    "sample_batch",
    "train_vision",
]

IMAGE_SHARES = {
    "acdc": 0.10,
    "btcv": 0.36,
    "busi": 0.11,
    "chasedb1": 0.05,
    "cxr_covid": 0.26,
    "hippocampus": 0.06,
    "kvasir_seg": 0.06,
}
"""Of the images in training: a set with many labels gets more, since the score is a mean over labels."""

_BY_LABEL = 0.6  # chance that an image is drawn since it shows a certain label: some labels are on four images of a set
_BY_ABSENCE = 0.15  # and since it lacks one that others of its set show: few images of a breast are without a tumour
_PRESENT_PROMPTS = 4
_ABSENT_PROMPTS = 2  # of the same set
_FOREIGN = 0.5  # chance of one more, of another kind of image
PROMPT_NOISE = 0.15  # deviation of what is added to a prompt, whose own is 1
_STEM_RATE = 0.25  # of what was pretrained, as a share of the others'
_DECODER_FROM = 0.4  # of the steps: before that the mask decoder is left out, for a third less time a step
_VALIDATED = 8  # images of each set


def label_prompts(width: int) -> Tensor:
    """Return the fixed prompt of each of `LABELS`: float32 `labels width`, standard normal, the same at every call."""
    return torch.randn(len(LABELS), width, generator=torch.Generator().manual_seed(20250610))


@dataclass(frozen=True)
class Batch:
    """`images`: float32 `n 3 256 256`. Per image: `labels`, k indices into LABELS; `masks`, `k 256 256` of 0 and 1."""

    images: Tensor
    labels: list[Tensor]
    masks: list[Tensor]


def sample_batch(
    pack: Pack,
    random: np.random.Generator,
    size: int,
    *,
    among: NDArray[np.bool_] | None = None,
    contrast: float = 0.0,
) -> Batch:
    """Draw an augmented training batch: a data set by its share, then a record, then some labels, there or not.

    More than half of the records are drawn since they show a label, each label of the set as often; some since they
    lack one. `among`: the records to draw from. `contrast`: the share that is shown in another contrast.
    """
    images, labels, masks = [], [], []
    for name in random.choice(list(IMAGE_SHARES), size=size, p=list(IMAGE_SHARES.values())):
        record, wanted = draw_record(pack, str(name), random, among=among)
        image, bits = augmented(pack, record, random, contrast=contrast)
        own = DATASETS[str(name)]
        union = int(np.bitwise_or.reduce(bits, axis=None))
        found = [i for i in range(len(own)) if union >> i & 1]
        chosen = sorted(random.permutation(found).astype(int).tolist(), key=lambda i: i != wanted)[:_PRESENT_PROMPTS]
        absent = [i for i in range(len(own)) if i not in found]
        chosen += sorted(random.permutation(absent).astype(int).tolist(), key=lambda i: i != wanted)[:_ABSENT_PROMPTS]
        planes = [(bits >> np.uint16(i) & np.uint16(1)).astype(np.float32) for i in chosen]
        names = [own[i] for i in chosen]
        if not planes or random.random() < _FOREIGN:  # a label of another kind of image
            names.append(str(random.choice([label for label in LABELS if label not in own])))
            planes.append(np.zeros(bits.shape, np.float32))
        images.append(torch.from_numpy(standardise(image)))
        labels.append(torch.tensor([LABELS.index(one) for one in names]))
        masks.append(torch.from_numpy(np.stack(planes)))
    return Batch(torch.stack(images).permute(0, 3, 1, 2), labels, masks)


def augmented(
    pack: Pack, record: int, random: np.random.Generator, *, contrast: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return a record's square and its label bits as no other draw shows them."""
    dataset, extent = str(pack.datasets[record]), (int(pack.extents[record][0]), int(pack.extents[record][1]))
    image, bits = np.asarray(pack.images[record]), np.asarray(pack.masks[record])
    return augment(*recast(image, bits, extent, dataset, random, contrast=contrast), dataset, random)


def draw_record(
    pack: Pack, dataset: str, random: np.random.Generator, *, among: NDArray[np.bool_] | None = None
) -> tuple[int, int | None]:
    """Draw a training record of a set, and the label that it was drawn for, there or not, if for one.

    A label is its place in its set. `among`: the records to draw from; a set that has none there draws from all.
    """
    of_set = (pack.splits == "train") & (pack.datasets == dataset)
    records = np.flatnonzero(of_set if among is None or not (of_set & among).any() else of_set & among)
    reason = random.random()
    if reason < _BY_LABEL + _BY_ABSENCE:
        there = reason < _BY_LABEL
        bits = pack.shown[records]
        shown = [i for i in range(len(DATASETS[dataset])) if (bits >> i & 1).any()]
        labels = shown if there else [i for i in shown if not (bits >> i & 1).all()]
        if labels:
            label = int(random.choice(labels))
            return int(random.choice(records[(bits >> label & 1 == 1) == there])), label
    return int(random.choice(records)), None


def train_vision(pack: Pack, config: MedSegRConfig, settings: TrainSettings) -> None:
    """Train up to `settings.steps` steps, resuming from `settings.out`/grounding.pt."""
    started = starting_point(settings, config)
    torch.manual_seed(settings.seed)
    # the object score is learned last, when the masks are what they will be
    grounding = Grounding(replace(config.grounding, object_score=False))
    if started is None:
        load_pretrained_stem(grounding.stem)
    else:
        known = started.grounding.state_dict()
        grounding.load_state_dict({name: known[name] for name in grounding.state_dict()})
    device = torch.device(torch_device(settings.device))
    grounding = grounding.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    stem = [*grounding.stem.parameters()]
    new = [value for name, value in grounding.named_parameters() if not name.startswith("stem.")]
    groups = [{"params": new, "lr": settings.peak_rate}, {"params": stem, "lr": _STEM_RATE * settings.peak_rate}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.03)
    prompts = label_prompts(config.grounding.prompt_width).to(device)
    among = ~held_out(pack, settings.held_out)
    decoder_from = int(_DECODER_FROM * settings.steps) if started is None else 0

    def losses(step: int) -> dict[str, Tensor]:
        random = np.random.default_rng([settings.seed, step])
        batch = sample_batch(pack, random, settings.batch_size, among=among, contrast=settings.contrast)
        return _losses(grounding, prompts, batch, decoder=step >= decoder_from)

    def validated(average: nn.Module) -> dict[str, float]:
        assert isinstance(average, Grounding)
        return {"validation dice": float(np.mean(list(validate(pack, average, prompts).values())))}

    run_steps(grounding, optimiser, losses, {"mask": 1.0, "quality": 1.0}, settings, validate=validated)


def validate(
    pack: Pack, grounding: Grounding, prompts: Tensor, split: str = "val", most: int = _VALIDATED
) -> dict[str, float]:
    """Return the mean Dice of each label that is there in at most `most` evenly spaced images of each set."""
    found: dict[str, list[float]] = {}
    for name, own in DATASETS.items():
        records = np.flatnonzero((pack.splits == split) & (pack.datasets == name)).tolist()
        for record in evenly_spaced(records, most):
            present = pack.present(record)
            if not present:
                continue
            square = torch.from_numpy(standardise(np.asarray(pack.images[record]))).permute(2, 0, 1)[None]
            square = square.to(prompts.device)
            with torch.inference_mode():
                asked = prompts[[LABELS.index(label) for label in present]]
                drawn = grounding.refine(grounding.encode(square)[0], None, asked) > 0
            for label, mask in zip(present, drawn.cpu().numpy(), strict=True):
                found.setdefault(label, []).append(dice(mask, _true(pack, record, own.index(label))))
    return {label: float(np.mean(values)) for label, values in sorted(found.items())}


def _true(pack: Pack, record: int, bit: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = (np.asarray(pack.masks[record]) >> np.uint16(bit) & np.uint16(1)).astype(np.bool_)
    return mask


def _losses(grounding: Grounding, prompts: Tensor, batch: Batch, *, decoder: bool) -> dict[str, Tensor]:
    device = prompts.device
    features = grounding.encode(batch.images.to(device).contiguous(memory_format=torch.channels_last))
    masks, qualities = [], []
    for image, (labels, target) in enumerate(zip(batch.labels, batch.masks, strict=True)):
        target = target.to(device)
        asked = prompts[labels.to(device)]  # k prompt_width
        asked = asked + PROMPT_NOISE * torch.randn(asked.shape).to(device)  # the same noise on every device
        if decoder:
            drawn = grounding.decode(features[image], asked)
            logits = drawn.logits
            qualities.append(quality_loss(drawn.quality, logits, target))
        else:
            logits = grounding.refine(features[image], None, asked)
        masks.append(mask_loss(logits, target))
    found = {"mask": torch.stack(masks).mean()}
    return found | {"quality": torch.stack(qualities).mean()} if qualities else found
