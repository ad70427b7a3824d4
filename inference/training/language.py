"""Stages 2 and 3: global context understanding learns to answer, then its [SEG] states to prompt the grounding."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.context import Words, build_language_model, train_tokenizer
from inference.medseg_r.model import build_prompt_projector, context_images
from inference.training.augment import augment, standardise
from inference.training.labels import DATASETS, LABELS
from inference.training.packing import Pack
from inference.training.questions import MODALITIES, all_texts, answer_text, question_text

__all__ = ["Conversations", "align", "train_language"]

_log = structlog.get_logger()

_ABSENT = 0.3
_HARD = 0.7  # of the absent: an image of the same set that lacks the label


class Conversations:
    """Draws images with a question and its answer, balanced by label."""

    def __init__(self, pack: Pack, words: Words, config: MedSegRConfig, seed: int) -> None:
        self.pack, self.words, self.config = pack, words, config
        self.random = np.random.default_rng(seed)
        self.train = np.flatnonzero(pack.splits == "train")
        self.bits = np.array([int(np.bitwise_or.reduce(pack.masks[i], axis=None)) for i in self.train])
        self.sets = np.array([str(pack.datasets[i]) for i in self.train])

    def _draw(self) -> tuple[int, list[str]]:
        label = str(self.random.choice(LABELS))
        home = next(name for name, labels in DATASETS.items() if label in labels)
        has = (self.sets == home) & (self.bits >> DATASETS[home].index(label) & 1).astype(bool)
        if self.random.random() >= _ABSENT:
            chosen = has
        else:
            chosen = (self.sets == home) & ~has if self.random.random() < _HARD else self.sets != home
            if not chosen.any():
                chosen = self.sets != home
        if not chosen.any():
            chosen = has
        places = np.flatnonzero(chosen)
        if (self.sets[places] != home).all():  # another modality: every set is as likely as any other
            other = self.random.choice(np.unique(self.sets[places]))
            places = places[self.sets[places] == other]
        place = int(self.random.choice(places))
        labels = [label]
        if self.random.random() < 0.3 and len(DATASETS[self.sets[place]]) > 1:
            extra = [x for x in DATASETS[self.sets[place]] if x != label]
            labels += [str(x) for x in self.random.permutation(extra)[: int(self.random.integers(1, 3))]]
        return place, labels

    def example(self) -> tuple[Tensor, list[int], list[int], list[int]]:
        """Return a context image, question ids, answer ids and the label of each [SEG]."""
        place, labels = self._draw()
        record = int(self.train[place])
        dataset, modality = self.sets[place], str(self.pack.modalities[record])
        own = DATASETS[dataset]
        present = [x for x in labels if x in own and self.bits[place] >> own.index(x) & 1]
        absent = [x for x in labels if x not in present]
        square = np.asarray(self.pack.images[record]).reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
        image, _ = augment(square, np.zeros(square.shape[:2], np.uint16), dataset, self.random)
        question = self.words.question(question_text(labels, modality, self.random))
        answer = self.words.answer(answer_text(present, absent, modality))
        small = context_images(torch.from_numpy(standardise(image)).permute(2, 0, 1)[None], self.config)[0]
        return small, question, answer, [LABELS.index(x) for x in present]


@dataclass(frozen=True)
class Batch:
    """Padded on the right. `targets`: ids to predict, -100 elsewhere. `segs`: rows and positions before each [SEG]."""

    images: Tensor
    ids: Tensor
    attention: Tensor
    targets: Tensor
    segs: tuple[Tensor, Tensor]
    labels: Tensor


def collate(conversations: Conversations, size: int) -> Batch:
    """Draw `size` examples and put them into one batch."""
    words, config = conversations.words, conversations.config
    images: list[Tensor] = []
    rows: list[list[int]] = []
    starts: list[int] = []
    labels: list[int] = []
    while len(rows) < size:
        image, question, answer, present = conversations.example()
        prompt = words.prefix(config.visual_tokens) + question
        if len(prompt) + len(answer) > config.language_context:
            continue
        images.append(image)
        rows.append(prompt + answer)
        starts.append(len(prompt))
        labels += present
    longest = max(map(len, rows))
    ids = torch.full((size, longest), words.pad)
    targets = torch.full((size, longest), -100)
    attention = torch.zeros((size, longest), dtype=torch.long)
    for row, (tokens, start) in enumerate(zip(rows, starts, strict=True)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        targets[row, start : len(tokens)] = torch.tensor(tokens[start:])
        attention[row, : len(tokens)] = 1
    segs = torch.nonzero(targets == words.seg, as_tuple=True)
    return Batch(torch.stack(images), ids, attention, targets, (segs[0], segs[1] - 1), torch.tensor(labels))


def train_language(pack: Pack, config: MedSegRConfig, out: Path, *, minutes: float, batch_size: int = 12) -> None:
    """Train the language model on conversations for `minutes` in all, resuming from `out`/language.pt."""
    torch.manual_seed(1)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "tokenizer.json").exists():
        train_tokenizer(all_texts(), config.vocabulary_size).save(str(out / "tokenizer.json"))
    words = Words(Tokenizer.from_file(str(out / "tokenizer.json")))
    model = build_language_model(config, words)
    projector = build_prompt_projector(config)
    wanted = _label_embeddings(out)
    parameters = [*model.parameters(), *projector.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.02)
    spent, step, path = 0.0, 0, out / "language.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        projector.load_state_dict(state["projector"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    conversations = Conversations(pack, words, config, seed=step)
    started, saved, losses = time.monotonic() - spent, time.monotonic(), []
    while (spent := time.monotonic() - started) < minutes * 60:
        for group in optimiser.param_groups:
            turn = 0.5 * (1 + np.cos(np.pi * spent / (minutes * 60)))
            group["lr"] = float(1.5e-3 * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * turn))
        batch = collate(conversations, batch_size)
        states = model.model(
            input_ids=batch.ids, pixel_values=batch.images, attention_mask=batch.attention
        ).last_hidden_state
        logits = model.lm_head(states)
        text = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.targets[:, 1:].flatten(), ignore_index=-100)
        # Without this the state before [SEG] forgets what it has just named: predicting [SEG] does not need it.
        prompt = F.mse_loss(projector(states[batch.segs]), wanted[batch.labels]) if len(batch.labels) else text * 0
        loss = text + prompt
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        losses.append((float(text.detach()), float(prompt.detach())))
        if step % 25 == 0:
            text_mean, prompt_mean = np.mean(losses[-25:], axis=0).round(4).tolist()
            line = {"step": step, "minutes": round(spent / 60, 2), "text": text_mean, "prompt": prompt_mean}
            _log.info("language", **line)
            with (out / "language.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if time.monotonic() - saved > 90:
            _save(path, model, projector, optimiser, spent, step)
            wanted = _label_embeddings(out)
            saved = time.monotonic()
    _save(path, model, projector, optimiser, spent, step)


def _label_embeddings(out: Path) -> Tensor:
    """Return what stage 1 has learned for each label so far."""
    wanted: Tensor = torch.load(out / "vision.pt", weights_only=True)["average"]["label_embeddings.weight"]
    return wanted


def align(pack: Pack, config: MedSegRConfig, out: Path, *, minutes: float, batch_size: int = 12) -> None:
    """Teach the state before [SEG] to prompt as the learned embedding of the label just named does.

    Mostly on answers alone, which are short and need no image (what was named does not depend on it), with every sixth
    step a whole conversation so that nothing else is forgotten. Updates `out`/language.pt.
    """
    torch.manual_seed(2)
    words = Words(Tokenizer.from_file(str(out / "tokenizer.json")))
    model, projector, wanted = (
        build_language_model(config, words),
        build_prompt_projector(config),
        _label_embeddings(out),
    )
    state = torch.load(out / "language.pt", weights_only=True)
    model.load_state_dict(state["model"])
    projector.load_state_dict(state["projector"])
    parameters = [*model.parameters(), *projector.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.01)
    conversations = Conversations(pack, words, config, seed=11)
    started, step = time.monotonic(), 0
    while (spent := time.monotonic() - started) < minutes * 60:
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * min(1.0, (step + 1) / 20) * max(0.02, 1 - spent / (minutes * 60))
        if step % 6 == 5:
            batch = collate(conversations, batch_size)
            states = model.model(
                input_ids=batch.ids, pixel_values=batch.images, attention_mask=batch.attention
            ).last_hidden_state
            text = F.cross_entropy(
                model.lm_head(states)[:, :-1].flatten(0, 1), batch.targets[:, 1:].flatten(), ignore_index=-100
            )
            segs, labels = batch.segs, batch.labels
        else:
            ids, segs, labels = _answers_alone(conversations, batch_size)
            states = model.model(input_ids=ids, attention_mask=(ids != words.pad).long()).last_hidden_state
            text = states.new_zeros(())
        prompt = F.mse_loss(projector(states[segs]), wanted[labels]) if len(labels) else states.sum() * 0
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(text + prompt)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step % 24 in (4, 5):
            line = {"step": step, "minutes": round(spent / 60, 2), "text": float(text.detach())}
            _log.info("align", **line, prompt=float(prompt.detach()))
        step += 1
    _save(out / "language.pt", model, projector, optimiser, state["spent"], state["step"])


def _answers_alone(conversations: Conversations, size: int) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Return padded ids of `size` answers, the positions before their [SEG] tokens, and the label of each."""
    words, random = conversations.words, conversations.random
    rows, labels = [], []
    for _ in range(size):
        own = DATASETS[str(random.choice(list(DATASETS)))] if random.random() < 0.3 else LABELS
        named = [str(x) for x in random.permutation(own)[: int(random.integers(1, 3))]]
        modality = str(random.choice(list(MODALITIES)))
        rows.append([words.assistant, *words.answer(answer_text(named, [], modality))])
        labels += [LABELS.index(x) for x in named]
    ids = torch.full((size, max(map(len, rows))), words.pad)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    segs = torch.nonzero(ids == words.seg, as_tuple=True)
    return ids, (segs[0], segs[1] - 1), torch.tensor(labels)


def _save(
    path: Path, model: nn.Module, projector: nn.Module, optimiser: torch.optim.Optimizer, spent: float, step: int
) -> None:
    state = {"model": model.state_dict(), "projector": projector.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"spent": spent, "step": step}, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
