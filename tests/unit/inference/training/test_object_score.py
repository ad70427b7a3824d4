"""The object score: what it reads, what it learns from, and that it is what keeps or drops a mask."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from inference.medseg_qa.labels import DATASETS, LABELS
from inference.medseg_r.config import GroundingConfig, MedSegRConfig
from inference.medseg_r.grounding import Grounding, MaskPrediction, ObjectScore
from inference.training.object_score import Evidence, fit_object_score, gather_evidence
from inference.training.packing import Pack
from inference.training.vision import label_prompts


@pytest.fixture
def scored_config(small_config: MedSegRConfig) -> GroundingConfig:
    return dataclasses.replace(small_config.grounding, object_score=True)


@pytest.mark.slow
def test_it_says_what_is_there_where_the_quality_never_would() -> None:
    """A thin thing's mask has a quality of 0.15 where it is there and 0.05 where not; a large one's 0.8 and 0.3."""
    random = np.random.default_rng(0)
    rows, labels, present = [], [], []
    for number in range(6000):
        thin, there = number % 2, random.random() < (0.1 if number % 2 else 0.6)
        quality = (0.15 if there else 0.05) if thin else (0.8 if there else 0.3)
        token = torch.zeros(8)
        token[thin] = 1.0
        signs = torch.tensor([quality + random.normal(0, 0.01), 0.5, 0.4, 0.5])
        rows.append(torch.cat([token, signs]))
        labels.append(thin)
        present.append(there)
    torch.manual_seed(0)
    score = ObjectScore(8)
    evidence = Evidence(torch.stack(rows).float(), torch.tensor(labels), torch.tensor(present))
    fit_object_score(evidence, score, rounds=60, rate=3e-3)  # far less evidence than a checkpoint's
    said = score.eval()(torch.stack(rows).float()).detach() > 0
    for thin in (0, 1):
        own = torch.tensor(labels) == thin
        right = (said == torch.tensor(present))[own].float().mean()
        assert right > 0.95, thin


def test_decoding_tells_what_it_read(scored_config: GroundingConfig) -> None:
    torch.manual_seed(0)
    grounding = Grounding(scored_config).eval()
    with torch.inference_mode():
        features = grounding.encode(torch.randn(1, 3, 256, 256))
        drawn = grounding.decode(features[0], torch.randn(3, 32))
        alone = grounding.decode(features[0], torch.zeros(1, 32))
    assert drawn.evidence is not None and drawn.evidence.shape == (3, 32 + 4)
    assert torch.equal(drawn.evidence[:, 32], drawn.quality)
    assert torch.equal(drawn.seen, drawn.object_logits.sigmoid())  # type: ignore[union-attr]
    assert alone.seen.shape == (1,)


def test_without_an_object_score_the_quality_decides() -> None:
    quality = torch.tensor([0.2, 0.7])
    assert torch.equal(MaskPrediction(torch.zeros(2, 4, 4), quality).seen, quality)


def test_evidence_is_of_every_label_of_an_image_and_of_foreign_ones(scored_config: GroundingConfig) -> None:
    names = list(DATASETS)
    masks = np.zeros((len(names), 256, 256), dtype=np.uint16)
    masks[:, 100:160, 100:160] = 1  # the first label of each set, and only that
    images = np.random.default_rng(0).integers(0, 255, (len(names), 256, 256, 3)).astype(np.uint8)
    texts = np.array(names)
    splits = np.array(["train"] * len(names))
    pack = Pack(images, masks, texts, texts, texts, splits, np.full((len(names), 2), 256), texts)
    torch.manual_seed(0)
    grounding = Grounding(scored_config)
    prompts = label_prompts(32)
    told: list[tuple[int, int]] = []
    evidence = gather_evidence(pack, grounding, prompts, images=6, seed=4, progress=lambda *one: told.append(one))
    assert told[-1] == (6, 6)
    assert len(evidence.rows) == len(evidence.labels) == len(evidence.present)
    firsts = {LABELS.index(labels[0]) for labels in DATASETS.values()}
    there = set(evidence.labels[evidence.present].tolist())
    assert there and there <= firsts
    again = gather_evidence(pack, grounding, prompts, images=6, seed=4)
    assert torch.equal(again.rows, evidence.rows)
