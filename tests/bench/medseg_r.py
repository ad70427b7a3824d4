"""MedSeg-R's speed and memory: many questions beside one, beside the way LISA runs, and a long volume.

- Ten questions about one image, beside one question about it.
- The same ten questions the way LISA's `evaluate` runs: one after the other, every token by a forward pass over the
  whole sequence with the image in it (no KV cache), and the grounding encoder run again for each. Same weights, same
  answers (checked).
- A volume of 300 slices and five questions; and one of 100, to see what grows. Peak memory is that of a process of its
  own, less what the process held with the model loaded.
- With a GPU: where the time goes, tokens per second, and how near decoding comes to reading all weights once a token.

The images are noise with a bright disc: what is timed does not depend on what is seen, but answers that break off early
do, so the number of tokens said stands beside the times.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.interface import Question, SliceStack
from inference.medseg_r.checkpoint import load_checkpoint
from inference.medseg_r.description import checkpoint_folder
from inference.medseg_r.predictor import MedSegRPredictor
from inference.medseg_r.tokenizer import GrammarState
from inference.medseg_r.transform import grounding_square, to_square
from inference.pictures import view_of

QUESTIONS = tuple(
    Question(text)
    for text in (
        "Where is the liver?",
        "Segment the spleen in this abdominal CT.",
        "Which organ filters the blood and makes urine on the left?",
        "Outline the right kidney.",
        "Where is the aorta?",
        "Mark the inferior vena cava in this slice.",
        "Which gland behind the stomach makes insulin?",
        "Is the gallbladder visible? If so, mark it.",
        "Show me where the stomach is.",
        "Find the esophagus in this image.",
    )
)
REPEATS = 5


def volume(slices: int, side: int = 256) -> SliceStack:
    """A CT-like volume: soft noise around a bright disc."""
    rows, columns = np.mgrid[0:side, 0:side]
    disc = ((rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 3) ** 2) * 1000.0
    noise = np.random.default_rng(0).normal(-900, 30, (slices, side, side)).astype(np.float32)
    return SliceStack(noise + disc.astype(np.float32), "CT", (2.0, 1.0, 1.0))


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median of several runs after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def as_lisa(predictor: MedSegRPredictor, stack: SliceStack, question: Question) -> str:
    """Answer one question about one slice without any cache, and return its text."""
    model, view = predictor.checkpoint.model, view_of(stack.values, stack.modality, {})
    context, tokenizer = model.context, model.tokenizer
    image = view.picture(stack.values[0])
    square, _ = to_square(image, model.config.context_square)
    with torch.inference_mode():
        pixels = context.pixels([square])
        ids = tokenizer.prefix(context.visual_tokens(pixels)) + tokenizer.question(question.text)
        answer: list[int] = []
        hidden_states = []
        state = GrammarState.TEXT
        for _ in range(model.config.most_answer_tokens):
            row = torch.tensor([ids], device=model.device)
            hidden_state = context.hidden_states(row, torch.ones_like(row), pixels)[0, -1]
            logits = context.logits(hidden_state)
            forbidden = tokenizer.forbidden(len(logits))[state].to(model.device)
            token = int(logits.masked_fill(forbidden, -torch.inf).argmax())
            state = tokenizer.next_state(state, token)
            if token in tokenizer.stops:
                break
            if token == tokenizer.seg:
                hidden_states.append(hidden_state)
            answer.append(token)
            ids.append(token)
        seen, _ = grounding_square(image, model.config.grounding.preprocessing, model.config.grounding.image_size)
        tensor = torch.from_numpy(seen).permute(2, 0, 1)[None].contiguous().to(model.device)
        features = model.grounding.encode(tensor)
        if hidden_states:
            model.grounding.decode(features[0], model.prompt_projector(torch.stack(hidden_states)))
    return tokenizer.text(answer)


def questions_beside_one(predictor: MedSegRPredictor) -> dict[str, Any]:
    """Time one and ten questions on one image, and ten as LISA would; same answers or it stops.

    One is the mean of the ten asked alone: an answer has five tokens or fifty, and ten take as long as the longest.
    """
    stack = volume(1)
    one = statistics.mean(median_s(partial(predictor.free_answer, stack, [question])) for question in QUESTIONS)
    ten = median_s(lambda: predictor.free_answer(stack, QUESTIONS))
    lisa = median_s(lambda: [as_lisa(predictor, stack, question) for question in QUESTIONS], repeats=3)
    return {
        "one_question_s": one,
        "ten_questions_s": ten,
        "ten_as_lisa_s": lisa,
        "ten_over_one": ten / one,
        "lisa_over_ours": lisa / ten,
    }


def same_words(predictor: MedSegRPredictor) -> int:
    """Check that both ways say the same, and return how many tokens ten answers have."""
    model, stack = predictor.checkpoint.model, volume(1)
    square, _ = to_square(
        view_of(stack.values, stack.modality, {}).picture(stack.values[0]), model.config.context_square
    )
    with torch.inference_mode():
        prefix = model.context.encode([square])
        answers = model.context.generate(prefix, QUESTIONS, model.config.most_answer_tokens)
    for question, [ours] in zip(QUESTIONS, answers, strict=True):
        theirs = as_lisa(predictor, stack, question)
        if model.tokenizer.text(ours.ids) != theirs:
            raise SystemExit(
                f"{question.text}\nwith cache:    {model.tokenizer.text(ours.ids)}\nwithout cache: {theirs}"
            )
    return sum(len(answer.ids) for [answer] in answers)


def long_volume(checkpoint: str, device: str, slices: int) -> dict[str, Any]:
    """Run this file in a process of its own for one volume, and return what it measured."""
    command = [sys.executable, __file__, "--volume", str(slices), "--checkpoint", checkpoint, "--device", device]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def measure_volume(predictor: MedSegRPredictor, slices: int) -> dict[str, Any]:
    """Answer five questions about a volume; memory in MB, beyond what loading the model took."""
    stack = volume(slices)
    before = _resident_mb()
    started = time.perf_counter()
    answers = predictor.free_answer(stack, QUESTIONS[:5])
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    masks = sum(target.mask.nbytes for answer in answers for target in answer.targets) / 1e6
    return {
        "slices": slices,
        "seconds": seconds,
        "volume_mb": stack.values.nbytes / 1e6,
        "peak_mb": peak,
        "grew_mb": peak - before,
        "masks_mb": masks,
        "masks": sum(len(answer.targets) for answer in answers),
    }


def on_gpu(predictor: MedSegRPredictor) -> dict[str, Any]:
    """Tokens and images per second, and decoding beside the time that reading all language weights once would take."""
    model = predictor.checkpoint.model
    stack = volume(8)
    view = view_of(stack.values, stack.modality, {})
    squares = [to_square(view.picture(one), model.config.context_square)[0] for one in stack.values]
    with torch.inference_mode():
        prefix_s = median_s(lambda: model.context.encode(squares))
        prefix = model.context.encode(squares[:1])
        speak_s = median_s(lambda: model.context.generate(prefix, QUESTIONS[:1], model.config.most_answer_tokens))
        [[answer]] = model.context.generate(prefix, QUESTIONS[:1], model.config.most_answer_tokens)
        seen = [
            grounding_square(
                view.picture(one),
                model.config.grounding.preprocessing,
                model.config.grounding.image_size,
            )[0]
            for one in stack.values
        ]
        tensor = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).contiguous().to(model.device)
        encode_s = median_s(lambda: model.grounding.encode(tensor))
        features = model.grounding.encode(tensor)
        prompts = torch.zeros(5, model.config.grounding.prompt_width, device=model.device)
        decode_s = median_s(lambda: model.grounding.decode(features[0], prompts))
    weights = sum(value.numel() * value.element_size() for value in model.language_model.parameters())
    blob = torch.empty(512 * 2**20, dtype=torch.uint8, device=model.device)
    copy_s = median_s(lambda: blob.clone())
    bandwidth = 2 * blob.numel() / copy_s  # bytes read and written in a second
    tokens = max(1, len(answer.ids))
    return {
        "images_per_s_context": len(squares) / prefix_s,
        "images_per_s_grounding": len(squares) / encode_s,
        "tokens_per_s": tokens / speak_s,
        "decode_five_masks_s": decode_s,
        "measured_bandwidth_gb_s": bandwidth / 1e9,
        "share_of_bandwidth_limit": (weights / bandwidth) / (speak_s / tokens),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny", help="folder of a checkpoint, or tiny for the shipped one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--volume", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = checkpoint_folder(arguments.checkpoint)
    predictor = MedSegRPredictor(
        load_checkpoint(folder, accept_research_use=True, device=arguments.device), arguments.device
    )
    if arguments.volume is not None:
        print(json.dumps(measure_volume(predictor, arguments.volume)))
        return
    results: dict[str, Any] = {"device": arguments.device, "threads": torch.get_num_threads()}
    results["tokens_of_ten_answers"] = same_words(predictor)
    results |= questions_beside_one(predictor)
    results["volumes"] = [long_volume(arguments.checkpoint, arguments.device, slices) for slices in (100, 300)]
    if arguments.device.startswith("cuda"):
        results["gpu"] = on_gpu(predictor)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print_table(results)


def print_table(results: dict[str, Any]) -> None:
    """Print what was measured, with ratios first."""
    print(f"device {results['device']}, {results['threads']} threads, {results['tokens_of_ten_answers']} tokens said")
    print(f"ten questions / one question:  {results['ten_over_one']:6.2f}  (wanted: at most 2.5)")
    print(f"as LISA runs / ours:           {results['lisa_over_ours']:6.2f}  (wanted: at least 4)")
    print(
        f"one {results['one_question_s']:.3f} s, ten {results['ten_questions_s']:.3f} s, "
        f"ten as LISA {results['ten_as_lisa_s']:.3f} s"
    )
    print(f"{'slices':>7}{'seconds':>9}{'volume MB':>11}{'masks MB':>10}{'grew MB':>9}{'peak MB':>9}")
    for one in results["volumes"]:
        print(
            f"{one['slices']:>7}{one['seconds']:>9.1f}{one['volume_mb']:>11.1f}{one['masks_mb']:>10.1f}"
            f"{one['grew_mb']:>9.1f}{one['peak_mb']:>9.0f}"
        )
    for name, value in results.get("gpu", {}).items():
        print(f"{name:<28}{value:>10.3f}")


if __name__ == "__main__":
    main()
