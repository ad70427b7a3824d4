"""A model on another machine, or in an environment of its own: the client of `medseg-r serve`.

The protocol stands in docs/researcher.md, its bytes in `wire/`. What comes back is taken only where it is what was
asked for: as many answers as questions, masks on the stack's grid, the weights that were described.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

from inference.card import ModelCard
from inference.errors import (
    CheckpointError,
    InferenceError,
    InputRefused,
    OutOfMemory,
    QuestionRefused,
    RemoteFailed,
    RemoteRefused,
)
from inference.interface import (
    Alike,
    Answer,
    PredictorDescription,
    Progress,
    Question,
    SeenTarget,
    SliceStack,
)
from inference.remote.access import TOKEN_VARIABLE, RemoteAccess, checked_address, is_loopback, read_token, tls_context
from inference.wire.frame import CONTENT_TYPE, BadMessage, Packed, pack, unpack
from inference.wire.messages import (
    Description,
    answers_from,
    description_from,
    questions_message,
    stack_message,
    target_from,
)

__all__ = ["RemoteModel", "RemotePredictor", "open_remote"]

_CONNECT_S, _DESCRIBE_S = 5.0, 10.0
_LONGEST_REASON = 500


def open_remote(address: str, access: RemoteAccess | None = None) -> RemoteModel | RemotePredictor:
    """Return what answers at an address: a model where it has a card, else a predictor with limits of its own.

    Raises `CheckpointError` for an address or a token that cannot be used, `RemoteFailed` where nothing answers,
    `RemoteRefused` for what is no predictor.
    """
    line = _Line(address, access or RemoteAccess())
    return RemotePredictor(line) if line.described().card is None else RemoteModel(line)


class _Line:
    """Requests to one address, each with a time and a size that it may not pass; keeps what the other side is."""

    def __init__(self, address: str, access: RemoteAccess) -> None:
        self.address, self._access = checked_address(address), access
        self._token = read_token(access.token_file)
        parts = urlsplit(self.address)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):  # images of patients, and the token
            raise CheckpointError(f"images and tokens are sent over TLS only: write https:// instead of {self.address}")
        self._tls = tls_context(access.ca_file) if parts.scheme == "https" else None
        self._described: Description | None = None

    def described(self) -> Description:
        """What the other side is; asked for once, and again after it had changed."""
        if self._described is None:
            with self._failing("describe itself", _DESCRIBE_S):
                status, body = self._exchange("GET", "/description", None, _DESCRIBE_S, 64 * 1024**2)
                if status != 200:
                    self._raise_status(status, body, "describe itself")
                message, _ = unpack(body)
                self._described = description_from(message)
        return self._described

    def ask(self, path: str, message: Mapping[str, Any], stack: SliceStack) -> tuple[dict[str, Any], list[Any]]:
        """Send a message with a stack; return what came, of the weights that were described. Raises as the top says."""
        described = self.described()
        whole = {"digest": described.predictor.digest, "stack": stack_message(stack, 0), **message}
        try:
            body = pack(whole, [stack.values])
        except ValueError as error:
            raise InputRefused(f"the stack cannot be sent: {error}") from error
        if body.size > described.most_bytes:
            raise InputRefused(
                f"a stack of {body.size / 1e6:.0f} MB is more than {self.address} takes "
                f"({described.most_bytes / 1e6:.0f} MB); start it with a larger --most-mb"
            )
        with self._failing("answer", self._access.timeout_s):
            status, answer = self._exchange("POST", path, body, self._access.timeout_s, self._access.most_bytes)
            if status != 200:
                self._raise_status(status, answer, "answer")
            reply, arrays = unpack(answer)
            if reply.get("digest") != described.predictor.digest:
                self._changed()
            return reply, arrays

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """What a message must not be becomes `RemoteRefused`."""
        try:
            yield
        except BadMessage as error:
            unusable = RemoteRefused(f"{self.address} answered what cannot be used: {error}")
            raise unusable.with_log(f"{self.address} answered what cannot be used") from error

    @contextmanager
    def _failing(self, work: str, within_s: float) -> Iterator[None]:
        import httpx2

        try:
            with self.refusing():
                yield
        except httpx2.ConnectError as error:
            raise RemoteFailed(
                f"{self.address} cannot be reached: {_why(error)}; see that medseg-r serve runs there"
            ) from error
        except httpx2.TimeoutException as error:
            raise RemoteFailed(f"{self.address} did not {work} within {within_s:g} s") from error
        except httpx2.HTTPError as error:
            raise RemoteFailed(
                f"{self.address} broke off before it did {work} ({type(error).__name__}); it may have been stopped"
            ) from error

    def _exchange(
        self, method: str, path: str, body: Packed | None, within_s: float, most_bytes: int
    ) -> tuple[int, bytearray]:
        """One request: status and body. The time holds for the whole, however slowly bytes come."""
        import httpx2

        from inference.remote.deadline import transport_until

        ends = time.monotonic() + within_s
        headers = {"accept-encoding": "identity", "accept": CONTENT_TYPE}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers |= {"content-type": CONTENT_TYPE, "content-length": str(body.size)}
        limits = httpx2.Timeout(within_s, connect=min(_CONNECT_S, within_s))
        with (
            httpx2.Client(transport=transport_until(ends, self._tls), timeout=limits, trust_env=False) as client,
            client.stream(
                method, self.address + path, headers=headers, content=None if body is None else _until(body, ends)
            ) as response,
        ):
            if response.headers.get("content-encoding", "identity") != "identity":
                raise BadMessage("its body is compressed")
            if int(response.headers.get("content-length") or 0) > most_bytes:
                raise BadMessage(f"its body is declared with more than {most_bytes} bytes")
            received = bytearray()
            for chunk in response.iter_raw():
                received += chunk
                if len(received) > most_bytes:
                    raise BadMessage(f"its body is longer than {most_bytes} bytes")
                if time.monotonic() > ends:
                    raise httpx2.ReadTimeout("too slow")
            return response.status_code, received

    def _raise_status(self, status: int, body: bytearray, work: str) -> NoReturn:
        """Raise what a status other than 200 means."""
        try:
            message, _ = unpack(body)
        except BadMessage:
            message = {}
        said = str(message.get("error") or f"HTTP {status}")[:_LONGEST_REASON]
        why = "".join(letter if letter.isprintable() else " " for letter in said)
        if status in (401, 403):
            raise RemoteFailed(f"{self.address} does not take our token; set [model] token_file, or {TOKEN_VARIABLE}")
        if status == 409:
            self._changed()
        if status in (408, 429, 502, 503, 504):
            busy = RemoteFailed(f"{self.address} does not {work} now: {why}")
            raise busy.with_log(f"{self.address} does not {work} now: HTTP {status}")
        refused: type[InferenceError] = _REFUSALS.get(str(message.get("kind")), RemoteRefused)
        raise refused(f"{self.address}: {why}").with_log(f"{self.address} did not {work}: HTTP {status}")

    def _changed(self) -> NoReturn:
        held, self._described = self._described, None
        digest = held.predictor.digest[:12] if held else "others"
        raise RemoteFailed(f"{self.address} no longer has the weights {digest}: it was started anew with others")


_REFUSALS: dict[str, type[InferenceError]] = {
    "InputRefused": InputRefused,
    "QuestionRefused": QuestionRefused,
    "OutOfMemory": OutOfMemory,
}


class RemotePredictor:
    """Answers questions on another machine, within limits of its own. Raises `RemoteFailed`, `RemoteRefused` and what
    the other side raises of `InputRefused`, `QuestionRefused` and `OutOfMemory`.
    """

    def __init__(self, line: _Line) -> None:
        self._line = line

    @property
    def description(self) -> PredictorDescription:
        """Which model answers there, as it said when it was first asked, or after it had changed."""
        return self._line.described().predictor

    def answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Have each question answered there; masks are bool `slices rows columns` on the stack's grid."""
        reply, arrays = self._line.ask("/answer", {"questions": questions_message(questions)}, stack)
        with self._line.refusing():
            answers = answers_from(reply.get("answers"), arrays, stack, questions)
        _done(progress, stack)
        return answers


class RemoteModel:
    """A `Model` on another machine; what it draws passes our gate by its card. Raises as `RemotePredictor` does."""

    def __init__(self, line: _Line) -> None:
        self._line, self._predictor = line, RemotePredictor(line)

    @property
    def description(self) -> PredictorDescription:
        """Which model answers there."""
        return self._predictor.description

    @property
    def card(self) -> ModelCard:
        """What it has learned."""
        return self._line.described().card or ModelCard()

    def locate(
        self, stack: SliceStack, labels: Sequence[str], *, progress: Progress | None = None
    ) -> tuple[SeenTarget | None, ...]:
        """Have each label looked for there, and nothing else taken for it."""
        reply, arrays = self._line.ask("/locate", {"labels": list(labels)}, stack)
        with self._line.refusing():
            entries = reply.get("targets")
            if not isinstance(entries, list) or len(entries) != len(labels):
                raise BadMessage(f"{len(labels)} labels were asked for, and that many targets did not come")
            targets = tuple(None if entry is None else target_from(entry, arrays, stack) for entry in entries)
            for label, target in zip(labels, targets, strict=True):
                if target is not None and target.phrase != label:
                    raise BadMessage(f"{label!r} was asked for, and {target.phrase!r} came")
        _done(progress, stack)
        return targets

    def free_answer(
        self, stack: SliceStack, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> tuple[Answer, ...]:
        """Have questions answered there as they are. Raises `NotImplementedError` where it can only look for labels."""
        try:
            return self._predictor.answer(stack, questions, progress=progress)
        except _OnlyLabels as error:
            raise NotImplementedError(str(error)) from error

    def likeness(self, stack: SliceStack) -> Alike:
        """How like the images that it learned from the stack is; not asked where its card has no limits for it."""
        if self.card.likeness_limits is None:
            return None
        reply, _ = self._line.ask("/likeness", {}, stack)
        likeness = reply.get("likeness")
        if likeness is None:
            return None
        if isinstance(likeness, Mapping):
            return {str(label): self._share(share) for label, share in likeness.items()}
        return self._share(likeness)

    def _share(self, stated: object) -> float:
        if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated <= 1:
            raise RemoteRefused(f"{self._line.address} answered what cannot be used: a likeness not from 0 to 1")
        return float(stated)


class _OnlyLabels(RemoteRefused):
    """The other side takes no free questions."""


_REFUSALS["NotImplementedError"] = _OnlyLabels


def _done(progress: Progress | None, stack: SliceStack) -> None:
    if progress is not None:
        progress(stack.values.shape[0], stack.values.shape[0])


def _until(body: Packed, ends: float) -> Iterator[bytes]:
    import httpx2

    for chunk in body:
        if time.monotonic() > ends:
            raise httpx2.WriteTimeout("too slow")
        yield chunk


def _why(error: Exception) -> str:
    """Of a connection that was not made: an address's state, or what is wrong with a certificate."""
    return str(error).strip() or type(error).__name__
