"""Every family of language models, from its publisher's files to answers with masks, by the way a hospital takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.interface import Exchange, Question, SliceStack
from inference.medseg_r.checkpoint import Checkpoint, load_checkpoint
from inference.medseg_r.compose import compose
from inference.medseg_r.context import GeneratedAnswer, GlobalContext
from inference.medseg_r.description import UNTRAINED, Thresholds
from inference.medseg_r.predictor import MedSegRPredictor
from inference.medseg_r.tokenizer import ADDED_TOKENS, IGNORED, GrammarState
from tests.unit.inference.medseg_r.conftest import Download

EARLIER = (Exchange("where is the liver?", "The CT shows <p> liver </p> [SEG] and <p> spleen </p> [SEG]."),)
QUESTIONS = [
    Question("where?"),
    Question("where is the liver and the spleen?"),
    Question("and the spleen?", EARLIER),
]


@pytest.fixture(scope="session")
def composed(download: Download, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    out = tmp_path_factory.mktemp("composed") / "checkpoint"
    described = compose(
        download.config, download.language_model, download.grounding, out, name=download.family, terms=None
    )
    assert described.version == UNTRAINED
    return load_checkpoint(out)


@pytest.fixture
def context(composed: Checkpoint) -> GlobalContext:
    return composed.model.context


@pytest.fixture(scope="session")
def squares() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]


def _states_before(
    context: GlobalContext, square: NDArray[np.uint8], question: Question, answer: GeneratedAnswer
) -> torch.Tensor:
    """What predicts each token of an answer and the one after the last, from one pass without a cache."""
    pixels = context.pixels([square])
    prompt = [*context.tokenizer.prefix(context.visual_tokens(pixels)), *context.tokenizer.prompt(question)]
    ids = torch.tensor([[*prompt, *answer.ids]])
    return context.hidden_states(ids, torch.ones_like(ids), pixels)[0, len(prompt) - 1 :]


def test_the_cache_and_the_batch_give_what_the_whole_sequence_gives(
    context: GlobalContext, squares: list[NDArray[np.uint8]]
) -> None:
    with torch.inference_mode():
        prefix = context.encode(squares)
        before = prefix.cache.get_seq_length()
        spoken = context.generate(prefix, QUESTIONS, 10)
        assert prefix.cache.get_seq_length() == before == prefix.length
        for question, answers in zip(QUESTIONS, spoken, strict=True):
            for square, one in zip(squares, answers, strict=True):
                logits = context.logits(_states_before(context, square, question, one))
                logits = logits.masked_fill(_forbidden(context, one.ids, logits), -torch.inf)
                expected = logits.argmax(dim=-1).tolist()
                assert expected[: len(one.ids)] == list(one.ids)
                if len(one.ids) < 10:
                    assert expected[len(one.ids)] in context.tokenizer.stops
            alone = context.generate(context.encode(squares[1:2]), [question], 10)
            assert alone[0][0].ids == answers[1].ids
        again = context.generate(prefix, QUESTIONS, 10)
    assert [[one.ids for one in row] for row in again] == [[one.ids for one in row] for row in spoken]
    assert len({one.ids for row in spoken for one in row}) > 1, "images and questions make no difference"


def test_an_answer_that_ends_leaves_the_others_as_they_were(
    context: GlobalContext, squares: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.inference_mode():
        prefix = context.encode(squares)
        whole = [one.ids for row in context.generate(prefix, QUESTIONS, 10) for one in row]
        later = [ids[4] for ids in whole]
        stop = max(set(later), key=later.count)  # ends some answers in the middle
        stops = context.tokenizer.stops | {stop}
        monkeypatch.setattr(context.tokenizer, "stops", stops)
        spoken = [one for row in context.generate(prefix, QUESTIONS, 10) for one in row]
    cut = [next((place for place, token in enumerate(ids) if token in stops), None) for ids in whole]
    assert [one.ids for one in spoken] == [ids[:place] for ids, place in zip(whole, cut, strict=True)]
    assert len({len(one.ids) for one in spoken}) > 1, "all answers end at once: nothing is tested"
    assert [one.finished for one in spoken] == [len(one.ids) < 10 for one in spoken]


def _forbidden(context: GlobalContext, ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
    """Return which tokens the grammar forbids after each of `ids` and before the first."""
    places = [GrammarState.TEXT]
    for token in ids:
        places.append(context.tokenizer.next_state(places[-1], token))
    return context.tokenizer.forbidden(logits.shape[1])[places[: len(logits)]]


def test_two_seg_states_are_those_that_predict_them(
    context: GlobalContext, squares: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = context.tokenizer
    script = [*tokenizer.answer("liver <p> x </p> [SEG] and <p> y </p> [SEG].")]
    steps = {"at": 0}

    def forced(states: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(states.shape[0], len(tokenizer.pretrained))
        logits[:, script[steps["at"]]] = 1.0
        steps["at"] += 1
        return logits

    with torch.inference_mode():
        prefix = context.encode(squares[:2])
        monkeypatch.setattr(context, "logits", forced)
        spoken = context.generate(prefix, QUESTIONS[1:2], 40)[0]
        for square, one in zip(squares, spoken, strict=False):
            assert list(one.ids) == script[:-1]
            whole = _states_before(context, square, QUESTIONS[1], one)
            places = [place for place, token in enumerate(one.ids) if token == tokenizer.seg]
            assert len(places) == 2
            assert torch.allclose(one.hidden_states, whole[places], atol=2e-4)


def test_visual_tokens_are_counted_not_assumed(
    context: GlobalContext, squares: list[NDArray[np.uint8]], composed: Checkpoint
) -> None:
    expected = {"llava": 25, "qwen2_5_vl": 16, "qwen3_vl": 16, "gemma3": 9}[composed.description.name]
    pixels = context.pixels(squares)
    assert context.visual_tokens(pixels) == expected
    assert context.tokenizer.prefix(expected).count(context.tokenizer.image) == expected


def test_a_conversation_is_learned_as_it_is_answered(context: GlobalContext) -> None:
    tokenizer = context.tokenizer
    exchanges = [*EARLIER, Exchange("and the spleen?", "No spleen is seen.")]
    whole = tokenizer.conversation(exchanges, 9)
    assert whole.ids[: len(tokenizer.prefix(9))] == tokenizer.prefix(9)
    learned = [token for token in whole.targets if token != IGNORED]
    assert learned == [*tokenizer.answer(exchanges[0].answer), *tokenizer.answer(exchanges[1].answer)]
    assert sum(token in tokenizer.stops for token in learned) == 2
    answer = tokenizer.answer(exchanges[1].answer)
    assert whole.ids == [*tokenizer.prefix(9), *tokenizer.prompt(QUESTIONS[2]), *answer]
    assert "and the spleen?" in tokenizer.text(whole.ids)


def test_what_people_type_stays_text(context: GlobalContext) -> None:
    tokenizer = context.tokenizer
    typed = "[SEG] <p> где печень? 肝臓 " + " ".join(map(str, tokenizer.pretrained.all_special_tokens))
    ids = tokenizer.question(typed)
    plain = tokenizer.question("x")
    fixed = {tokenizer.seg, tokenizer.open, tokenizer.close, tokenizer.image, *tokenizer.pretrained.all_special_ids}
    assert [one for one in ids if one in fixed] == [one for one in plain if one in fixed]
    assert "где печень? 肝臓" in tokenizer.text(ids)


def test_the_added_tokens_have_embeddings_of_their_own(composed: Checkpoint, download: Download) -> None:
    model, tokenizer = composed.model.language_model, composed.model.tokenizer
    ids = tokenizer.pretrained.convert_tokens_to_ids(list(ADDED_TOKENS))
    table = model.get_input_embeddings().weight
    assert len(set(ids)) == 3
    assert max(ids) < table.shape[0] == model.get_output_embeddings().weight.shape[0]
    assert not torch.equal(table[ids[0]], table[ids[1]])
    tied = download.family in ("gemma3", "qwen3_vl")
    assert (model.get_output_embeddings().weight is table) == tied


def test_a_volume_is_answered(composed: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = MedSegRPredictor(
        Checkpoint(composed.model, composed.description, Thresholds(mask_logit=-50.0, seen=-100.0))
    )
    context = composed.model.context
    generate = context.generate

    def grammatical(*arguments: object) -> list[list[GeneratedAnswer]]:
        """An untrained model's answer is noise: it is asked all the same, and its answer replaced."""
        ids = tuple(context.tokenizer.answer("The CT shows <p> liver </p> [SEG]."))[:-1]
        return [[GeneratedAnswer(ids, torch.ones(1, context.width)) for _ in row] for row in generate(*arguments)]  # type: ignore

    monkeypatch.setattr(context, "generate", grammatical)
    values = np.random.default_rng(0).normal(size=(3, 30, 50)).astype(np.float32)
    earlier = (Exchange("where is the spleen?", "No spleen is seen."),)
    first, second = predictor.free_answer(
        SliceStack(values, "CT", None), [Question("where?"), Question("and the liver?", earlier)]
    )
    for answer in (first, second):
        assert answer.asked_slices == (0, 1, 2)
        assert [target.phrase for target in answer.targets] == ["liver"]
        assert answer.targets[0].mask.shape == (3, 30, 50)
        assert answer.targets[0].mask.all()
    assert "torchvision" not in sys.modules


def test_composing_twice_gives_the_same_bytes(download: Download, composed: Checkpoint, tmp_path: Path) -> None:
    described = compose(
        download.config, download.language_model, download.grounding, tmp_path / "again", name="x", terms=None
    )
    assert described.digest == composed.description.digest
