"""Conversations written by any OpenAI-compatible endpoint, with a cache that lets a crashed build resume."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import structlog

from inference.medseg_qa.annotators.reply import Message, messages_for, parsed_reply, repair_message
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.errors import AnnotatorError, BuildError, BuildStopped
from inference.medseg_qa.records import Conversation

__all__ = ["EndpointAnnotator", "EndpointSettings"]

_log = structlog.get_logger()


@dataclass(frozen=True)
class EndpointSettings:
    """How an endpoint is asked. Prices are per million tokens; `send_images` sends pixels, not only facts."""

    model: str
    base_url: str | None = None
    api_key: str = "none"
    requests_per_minute: float = 600.0
    timeout_s: float = 60.0
    retries: int = 4
    repairs: int = 1
    give_up_after: int = 5
    price_in: float = 0.0
    price_out: float = 0.0
    send_images: bool = False


class EndpointAnnotator:
    """Asks an endpoint once per image; replies are cached by what was asked.

    Refused, slow or broken requests are tried again by the client library with growing pauses. A reply that breaks the
    rules is sent back once for repair, then the image is given up. After `give_up_after` images in a row without any
    reply the build stops with BuildError; started again, it resumes from the cache.
    """

    def __init__(self, settings: EndpointSettings, cache: Path, seed: int = 0) -> None:
        self._settings = settings
        self._cache = cache
        self._seed = seed
        self._counts: Counter[str] = Counter()
        self._silent = 0
        self._next_at = 0.0
        self._client = openai.OpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key,
            timeout=settings.timeout_s,
            max_retries=settings.retries,
        )
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BuildError(f"replies cannot be kept in {cache}: {error.strerror}; name another --cache") from error

    @property
    def name(self) -> str:
        return f"openai:{self._settings.model}"

    def summary(self) -> dict[str, float]:
        """Requests, cached replies, repairs, tokens and cost so far."""
        cost = (
            self._counts["tokens_in"] * self._settings.price_in + self._counts["tokens_out"] * self._settings.price_out
        )
        return {**{key: float(value) for key, value in sorted(self._counts.items())}, "cost": cost / 1e6}

    def annotate(self, facts: ImageFacts, image: Path) -> tuple[Conversation, ...]:
        """Conversations of one image; raises AnnotatorError, or BuildError when the endpoint is gone."""
        messages = self._with_image(messages_for(facts), image)
        for attempt in range(self._settings.repairs + 1):
            text = self._reply(messages)
            try:
                return parsed_reply(text, facts, self.name)
            except AnnotatorError as error:
                self._counts["unusable_replies"] += 1
                if attempt == self._settings.repairs:
                    raise
                messages = [*messages, {"role": "assistant", "content": text}, repair_message(str(error))]
        raise AnnotatorError("no attempt was made; repairs must not be negative")

    def _with_image(self, messages: list[Message], image: Path) -> list[Message]:
        if not self._settings.send_images:
            return messages
        url = "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()
        parts = [{"type": "text", "text": messages[-1]["content"]}, {"type": "image_url", "image_url": {"url": url}}]
        return [*messages[:-1], {"role": "user", "content": parts}]

    def _reply(self, messages: list[Message]) -> str:
        asked = json.dumps([self._settings.model, self._seed, messages], sort_keys=True)
        path = self._cache / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"
        if path.is_file():
            self._counts["cached"] += 1
            return str(json.loads(path.read_text(encoding="utf-8"))["text"])
        text = self._request(messages)
        # written beside and renamed: a crash leaves no half reply that a resumed build would trust
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps({"text": text}), encoding="utf-8")
        partial.replace(path)
        return text

    def _request(self, messages: list[Any]) -> str:
        self._wait_for_turn()
        self._counts["requests"] += 1
        try:
            completion = self._client.chat.completions.create(
                model=self._settings.model, messages=messages, temperature=0.7, seed=self._seed
            )
            text = completion.choices[0].message.content or ""
        except (openai.OpenAIError, IndexError, AttributeError, TypeError, ValueError) as error:
            self._counts["failed_requests"] += 1
            self._silent += 1
            _log.warning("endpoint_failed", error=type(error).__name__)
            if self._silent >= self._settings.give_up_after:
                raise BuildStopped(
                    f"the endpoint {self._settings.base_url or ''} failed {self._silent} times in a row ({error}); "
                    f"run again to resume from {self._cache}"
                ) from error
            raise AnnotatorError(f"endpoint: {error}") from error
        self._silent = 0
        if completion.usage is not None:
            self._counts["tokens_in"] += completion.usage.prompt_tokens
            self._counts["tokens_out"] += completion.usage.completion_tokens
        return text

    def _wait_for_turn(self) -> None:
        now = time.monotonic()
        if now < self._next_at:
            time.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + 60.0 / self._settings.requests_per_minute
