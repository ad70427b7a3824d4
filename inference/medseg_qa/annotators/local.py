"""Conversations written by a language model from a local folder, through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference.medseg_qa.annotators.reply import messages_for, parsed_reply, repair_message
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.errors import AnnotatorError, BuildError
from inference.medseg_qa.records import Conversation

__all__ = ["LocalAnnotator"]


class LocalAnnotator:
    """Greedy replies of a causal language model; the same weights give the same replies.

    `directory` holds model and tokenizer in the layout of transformers; nothing is fetched. Raises BuildError if it
    cannot be loaded.
    """

    def __init__(self, directory: Path, *, longest_reply: int = 2048, repairs: int = 1) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            self._model: Any = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError) as error:
            raise BuildError(f"no model can be loaded from {directory}: {error}") from error
        self._torch = torch
        self._model.eval()  # type: ignore[no-untyped-call]
        self._directory = directory
        self._longest_reply = longest_reply
        self._repairs = repairs
        self._replies = 0

    @property
    def name(self) -> str:
        return f"transformers:{self._directory.name}"

    def summary(self) -> dict[str, float]:
        """Replies so far."""
        return {"replies": float(self._replies)}

    def annotate(self, facts: ImageFacts, image: Path) -> tuple[Conversation, ...]:
        """Conversations of one image from its measured facts; raises AnnotatorError."""
        messages = messages_for(facts)
        for _ in range(self._repairs):
            text = self._reply(messages)
            try:
                return parsed_reply(text, facts, self.name)
            except AnnotatorError as error:
                messages = [*messages, {"role": "assistant", "content": text}, repair_message(str(error))]
        return parsed_reply(self._reply(messages), facts, self.name)

    def _reply(self, messages: list[dict[str, Any]]) -> str:
        self._replies += 1
        if self._tokenizer.chat_template:
            prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "\n\n".join(str(message["content"]) for message in messages) + "\n\n"
        encoded = self._tokenizer(prompt, return_tensors="pt")
        try:
            with self._torch.inference_mode():
                out = self._model.generate(**encoded, max_new_tokens=self._longest_reply, do_sample=False)
        except (RuntimeError, IndexError, ValueError) as error:
            raise AnnotatorError(f"{self._directory.name} cannot answer this prompt: {error}") from error
        return str(self._tokenizer.decode(out[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))
