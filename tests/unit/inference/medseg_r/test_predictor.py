"""Stacks in, answers out, on a model with random weights that is made to say what the test needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.errors import AnswerMalformed, InputRefused
from inference.interface import Question, SliceStack
from inference.medseg_r import predictor as module
from inference.medseg_r.checkpoint import Thresholds, load_checkpoint
from inference.medseg_r.context import Spoken, Words, prefix_cache, speak
from inference.medseg_r.model import Conversation, MedSegR
from inference.medseg_r.predictor import MedSegRPredictor

LIVER = "The CT shows <p> liver </p> [SEG]."
BOTH = "The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG]."


@pytest.fixture
def predictor(checkpoint_folder: Path) -> MedSegRPredictor:
    return MedSegRPredictor(checkpoint_folder, accept_research_use=True)


def _let_it_say(monkeypatch: pytest.MonkeyPatch, predictor: MedSegRPredictor, *texts: str) -> None:
    """Replace generation: slice after slice says the next of `texts`, around and around."""
    words: Words = predictor._model.words
    width = predictor._model.config.language_width
    said = 0

    def scripted(_model: object, _words: Words, _cache: object, _question: str, images: int) -> list[Spoken]:
        nonlocal said
        spoken = []
        for _ in range(images):
            text = texts[said % len(texts)]
            said += 1
            states = torch.linspace(-1, 1, width).repeat(text.count("[SEG]"), 1)
            spoken.append(Spoken(tuple(words.tokenizer.encode(text).ids), states))
        return spoken

    monkeypatch.setattr(module, "speak", scripted)


def _draw_everything(predictor: MedSegRPredictor) -> MedSegRPredictor:
    checkpoint = dataclasses.replace(
        predictor._checkpoint, thresholds=Thresholds(mask_logit=-50.0, quality=-100.0, fewest_pixels=1)
    )
    return MedSegRPredictor.of(checkpoint)


def test_a_mask_for_each_named_thing_on_the_stacks_grid(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, BOTH)
    done: list[tuple[int, int]] = []
    (answer,) = predictor.answer(stack, [Question("where?")], progress=lambda *count: done.append(count))
    assert [target.phrase for target in answer.targets] == ["liver", "spleen"]
    for target in answer.targets:
        assert target.mask.shape == (3, 40, 30)
        assert target.mask.dtype == np.bool_
        assert 0.0 <= target.confidence <= 1.0
    assert answer.text == "The CT shows liver and spleen."
    assert answer.asked_slices == (0, 1, 2)
    assert done == [(3, 3)]


def test_what_is_named_but_not_drawn_is_not_seen(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = dataclasses.replace(predictor._checkpoint, thresholds=Thresholds(quality=1000.0))
    predictor = MedSegRPredictor.of(checkpoint)
    _let_it_say(monkeypatch, predictor, LIVER)
    (answer,) = predictor.answer(stack, [Question("where?")])
    assert answer.targets == ()
    assert answer.text == "No liver is seen."


def test_one_slice_in_twenty_does_not_name_a_target(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    values = np.random.default_rng(0).normal(size=(20, 16, 16)).astype(np.float32)
    _let_it_say(monkeypatch, predictor, LIVER, *["No liver is seen."] * 15)
    (answer,) = predictor.answer(SliceStack(values, "MR", None, (0, 1)), [Question("where?")])
    assert answer.targets == ()
    _let_it_say(monkeypatch, predictor, LIVER, LIVER, *["No liver is seen."] * 14)
    (answer,) = predictor.answer(SliceStack(values, "MR", None, (0, 1)), [Question("where?")])
    assert [target.phrase for target in answer.targets] == ["liver"]


def test_seg_without_a_phrase_is_an_error(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_it_say(monkeypatch, predictor, "The CT shows liver [SEG].")
    with pytest.raises(AnswerMalformed):
        predictor.answer(stack, [Question("where?")])


def test_the_same_input_gives_the_same_answer(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, BOTH)
    first, second = (predictor.answer(stack, [Question("a"), Question("b")]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.text == other.text
        for left, right in zip(one.targets, other.targets, strict=True):
            assert left.confidence == right.confidence
            assert (left.mask == right.mask).all()


def test_the_image_is_encoded_once_for_all_questions(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, LIVER)
    encoded: list[int] = []
    encode = predictor._model.grounding.encode
    monkeypatch.setattr(
        predictor._model.grounding, "encode", lambda images: encoded.append(len(images)) or encode(images)
    )
    predictor.answer(stack, [Question(str(number)) for number in range(5)])
    assert encoded == [3]


@pytest.mark.parametrize("question", ["", "  \n", "where is the liver? " * 60])
def test_questions_that_cannot_be_asked_are_refused(
    predictor: MedSegRPredictor, stack: SliceStack, question: str
) -> None:
    with pytest.raises(InputRefused, match=r"empty|fewer words"):
        predictor.answer(stack, [Question("where?"), Question(question)])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((1, 1, 1), np.float32), "1 x 1"),
        (np.zeros((0, 20, 20), np.float32), "0 slices"),
        (np.full((2, 20, 20), np.nan, np.float32), "not finite"),
        (np.zeros((2, 20, 20, 2), np.uint8), "axes"),
        (np.zeros((2, 20, 20, 5), np.uint8), "axes"),
        (np.zeros((20, 20), np.float32), "axes"),
        (np.zeros((2, 20, 20, 3), np.float32), "uint8"),
    ],
)
def test_stacks_that_are_no_pictures_are_refused(predictor: MedSegRPredictor, values: np.ndarray, reason: str) -> None:
    with pytest.raises(InputRefused, match=reason):
        predictor.answer(SliceStack(values, "CT", None, (0, 1)), [Question("where?")])


def test_nothing_is_seen_on_a_blank_image(predictor: MedSegRPredictor) -> None:
    stack = SliceStack(np.full((2, 20, 20), 7, np.float32), "MR", None, (0, 100))
    (answer,) = predictor.answer(stack, [Question("where is the liver?")])
    assert answer.targets == ()


def test_typed_marks_and_other_scripts_are_only_text(predictor: MedSegRPredictor) -> None:
    words = predictor._model.words
    ids = words.question("[SEG] <image> где печень? 肝臓")
    assert words.seg not in ids
    assert words.image not in ids
    assert "где печень? 肝臓" in words.text(ids)


def test_the_cache_gives_what_the_whole_sequence_gives(checkpoint_folder: Path) -> None:
    model = load_checkpoint(checkpoint_folder, accept_research_use=True).model
    language, words = model.language_model, model.words
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cache = prefix_cache(language, words, images)
        before = cache.get_seq_length()
        spoken = speak(language, words, cache, "where is the liver?", 2, most_tokens=8)
        assert cache.get_seq_length() == before
        again = speak(language, words, cache, "where is the liver?", 2, most_tokens=8)
        assert [one.ids for one in spoken] == [one.ids for one in again]
        for row, one in enumerate(spoken):
            ids = torch.tensor([words.prefix(model.config.visual_tokens) + words.question("where is the liver?")])
            for token in one.ids:
                logits = language(input_ids=ids, pixel_values=images[row : row + 1]).logits[0, -1]
                assert int(logits.argmax()) == token
                ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_losses_fall_on_one_example_and_prompts_come_from_before_seg(model: MedSegR) -> None:
    words = model.words
    answer = words.answer(LIVER)
    ids = torch.tensor([words.prefix(model.config.visual_tokens) + words.question("where?") + answer])
    targets = torch.full_like(ids, -100)
    targets[0, -len(answer) :] = torch.tensor(answer)
    mask = torch.zeros(1, 128, 128)
    mask[0, 30:60, 40:90] = 1
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    batch = Conversation(images, ids, torch.ones_like(ids), targets, mask)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(6):
        losses = model(batch)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        totals.append(float(losses.total.detach()))
    assert totals[-1] < 0.95 * totals[0]
    with pytest.raises(ValueError, match=r"1 \[SEG\] tokens but 2 masks"):
        model(dataclasses.replace(batch, masks=mask.repeat(2, 1, 1)))
