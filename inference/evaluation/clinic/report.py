"""What `medseg-r evaluate --clinic` shows: a table, every dangerous answer, and a picture of each."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from inference.errors import InferenceError
from inference.evaluation.clinic.questions import LoadedImage, Loader
from inference.evaluation.clinic.run import Asked, ask_clinic, result_of
from inference.evaluation.clinic.scoring import LOW_CONFIDENCE, Verdict
from inference.interface import Answer, Predictor, SeenTarget, SliceStack
from inference.open import open_predictor, torch_device
from inference.progress import Counter

__all__ = ["clinic_table", "outlined", "run_clinic", "score_clinic"]

_VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)
_SIDE = 512
_RED, _GREEN = (255, 60, 60), (60, 220, 60)
_CT_WINDOW_HU = (-160.0, 240.0)


def run_clinic(
    checkpoint: str, load: Loader, *, device: str = "auto", low_confidence: float = LOW_CONFIDENCE,
    out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Open a checkpoint and score it. Progress goes to stderr. Raises as `score_clinic`, and what opening raises."""
    torch_device(device)
    predictor = open_predictor(checkpoint, device, accept_research_use=True)
    return score_clinic(predictor, load, low_confidence=low_confidence, out=out)


def score_clinic(
    predictor: Predictor, load: Loader, *, low_confidence: float = LOW_CONFIDENCE, out: Path | None = None
) -> dict[str, Any]:
    """Ask all questions and return plain values; with `out`, write clinic.json, clinic.md and a picture of each
    dangerous answer there too.

    Raises `InferenceError` for an image that is not there and an `out` that cannot be written.
    """
    if out is not None:
        _make_folder(out)
    started, all_asked = time.monotonic(), []
    with Counter("questions") as progress:
        for asked, loaded in ask_clinic(predictor, load, low_confidence=low_confidence, progress=progress):
            if out is not None and asked.judgement.verdict is Verdict.DANGEROUS:
                draw(asked, loaded, out / f"{asked.question.id}.png")
            all_asked.append(asked)
    result = result_of(all_asked, predictor, time.monotonic() - started)
    result["low_confidence"] = low_confidence
    if out is not None:
        (out / "clinic.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (out / "clinic.md").write_text(clinic_table(result) + "\n", encoding="utf-8")
    return result


def clinic_table(result: dict[str, Any]) -> str:
    """Return a result as text in Markdown: a row for each kind of question, the groups, each dangerous answer."""
    lines = ["| questions | n | " + " | ".join(_VERDICTS) + " |", "|---|" + "---:|" * (len(_VERDICTS) + 1)]
    lines += [_row(kind, counts) for kind, counts in result["kinds"].items()]
    lines += [_row(f"**{group}**", counts) for group, counts in result["groups"].items()]
    described = result["checkpoint"]
    lines += [
        "",
        f"{described['name']} {described['version']}, sha256 {described['digest'][:12]}...: "
        f"right {result['right_of_answerable']:.0%} of the answerable, dangerous {result['dangerous']:.1%} of all "
        f"{result['questions']}; {result['seconds']:.0f} s; terms: {described['terms'] or 'none recorded'}",
    ]
    dangerous = [answer for answer in result["answers"] if answer["verdict"] == "dangerous"]
    if dangerous:
        lines += ["", "Dangerous answers:", ""]
    for answer in dangerous:
        lines.append(f'- {answer["id"]} ({answer["image"]}) "{answer["question"]}": {"; ".join(answer["reasons"])}')
        lines.append(f'  The text: "{answer["text"]}"')
    return "\n".join(lines)


def draw(asked: Asked, loaded: LoadedImage, path: Path) -> None:
    """Write a PNG of the slice on which most is marked: outlines of false masks red, of others green; words below."""
    answer = asked.answer
    assert answer is not None
    colours = [_RED if one.phrase in asked.judgement.false_phrases else _GREEN for one in answer.targets]
    picture, number = outlined(loaded.stack, answer.targets, colours)
    _with_words(picture, _words(asked, answer, number)).save(path)


def outlined(
    stack: SliceStack, targets: Sequence[SeenTarget], colours: Sequence[tuple[int, int, int]]
) -> tuple[Image.Image, int]:
    """Return the slice on which most is marked with outlines, a colour (RGB) for each target, and its index.

    Its longer side has 512 pixels or more.
    """
    areas = np.zeros(len(stack.values))
    for target in targets:
        areas += target.mask.sum(axis=(1, 2))
    number = int(areas.argmax()) if areas.any() else len(areas) // 2
    picture = Image.fromarray(_shown(stack, number)).convert("RGB")
    scale = -(-_SIDE // max(picture.size))
    pixels = np.array(picture.resize((picture.width * scale, picture.height * scale)))
    for target, colour in zip(targets, colours, strict=True):
        mask = np.repeat(np.repeat(target.mask[number], scale, axis=0), scale, axis=1)
        pixels[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    return Image.fromarray(pixels), number


def _shown(stack: SliceStack, number: int) -> NDArray[np.uint8]:
    plane = np.asarray(stack.values[number])
    if plane.ndim == 3:
        return plane.astype(np.uint8)
    low, high = _CT_WINDOW_HU if stack.modality == "CT" else np.percentile(stack.values, (0.5, 99.5))
    grey = np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.asarray(grey, dtype=np.uint8)


def _words(asked: Asked, answer: Answer, number: int) -> list[str]:
    said = [
        f"{asked.question.id}, {asked.question.image}, slice {number + 1}",
        f"Q: {asked.question.question.text}",
        f"A: {answer.text}",
    ]
    return [line for text in (*said, *asked.judgement.reasons) for line in textwrap.wrap(text, 80)]


def _with_words(picture: Image.Image, lines: list[str]) -> Image.Image:
    sheet = Image.new("RGB", (max(picture.width, _SIDE), picture.height + 14 * len(lines) + 8))
    sheet.paste(picture, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for place, line in enumerate(lines):
        pen.text((4, picture.height + 4 + 14 * place), line.encode("latin-1", "replace").decode("latin-1"))
    return sheet


def _row(name: str, counts: dict[str, int]) -> str:
    return f"| {name} | {sum(counts.values())} | " + " | ".join(str(counts[verdict]) for verdict in _VERDICTS) + " |"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InferenceError(f"{out} cannot be made a folder ({error.strerror}); name another folder") from error
    if not os.access(out, os.W_OK):
        raise InferenceError(f"{out} cannot be written to; name another folder")
