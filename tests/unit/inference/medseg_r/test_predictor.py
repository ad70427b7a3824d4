"""Stacks in, answers out, on a model with random weights that is made to say what the test needs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.card import ModelCard
from inference.errors import AnswerMalformed, InputRefused, OutOfMemory
from inference.interface import Exchange, ImageContext, Question, SliceStack
from inference.medseg_r.checkpoint import load_checkpoint
from inference.medseg_r.context import GeneratedAnswer, Prefix
from inference.medseg_r.description import Thresholds
from inference.medseg_r.grounding import MaskPrediction
from inference.medseg_r.model import Conversation, MedSegR
from inference.medseg_r.predictor import MedSegRPredictor
from inference.medseg_r.tiny import build_tokenizer, train_tokenizer
from inference.medseg_r.transform import standardise
from inference.medseg_r.volume import SlicePrediction, neighbour_weight, slices_with_content, smoothed, without_specks

LIVER = "The CT shows <p> liver </p> [SEG]."
BOTH = "The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG]."


@pytest.fixture
def predictor(checkpoint_folder: Path) -> MedSegRPredictor:
    return MedSegRPredictor(load_checkpoint(checkpoint_folder, accept_research_use=True))


def _let_it_say(monkeypatch: pytest.MonkeyPatch, predictor: MedSegRPredictor, *texts: str) -> None:
    """Replace generation: slice after slice says the next of `texts`, around and around."""
    tokenizer = predictor.checkpoint.model.tokenizer
    width = predictor.checkpoint.model.context.width
    script = itertools.cycle(texts)

    def answer() -> GeneratedAnswer:
        text = next(script)
        states = torch.linspace(-1, 1, width).repeat(text.count("[SEG]"), 1)
        return GeneratedAnswer(tuple(tokenizer.answer(text)[:-1]), states)

    def scripted(prefix: Prefix, questions: Sequence[Question], _most: int) -> list[list[GeneratedAnswer]]:
        return [[answer() for _ in range(prefix.images)] for _ in questions]

    monkeypatch.setattr(predictor.checkpoint.model.context, "generate", scripted)


def _draw_everything(predictor: MedSegRPredictor) -> MedSegRPredictor:
    checkpoint = dataclasses.replace(
        predictor.checkpoint, thresholds=Thresholds(mask_logit=-50.0, seen=-100.0, fewest_pixels=1)
    )
    return MedSegRPredictor(checkpoint)


def test_a_mask_for_each_named_thing_on_the_stacks_grid(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, BOTH)
    done: list[tuple[int, int]] = []
    (answer,) = predictor.free_answer(stack, [Question("where?")], progress=lambda *count: done.append(count))
    assert [target.phrase for target in answer.targets] == ["liver", "spleen"]
    for target in answer.targets:
        assert target.mask.shape == (3, 40, 30)
        assert target.mask.dtype == np.bool_
        assert 0.0 <= target.confidence <= 1.0
    assert answer.text == "The image shows liver and spleen."
    assert answer.asked_slices == (0, 1, 2)
    assert done[-1] == (3, 3)


def test_labels_are_located_together_without_a_word_generated(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    monkeypatch.setattr(predictor.checkpoint.model.context, "generate", None)
    encoded: list[int] = []
    encode = predictor.checkpoint.model.grounding.encode
    monkeypatch.setattr(
        predictor.checkpoint.model.grounding, "encode", lambda images: encoded.append(len(images)) or encode(images)
    )
    done: list[tuple[int, int]] = []
    labels = ["kidney left", "liver", "kidney left"]
    targets = predictor.locate(stack, labels, progress=lambda *count: done.append(count))
    assert [target and target.phrase for target in targets] == labels
    assert all(target.mask.shape == (3, 40, 30) and 0 <= target.confidence <= 1 for target in targets if target)
    assert encoded == [3]
    assert done[-1] == (3, 3)
    again = predictor.locate(stack, ["liver"])[0]
    assert again and targets[1] and (again.mask == targets[1].mask).mean() > 1 - 1e-4


def test_what_passes_no_threshold_is_not_located(predictor: MedSegRPredictor, stack: SliceStack) -> None:
    predictor = MedSegRPredictor(dataclasses.replace(predictor.checkpoint, thresholds=Thresholds(seen=1000.0)))
    assert predictor.locate(stack, ["liver", "spleen"]) == (None, None)
    assert predictor.locate(stack, []) == ()
    blank = SliceStack(np.full((2, 20, 20), 7, np.float32), "MR", None)
    assert predictor.locate(blank, ["liver"]) == (None,)


def test_a_told_answer_gives_the_state_that_generation_has_before_seg(
    predictor: MedSegRPredictor,
) -> None:
    model = predictor.checkpoint.model
    squares = list(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))
    told = [Exchange("where is the liver?", LIVER), Exchange("where?", BOTH)]
    states = model.context.told(model.context.encode(squares), told)
    assert states.shape == (2, 2, model.context.width)
    for exchange, of_exchange in zip(told, states, strict=True):
        whole = model.tokenizer.conversation([exchange], model.config.visual_tokens)
        ids = torch.tensor([whole.ids] * 2)
        with torch.inference_mode():
            every = model.context.hidden_states(ids, torch.ones_like(ids), model.context.pixels(squares))
        before_seg = every[:, whole.ids.index(model.tokenizer.seg) - 1]
        assert torch.allclose(of_exchange, before_seg, atol=1e-4)


@pytest.mark.parametrize("letters", [("R", "L", "A", "P"), ("", "", "", "")])
def test_what_was_learned_on_turned_pictures_is_sought_on_turned_slices(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch, letters: tuple[str, str, str, str]
) -> None:
    """The grounding marks what is bright near the top left of what it sees."""
    card = ModelCard(letters={"hippocampus": ("P", "A", "L", "R")})
    predictor = MedSegRPredictor(dataclasses.replace(predictor.checkpoint, card=card))
    grounding = predictor.checkpoint.model.grounding
    monkeypatch.setattr(grounding, "encode", lambda images: images)

    def marks(image: torch.Tensor, prompts: torch.Tensor) -> MaskPrediction:
        corner = image[None, 0].clone() if image.ndim == 3 else image[:, 0].clone()
        corner[:, 128:], corner[:, :, 128:] = -9.0, -9.0
        quality = torch.full((len(prompts),), float((corner > 0).any()))
        return MaskPrediction((corner - 0.5).repeat(len(prompts), 1, 1), quality)

    monkeypatch.setattr(grounding, "decode", marks)
    values = np.full((1, 64, 64), 25.0, np.float32)  # a body that fills the image, so nothing is cut off
    values[0, 0, 0] = 0.0
    values[0, 44:56, 48:60] = 100.0  # the patient's left and back: the learned pictures have both at the top left
    stack = SliceStack(values, "MR", None, ImageContext(letters=letters))
    (target,) = predictor.locate(stack, ["hippocampus"])
    assert target is not None
    rows, columns = np.nonzero(target.mask[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (44, 55, 48, 59)
    assert predictor.locate(stack, ["liver"]) == (None,)


def test_what_is_named_but_not_drawn_is_not_seen(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = dataclasses.replace(predictor.checkpoint, thresholds=Thresholds(seen=1000.0))
    predictor = MedSegRPredictor(checkpoint)
    _let_it_say(monkeypatch, predictor, LIVER)
    (answer,) = predictor.free_answer(stack, [Question("where?")])
    assert answer.targets == ()
    assert answer.text == "No liver is seen."


@pytest.mark.slow
def test_one_slice_in_twenty_does_not_name_a_target(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    values = np.random.default_rng(0).normal(size=(20, 16, 16)).astype(np.float32)
    _let_it_say(monkeypatch, predictor, LIVER, *["No liver is seen."] * 15)
    (answer,) = predictor.free_answer(SliceStack(values, "MR", None), [Question("where?")])
    assert answer.targets == ()
    _let_it_say(monkeypatch, predictor, LIVER, LIVER, *["No liver is seen."] * 14)
    (answer,) = predictor.free_answer(SliceStack(values, "MR", None), [Question("where?")])
    assert [target.phrase for target in answer.targets] == ["liver"]


def test_a_slice_that_breaks_the_grammar_is_unanswered(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, LIVER, "The CT shows liver [SEG].", LIVER)
    (answer,) = predictor.free_answer(stack, [Question("where?")])
    assert [target.phrase for target in answer.targets] == ["liver"]
    assert answer.asked_slices == (0, 2)


def test_no_slice_within_the_grammar_is_an_error(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_it_say(monkeypatch, predictor, "The CT shows liver [SEG].")
    with pytest.raises(AnswerMalformed):
        predictor.free_answer(stack, [Question("where?")])


def test_the_same_input_gives_the_same_answer(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, BOTH)
    first, second = (predictor.free_answer(stack, [Question("a"), Question("b")]) for _ in range(2))
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
    encode = predictor.checkpoint.model.grounding.encode
    monkeypatch.setattr(
        predictor.checkpoint.model.grounding, "encode", lambda images: encoded.append(len(images)) or encode(images)
    )
    predictor.free_answer(stack, [Question(str(number)) for number in range(5)])
    assert encoded == [3]


@pytest.mark.parametrize("question", ["", "  \n", "where is the liver? " * 60])
def test_questions_that_cannot_be_asked_are_refused(
    predictor: MedSegRPredictor, stack: SliceStack, question: str
) -> None:
    with pytest.raises(InputRefused, match=r"empty|fewer words"):
        predictor.free_answer(stack, [Question("where?"), Question(question)])


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
        predictor.free_answer(SliceStack(values, "CT", None), [Question("where?")])


def test_nothing_is_seen_on_a_blank_image(predictor: MedSegRPredictor) -> None:
    stack = SliceStack(np.full((2, 20, 20), 7, np.float32), "MR", None)
    (answer,) = predictor.free_answer(stack, [Question("where is the liver?")])
    assert answer.targets == ()


def test_an_image_of_one_colour_is_blank() -> None:
    values = np.full((2, 16, 16, 3), (200, 30, 30), np.uint8)
    values[1, 3, 3] = (0, 0, 0)
    assert slices_with_content(values) == [1]


@pytest.mark.slow
def test_a_stray_denial_of_a_slice_or_two_is_not_the_volumes(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    values = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    stack = SliceStack(values, "CT", None)
    _let_it_say(monkeypatch, predictor, *[LIVER] * 13, *["No spleen is seen."] * 3)
    (stray,) = predictor.free_answer(stack, [Question("where?")])
    assert stray.text == "The image shows liver."
    _let_it_say(monkeypatch, predictor, *[LIVER] * 12, *["No spleen is seen."] * 4)
    (told,) = predictor.free_answer(stack, [Question("where?")])
    assert told.text == "The image shows liver. No spleen is seen."


def test_a_target_that_fills_the_image_is_drawn_to_its_edges(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where mask logits are coarser than the square, as SAM's are, and the image is wider than high."""
    grounding = predictor.checkpoint.model.grounding
    size = predictor.checkpoint.model.config.grounding.image_size // 4

    def everywhere(_: object, prompts: torch.Tensor) -> MaskPrediction:
        return MaskPrediction(torch.full((len(prompts), size, size), 5.0), torch.ones(len(prompts)))

    monkeypatch.setattr(grounding, "decode", everywhere)
    _let_it_say(monkeypatch, predictor, LIVER)
    values = np.random.default_rng(0).normal(size=(1, 48, 64)).astype(np.float32)
    (answer,) = predictor.free_answer(SliceStack(values, "MR", None), [Question("where?")])
    assert answer.targets[0].mask.all()


def test_blank_slices_are_neither_asked_nor_drawn(predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, LIVER)
    values = np.random.default_rng(0).normal(size=(6, 16, 16)).astype(np.float32)
    values[[0, 3, 5]] = 4.0
    (answer,) = predictor.free_answer(SliceStack(values, "MR", None), [Question("where?")])
    assert answer.asked_slices == (1, 2, 4)
    assert np.unique(np.nonzero(answer.targets[0].mask)[0]).tolist() == [1, 2, 4]


def test_asked_slices_are_spread_over_a_long_volume(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_it_say(monkeypatch, predictor, "No liver is seen.")
    values = np.random.default_rng(0).normal(size=(60, 8, 8)).astype(np.float32)
    (answer,) = predictor.free_answer(SliceStack(values, "MR", None), [Question("where?")])
    assert len(answer.asked_slices) == predictor.checkpoint.model.config.asked_slices
    assert (answer.asked_slices[0], answer.asked_slices[-1]) == (0, 59)


def test_grey_and_colour_are_answered(predictor: MedSegRPredictor) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (1, 32, 48), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    for values in (grey.astype(np.float32), grey, colour):
        answers = predictor.free_answer(SliceStack(values, "US", None), [Question("Wo ist die Leber? Größe?")])
        assert len(answers) == 1


@pytest.mark.parametrize("question", ["где печень?", "肝臓はどこ", "CT: أين الكبد؟"])
def test_a_question_in_a_script_without_words_is_refused_and_the_next_is_answered(
    predictor: MedSegRPredictor, question: str
) -> None:
    stack = SliceStack(np.random.default_rng(0).normal(size=(1, 32, 48)).astype(np.float32), "CT", None)
    with pytest.raises(InputRefused, match=r"no words in the script .* ask it in English"):
        predictor.free_answer(stack, [Question(question)])
    assert len(predictor.free_answer(stack, [Question("where is the liver?")])) == 1


def test_a_script_that_the_tokenizer_knows_is_none_of_bytes() -> None:
    bare = train_tokenizer(["where is the liver?"], 300)
    bare.add_tokens(list("гдепчнь肝臓"))
    tokenizer = build_tokenizer(bare)
    assert tokenizer.unknown_letters("где печень? 肝臓") == []
    assert tokenizer.unknown_letters("печень أين") == ["أ", "ي", "ن"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 5])
def test_another_batch_size_gives_the_same_masks_but_for_pixels_at_the_threshold(
    predictor: MedSegRPredictor, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    values = np.random.default_rng(0).normal(size=(7, 48, 40)).astype(np.float32)
    stack = SliceStack(values, "MR", None)
    answers = []
    for own in (8, size, size):
        sized = MedSegRPredictor(
            dataclasses.replace(predictor.checkpoint, thresholds=Thresholds(mask_logit=-2.0, seen=-100.0)),
            batch_size=own,
        )
        _let_it_say(monkeypatch, sized, BOTH)
        answers.append(sized.free_answer(stack, [Question("a")])[0])
    whole, first, second = answers
    for one, other, again in zip(whole.targets, first.targets, second.targets, strict=True):
        assert one.mask.any()
        assert (one.mask != other.mask).mean() <= 1e-4  # the tolerance that predictor.py states
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
        assert (other.mask == again.mask).all()
        assert other.confidence == again.confidence


def test_confidence_is_read_off_the_calibration_table(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    flat = dataclasses.replace(predictor.checkpoint, calibration=((-10.0, 0.25), (10.0, 0.25)))
    predictor = MedSegRPredictor(flat)
    _let_it_say(monkeypatch, predictor, LIVER)
    (answer,) = predictor.free_answer(stack, [Question("where?")])
    assert answer.targets[0].confidence == pytest.approx(0.25)


def test_specks_are_dropped() -> None:
    mask = np.zeros((4, 30, 30), dtype=np.bool_)
    mask[1:3, 5:15, 5:15] = True  # 200 voxels
    mask[0, 25, 25] = True
    mask[3, 20:24, 20:27] = True  # 28 voxels, between a tenth and a fifth
    assert without_specks(mask.copy(), (10.0, 1.0, 1.0)).sum() == 228
    assert without_specks(mask, (1.0, 1.0, 1.0)).sum() == 200


def test_slices_take_in_less_of_a_neighbour_that_lies_farther_away() -> None:
    def predictions(*indices: int) -> list[SlicePrediction]:
        nothing = torch.zeros(1)
        return [
            SlicePrediction(index, torch.full((1, 2, 2), float(index**2)), nothing, nothing, (2, 2))
            for index in indices
        ]

    near, far = neighbour_weight((1.0, 0.5, 0.5)), neighbour_weight((10.0, 1.0, 1.0))
    assert pytest.approx(near, abs=0.01) == 0.25 and pytest.approx(far, abs=0.01) == 0.1
    assert neighbour_weight(None) == 0.0
    logits = [float(one.logits[0, 0, 0]) for one in smoothed(predictions(0, 1, 2, 5), 0.1)]
    assert logits == pytest.approx([0.1, 0.8 + 0.4, 3.2 + 0.1 + 0.4, 25.0])
    assert [one.index for one in smoothed(iter(predictions(3)), 0.25)] == [3]


def test_a_thin_structure_in_pieces_is_kept_whole_on_a_single_slice() -> None:
    mask = np.zeros((1, 256, 256), dtype=np.bool_)
    mask[0, 100:140, 100:140] = True
    mask[0, 10, 10:22] = True  # a piece of a vessel
    mask[0, 200, 200:205] = True  # a speck
    assert without_specks(mask).sum() == 1612
    small = np.zeros((1, 40, 40), dtype=np.bool_)
    small[0, 3, 3] = True
    assert without_specks(small).sum() == 1  # all there is


def test_less_memory_means_smaller_batches_and_none_at_all_a_named_failure(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _draw_everything(predictor)
    _let_it_say(monkeypatch, predictor, LIVER)
    expected = predictor.free_answer(stack, [Question("where?")])
    grounding, room, tried = predictor.checkpoint.model.grounding, 1, []
    encode = grounding.encode

    def cramped(images: torch.Tensor) -> object:
        tried.append(len(images))
        if len(images) > room:
            raise torch.OutOfMemoryError("tried to allocate a lot")
        return encode(images)

    monkeypatch.setattr(grounding, "encode", cramped)
    (answer,) = predictor.free_answer(stack, [Question("where?")])
    assert tried == [3, 3, 2, 1, 1, 1]
    assert (answer.targets[0].mask == expected[0].targets[0].mask).mean() > 1 - 1e-4
    room = 0
    with pytest.raises(OutOfMemory, match="not even one image"):
        predictor.free_answer(stack, [Question("where?")])
    room = 3
    assert predictor.free_answer(stack, [Question("where?")])  # the worker lives on, from the top of the ladder


def test_not_even_counting_visual_tokens_ends_the_worker(
    predictor: MedSegRPredictor, stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = predictor.checkpoint.model.context
    count, failures = context.visual_tokens, [MemoryError("no room")]

    def cramped(pixels: Any) -> int:
        if failures:
            raise failures.pop()
        return count(pixels)

    monkeypatch.setattr(context, "visual_tokens", cramped)
    _let_it_say(monkeypatch, predictor, LIVER)
    assert predictor.free_answer(stack, [Question("where?")])
    monkeypatch.setattr(context, "visual_tokens", lambda pixels: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(OutOfMemory, match="not even one image"):
        predictor.free_answer(stack, [Question("where?")])


@pytest.mark.slow
def test_losses_fall_on_one_example_and_prompts_come_from_before_seg(model: MedSegR) -> None:
    whole = model.tokenizer.conversation([Exchange("where?", LIVER)], model.config.visual_tokens)
    ids, targets = torch.tensor([whole.ids]), torch.tensor([whole.targets])
    mask = torch.zeros(1, 256, 256)
    mask[0, 60:120, 80:180] = 1
    square = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image = torch.from_numpy(standardise(square)).permute(2, 0, 1)[None]
    batch = Conversation(model.context.pixels([square]), ids, torch.ones_like(ids), targets, image, mask)
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
