"""The stages behind the shipped weights: what they start from, what they draw, and what is chosen after them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from inference.errors import InferenceError
from inference.medseg_qa.labels import DATASETS, LABELS
from inference.medseg_r.checkpoint import load_checkpoint, set_thresholds
from inference.medseg_r.config import PRESETS, MedSegRConfig
from inference.medseg_r.description import Thresholds
from inference.medseg_r.efficientnet_stem import EfficientNetStem
from inference.medseg_r.model import mask_losses
from inference.medseg_r.tiny import build_image_processor, build_tokenizer, train_tokenizer
from inference.training import language, pretrained
from inference.training.compose import _between, compose_stages
from inference.training.dialogues import Dialogues, dialogue_texts
from inference.training.language import LanguageStage, _pixels, train_language
from inference.training.packing import Pack, held_out
from inference.training.packing import pack as pack_images
from inference.training.settings import TrainSettings
from inference.training.thresholds import Judged, calibrated, choose_thresholds, cross_validated
from inference.training.vision import draw_record, label_prompts, sample_batch, train_vision


@pytest.fixture
def pack() -> Pack:
    """Two records of each set; bit i of a mask is a square in row i of a grid of squares."""
    count = 2 * len(DATASETS)
    masks = np.zeros((count, 256, 256), dtype=np.uint16)
    names = [name for name in DATASETS for _ in range(2)]
    for record, name in enumerate(names):
        for bit in range(len(DATASETS[name]) - record % 2):  # the second record lacks the last label
            masks[record, 60 + 8 * bit : 66 + 8 * bit, 100:150] |= np.uint16(1 << bit)
    images = np.random.default_rng(0).integers(0, 255, (count, 256, 256, 3)).astype(np.uint8)
    texts = np.array(names)
    return Pack(images, masks, texts, texts, texts, np.array(["train"] * count), np.full((count, 2), 256), texts)


def test_the_stem_starts_as_its_publisher_left_it() -> None:
    stem = EfficientNetStem().eval()
    pretrained.load_pretrained_stem(stem)
    package = pretrained.find_spec(pretrained._PACKAGE)
    assert package is not None and package.origin is not None
    state = torch.load(Path(package.origin).parent / pretrained._FILE, weights_only=True)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted = F.conv2d(images * pretrained._INPUT_SCALE, state["_conv_stem.weight"], stride=2, padding=1)
    norms = [state[f"_bn0.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    wanted = F.relu6(F.batch_norm(wanted, *norms, eps=pretrained._EPSILON))
    assert torch.allclose(stem.first(images), wanted, atol=1e-4)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(InferenceError, match="pip install"):
        pretrained.load_pretrained_stem(EfficientNetStem())


def test_label_prompts_are_the_same_at_every_call() -> None:
    torch.manual_seed(5)
    first = label_prompts(16)
    torch.manual_seed(6)
    assert torch.equal(first, label_prompts(16))
    assert first.shape == (len(LABELS), 16)


def test_a_batch_asks_for_what_is_there_and_what_is_not(pack: Pack) -> None:
    batch = sample_batch(pack, np.random.default_rng(1), 40)
    assert batch.images.shape == (40, 3, 256, 256)
    present = absent = 0
    for labels, masks in zip(batch.labels, batch.masks, strict=True):
        assert len(labels) == len(masks)
        assert set(masks.unique().tolist()) <= {0.0, 1.0}
        present += int((masks.sum((1, 2)) > 0).sum())
        absent += int((masks.sum((1, 2)) == 0).sum())
    assert present > 40 and absent > 10


def test_a_label_on_one_image_of_many_is_drawn_as_often_as_the_others(pack: Pack) -> None:
    masks = np.zeros((40, 256, 256), dtype=np.uint16)
    masks[:, :50, :50] = 1
    masks[7, 100:150, 100:150] |= 4
    names = np.array(["acdc"] * 40)
    images, extents = np.zeros((40, 256, 256, 3), np.uint8), np.full((40, 2), 256)
    rare = Pack(images, masks, names, names, names, np.array(["train"] * 40), extents, names)
    random = np.random.default_rng(2)
    drawn = [draw_record(rare, "acdc", random) for _ in range(400)]
    assert {label for _, label in drawn} == {0, 2, None}  # no image shows the label between
    assert 80 < sum(record == 7 for record, _ in drawn) < 170  # 0.3 of 400, where 10 would be drawn by chance
    lacking = sum(record != 7 for record, label in drawn if label == 2)
    assert 30 < lacking < 100  # 0.15 of 400 are drawn since they lack it; the first label is lacking nowhere


def test_what_is_held_out_is_of_whole_patients_and_never_drawn(pack: Pack) -> None:
    count = 240
    names, groups = np.array(["busi"] * count), np.array([f"patient {number // 2}" for number in range(count)])
    images, masks = np.zeros((count, 8, 8, 3), np.uint8), np.zeros((count, 8, 8), np.uint16)
    many = Pack(images, masks, names, names, names, np.array(["train"] * count), np.full((count, 2), 8), groups)
    kept = held_out(many, 0.1)
    assert kept.sum() == 24 and not set(groups[kept]) & set(groups[~kept])
    random = np.random.default_rng(0)
    assert not any(kept[draw_record(many, "busi", random, among=~kept)[0]] for _ in range(100))
    assert not held_out(pack, 0.1).any()  # a set of few patients gives none up


def _judged(label: int, validation: bool, quality: float, score: float, image: int = 0) -> Judged:
    """One whose masks have the same score at every candidate logit; absent where the score is below 0."""
    iou = max(0.0, score) / (2 - max(0.0, score))
    return Judged(image, label, validation, quality, quality, (500,) * 4, (score,) * 4, (iou,) * 4)


def test_thresholds_refuse_what_is_absent_and_keep_what_is_there() -> None:
    judged = [_judged(n % 3, n % 2 == 0, 0.6 + 0.01 * (n % 7), 0.8) for n in range(40)]
    judged += [_judged(n % 3, n % 2 == 0, 0.1 + 0.01 * (n % 7), -1.0) for n in range(40)]
    chosen = choose_thresholds(judged)
    assert 0.1 < chosen.seen <= 0.6
    assert chosen.mask_logit in (-1.0, -0.5, 0.0, 0.5)


def test_cross_validation_scores_what_the_thresholds_were_not_chosen_on() -> None:
    clear = [_judged(n % 3, n % 2 == 0, 0.9 if n % 4 else 0.1, 0.8 if n % 4 else -1.0, image=n) for n in range(120)]
    assert cross_validated(clear) == pytest.approx((0.8, 1.0, 1.0))
    random = np.random.default_rng(0)
    blind = [_judged(n % 3, n % 2 == 0, float(random.random()), 0.8 if n % 4 else -1.0, image=n) for n in range(120)]
    outcome = cross_validated(blind)
    assert outcome.specificity + outcome.recall < 1.25  # a score that knows nothing buys one with the other


def test_calibration_rises_and_knows_only_validation_images() -> None:
    random = np.random.default_rng(0)
    judged = [_judged(0, True, q, float(np.clip(q + random.normal(0, 0.2), 0, 1))) for q in random.random(200)]
    judged += [_judged(0, False, q, 1.0) for q in random.random(200)]  # training images, too good to be true
    pairs = calibrated(judged, Thresholds(mask_logit=0.0, seen=-9.0, fewest_pixels=1))
    raws, values = zip(*pairs, strict=True)
    assert list(raws) == sorted(raws) and list(values) == sorted(values)
    assert values[0] < 0.4 < values[-1]
    assert calibrated([], Thresholds()) == ()


def test_training_sees_what_the_image_processor_gives() -> None:
    config = MedSegRConfig(context_image_size=96)
    square = np.random.default_rng(0).integers(0, 255, (192, 192, 3)).astype(np.uint8)
    wanted = build_image_processor(config)([Image.fromarray(square)], return_tensors="pt")["pixel_values"]
    given = _pixels(square[None], config)
    assert given.shape == wanted.shape
    one_grey_level = 1 / 255 / 0.25  # PIL rounds after the columns and after the rows
    assert float((given - wanted).abs().max()) < 1.01 * one_grey_level


@pytest.mark.slow
def test_the_language_stage_learns_words_prompts_what_is_asked_and_what_is_where(
    make_qa: Callable[[], Path], small_config: MedSegRConfig
) -> None:
    qa = make_qa()
    tokenizer = build_tokenizer(train_tokenizer(dialogue_texts(qa), small_config.vocabulary_size))
    dialogues = Dialogues(qa, "train", tokenizer, small_config)
    torch.manual_seed(0)
    stage = LanguageStage(small_config, tokenizer)
    optimiser = torch.optim.AdamW(stage.parameters(), lr=5e-3)
    batches = dialogues.batches(np.random.default_rng(0), 4, 6)
    sums = []
    for _ in range(3):
        losses = torch.stack([stage(batch) for batch in batches]).mean(dim=0)
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
        sums.append(losses.detach())
    assert torch.isfinite(torch.stack(sums)).all()
    assert (sums[-1] < sums[0]).all()


def test_a_batch_says_where_each_label_is(make_qa: Callable[[], Path], small_config: MedSegRConfig) -> None:
    qa = make_qa()
    tokenizer = build_tokenizer(train_tokenizer(dialogue_texts(qa), small_config.vocabulary_size))
    batch = Dialogues(qa, "train", tokenizer, small_config).batches(np.random.default_rng(0), 4, 1)[0]
    assert batch.occupied.shape == (len(batch.images), small_config.visual_tokens, len(LABELS))
    assert len(batch.images) > 4  # some for the tower alone
    known = batch.occupied[:, 0, LABELS.index("liver")] >= 0
    shown = batch.occupied.amax(dim=1)[known]
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    liver = shown[:, LABELS.index("liver")] > 0
    for image, there in zip(torch.from_numpy(batch.images)[known], liver, strict=True):
        assert image.float().std() > 0 and there in (False, True)
    assert batch.asked.shape == (len(batch.asked_rows), len(LABELS))
    assert (batch.asked.sum(dim=1) >= 1).all()
    headers = batch.ids[batch.asked_rows, batch.asked_positions + 1]
    assert (batch.targets[batch.asked_rows, batch.asked_positions + 1] == headers).all()  # where the answer begins


def test_composing_without_a_stage_names_it(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="stage grounding"):
        compose_stages(lambda: pack, PRESETS["tiny"], TrainSettings(stage="compose", out=tmp_path))


@pytest.fixture
def on(checkpoint_folder: Path, tmp_path: Path) -> TrainSettings:
    """Settings that go on from a checkpoint of random weights."""
    start = {"start": str(checkpoint_folder), "accept_research_use": True}
    return TrainSettings(stage="language", out=tmp_path / "run", steps=2, batch_size=2, **start)


@pytest.mark.slow
def test_language_goes_on_from_a_checkpoint_once_its_new_heads_know_something(
    on: TrainSettings, make_qa: Callable[[], Path], small_config: MedSegRConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = load_checkpoint(Path(on.start), accept_research_use=True).model.language_model.state_dict()
    settings = on.model_copy(update={"qa": make_qa()})
    train_language(small_config, settings)
    state = torch.load(settings.out / "language.pt", weights_only=True)["stage"]
    assert all(torch.equal(value, state[f"language_model.{name}"]) for name, value in begun.items())
    monkeypatch.setattr(language, "_HEADS_ALONE", 2)
    train_language(small_config, settings.model_copy(update={"steps": 3}))
    later = torch.load(settings.out / "language.pt", weights_only=True)["stage"]
    moved = {name for name, value in begun.items() if not torch.equal(value, later[f"language_model.{name}"])}
    assert "model.language_model.embed_tokens.weight" in moved
    assert not torch.equal(state["asked.weight"], later["asked.weight"])


@pytest.mark.slow
def test_grounding_goes_on_from_a_checkpoint(on: TrainSettings, pack: Pack, small_config: MedSegRConfig) -> None:
    settings = on.model_copy(update={"stage": "grounding", "steps": 1, "learning_rate": 1e-9})
    train_vision(pack, small_config, settings)
    state = torch.load(settings.out / "grounding.pt", weights_only=True)["stage"]
    begun = load_checkpoint(Path(on.start), accept_research_use=True).model.grounding.state_dict()
    assert all(torch.allclose(state[name].float(), begun[name].float(), atol=1e-5) for name in state)


@pytest.mark.slow
def test_composing_takes_what_no_stage_left_from_the_start(
    on: TrainSettings, pack: Pack, make_qa: Callable[[], Path], small_config: MedSegRConfig
) -> None:
    train_language(small_config, on.model_copy(update={"qa": make_qa()}))
    settings = on.model_copy(update={"stage": "compose"})
    compose_stages(lambda: pack, small_config, settings)
    made = load_checkpoint(settings.out / "checkpoint", accept_research_use=True).model
    begun = load_checkpoint(Path(on.start), accept_research_use=True).model
    for name, value in begun.grounding.state_dict().items():
        assert torch.equal(value, made.grounding.state_dict()[name])
    assert made.tokenizer.pretrained.get_vocab() == begun.tokenizer.pretrained.get_vocab()


@pytest.mark.slow
def test_a_calibrated_checkpoint_is_not_composed_over(
    on: TrainSettings, pack: Pack, small_config: MedSegRConfig
) -> None:
    settings = on.model_copy(update={"stage": "compose"})
    compose_stages(lambda: pack, small_config, settings)
    compose_stages(lambda: pack, small_config, settings)
    set_thresholds(settings.out / "checkpoint", Thresholds(), (), by={"split": "val"})
    with pytest.raises(InferenceError, match="calibrated; move it away"):
        compose_stages(lambda: pack, small_config, settings)


def test_a_state_that_is_cut_off_is_named(
    on: TrainSettings, make_qa: Callable[[], Path], small_config: MedSegRConfig
) -> None:
    settings = on.model_copy(update={"qa": make_qa()})
    train_language(small_config, settings)
    state = settings.out / "language.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InferenceError, match=r"language\.pt cannot be read .*remove it"):
        train_language(small_config, settings)


def test_a_start_of_other_sizes_is_refused(on: TrainSettings, make_qa: Callable[[], Path]) -> None:
    with pytest.raises(InferenceError, match="other sizes than the preset tiny"):
        train_language(PRESETS["tiny"], on.model_copy(update={"qa": make_qa()}))


def test_packing_names_a_missing_manifest_and_another_set(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match=r"manifest\.jsonl does not exist"):
        pack_images(tmp_path / "nowhere", tmp_path / "pack")
    images = tmp_path / "images"
    (images / "hippocampus").mkdir(parents=True)
    np.savez(images / "hippocampus" / "hippocampus.npz")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(images / "a.png")
    row = {"id": "a", "dataset": "kvasir_seg", "modality": "ES", "split": "train", "image": "a.png", "mask": "a.png"}
    (images / "manifest.jsonl").write_text(json.dumps({**row, "labels": {"1": "polyp"}}) + "\n")
    assert len(pack_images(images, tmp_path / "pack").ids) == 1
    assert len(pack_images(images, tmp_path / "pack").ids) == 1  # read back
    (images / "manifest.jsonl").write_text(json.dumps({**row, "id": "b", "labels": {"1": "polyp"}}) + "\n")
    with pytest.raises(InferenceError, match="to pack again"):
        pack_images(images, tmp_path / "pack")


def test_mask_losses_are_bce_and_dice_of_what_is_there() -> None:
    masks = torch.zeros(2, 4, 4)
    masks[0, :2] = 1
    sure = torch.where(masks > 0, 20.0, -20.0)
    entropy, dice = mask_losses(sure, masks)
    assert float(entropy) < 1e-6 and float(dice) < 1e-6
    entropy, dice = mask_losses(-sure, masks)
    assert float(entropy) == pytest.approx(20.0) and float(dice) == pytest.approx(1 - 1 / 17, abs=1e-4)


def test_a_composed_grounding_may_lie_between_its_start_and_what_was_trained() -> None:
    learned, start = {"a": torch.tensor([1.0])}, {"a": torch.tensor([3.0]), "object_score": torch.tensor([7.0])}
    assert _between(learned, start, 0.25) == {"a": torch.tensor([1.5]), "object_score": torch.tensor([7.0])}
    assert _between(learned, start, 0.0)["a"] == 1.0
