"""What a GPU makes of MedSeg-R, in one go of eight minutes: for a machine that is lent for a quarter of an hour.

    python -m tests.bench.gpu pack     a few hundred images, under 55 MiB, into runs/gpu: what the machine needs
    python -m tests.bench.gpu run      on the machine: four steps, each with its share of the time; writes gpu.json

1. Answers equal those of the CPU: the words the same, mask logits within LOGITS, masks in all but PIXELS of the pixels.
2. Images and tokens a second, by the number of images at once.
3. The ladder of `batches.py` where the memory is short: smaller batches, then the CPU, with the same masks.
4. Training of the grounding for what is left of the time, from the shipped weights, and what that does to its Dice.

`--device cpu --quick` goes the same way on a CPU in a minute, with less of everything. Without a GPU, `run` refuses.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.errors import DeviceMissing, InferenceError
from inference.interface import Question
from inference.medseg_qa.labels import DATASETS, LABELS
from inference.medseg_r.batches import Batches
from inference.medseg_r.checkpoint import load_checkpoint
from inference.medseg_r.description import checkpoint_folder
from inference.medseg_r.grounding import ImageFeatures
from inference.medseg_r.model import MedSegR
from inference.medseg_r.transform import standardise
from inference.open import torch_device
from inference.sampling import evenly_spaced
from inference.training.contrast import COLOUR
from inference.training.packing import Pack
from inference.training.packing import pack as pack_images
from inference.training.settings import TrainSettings
from inference.training.vision import label_prompts, train_vision, validate

LOGITS = 0.01
"""How far a mask logit of a GPU may lie from the CPU's: sums in another order, both in float32."""
PIXELS = 1e-3
"""Share of pixels that may change sides with it."""
MIB = 2**20
MOST_PACKED = 55 * MIB
QUESTIONS = ("Where is the liver?", "Is there a polyp?", "What can be seen in this image?", "Mark the spleen.")
PACKED = {"acdc": 110, "btcv": 131, "busi": 110, "chasedb1": 10, "cxr_covid": 74, "hippocampus": 110, "kvasir_seg": 60}
"""Training images of each set that are carried; and of validation as many as are looked at."""
_LADDER_IMAGES = 6


@dataclass(frozen=True)
class Plan:
    """How much is done, and in which time.

    `seconds`: for all of it; training takes what the rest leaves. `compared`, `validated`: images of each set.
    `steps`: of training that are timed before the others are counted out. `trained_at_once`: images a step.
    """

    device: str
    seconds: float
    compared: int
    validated: int
    at_once: tuple[int, ...]
    repeats: int
    steps: int
    trained_at_once: int


FULL = Plan("cuda", 480, 4, 12, (1, 4, 16, 64), 5, 5, 16)
QUICK = Plan("cpu", 0, 1, 1, (1, 2), 1, 2, 2)


def carried(whole: Pack, path: Path) -> int:
    """Write a share of a pack into one compressed file, and return its bytes. Raises where that is over the limit."""
    chosen: list[int] = []
    for name, count in PACKED.items():
        for split, most in (("train", count), ("val", FULL.validated)):
            records = np.flatnonzero((whole.datasets == name) & (whole.splits == split)).tolist()
            chosen += evenly_spaced(records, most)
    order = sorted(chosen)
    arrays: dict[str, Any] = {
        name: np.asarray(getattr(whole, name))[order]
        for name in ("masks", "datasets", "ids", "modalities", "splits", "extents", "groups")
    }
    colour = np.isin(arrays["datasets"], sorted(COLOUR))
    images = np.asarray(whole.images[order])
    arrays |= {"grey": images[~colour][..., 0], "colour": images[colour]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    size = path.stat().st_size
    if size > MOST_PACKED:
        raise InferenceError(
            f"{path} has {size / MIB:.0f} MiB, of {MOST_PACKED // MIB} that may be carried; lower PACKED"
        )
    return size


def unpacked(path: Path) -> Pack:
    """Read what `carried` wrote. Raises `InferenceError` where it is not there."""
    if not path.is_file():
        raise InferenceError(f"{path} is not there; make it with python -m tests.bench.gpu pack, and carry its folder")
    with np.load(path) as arrays:
        colour = np.isin(arrays["datasets"], sorted(COLOUR))
        images = np.zeros((len(colour), *arrays["masks"].shape[1:], 3), dtype=np.uint8)
        images[~colour], images[colour] = arrays["grey"][..., None], arrays["colour"]
        named = {name: arrays[name] for name in arrays.files if name not in ("grey", "colour")}
    return Pack(images=images, **named)


def squares(pack: Pack, records: Sequence[int]) -> Tensor:
    """Return what the grounding sees of records: float32 `records 3 256 256`."""
    seen = np.stack([standardise(np.asarray(pack.images[record])) for record in records])
    return torch.from_numpy(seen).permute(0, 3, 1, 2).contiguous()


def drawn(model: MedSegR, images: Tensor, labels: Sequence[str]) -> Tensor:
    """Return the mask logits of labels on images, float32 `images labels 256 256`, on the CPU."""
    prompts = label_prompts(model.config.grounding.prompt_width)[[LABELS.index(label) for label in labels]]
    with torch.inference_mode():
        features = model.grounding.encode(images.to(model.device))
        each = [model.grounding.decode(features[i], prompts.to(model.device)).logits for i in range(len(images))]
        return torch.stack(each).float().cpu()


def words(model: MedSegR, pack: Pack, records: Sequence[int]) -> tuple[list[str], int]:
    """Return the answers to QUESTIONS about records, question by question, and how many tokens they have."""
    prefix = model.context.encode([np.asarray(pack.images[record]) for record in records])
    asked = [Question(text) for text in QUESTIONS]
    answers = model.context.generate(prefix, asked, model.config.most_answer_tokens)
    said = [answer for of_question in answers for answer in of_question]
    return [model.tokenizer.text(answer.ids) for answer in said], sum(len(answer.ids) for answer in said)


def compared(reference: MedSegR, model: MedSegR, pack: Pack, plan: Plan) -> dict[str, Any]:
    """Hold a model on a device beside the same on the CPU; `equal` where all is within what is allowed."""
    furthest, changed, pixels, same, asked = 0.0, 0, 0, 0, 0
    for name, labels in DATASETS.items():
        records = evenly_spaced(np.flatnonzero(pack.datasets == name).tolist(), plan.compared)
        if not records:
            continue
        images = squares(pack, records)
        wanted, given = (drawn(one, images, labels) for one in (reference, model))
        furthest = max(furthest, float((wanted - given).abs().max()))
        changed += int(((wanted > 0) != (given > 0)).sum())
        pixels += wanted.numel()
        texts = [words(one, pack, records)[0] for one in (reference, model)]
        same += sum(one == other for one, other in zip(*texts, strict=True))
        asked += len(texts[0])
    equal = furthest <= LOGITS and changed <= PIXELS * pixels and same == asked
    return {
        "equal": equal,
        "furthest_logit": round(furthest, 6),
        "pixels_changed": changed / max(1, pixels),
        "answers_alike": f"{same} of {asked}",
    }


def speed(model: MedSegR, pack: Pack, plan: Plan) -> list[dict[str, Any]]:
    """Return images and tokens a second by images at once: encoded and five labels drawn; four questions answered."""
    found = []
    for at_once in plan.at_once:
        records = np.resize(np.arange(len(pack.ids)), at_once).tolist()
        images = squares(pack, records)
        drawing = median_s(lambda images=images: drawn(model, images, LABELS[:5]), plan.repeats)
        tokens = words(model, pack, records)[1]
        saying = median_s(lambda records=records: words(model, pack, records), plan.repeats)
        found.append(
            {
                "images_at_once": at_once,
                "images_s": round(at_once / drawing, 1),
                "tokens_s": round(tokens / saying, 1),
            }
        )
    return found


def ladder(model: MedSegR, pack: Pack, device: str) -> dict[str, Any]:
    """Draw with too little memory for the batch, then for any: by how many at a time, where, and whether alike."""
    records = np.resize(np.arange(len(pack.ids)), _LADDER_IMAGES).tolist()
    images, labels = squares(pack, records), LABELS[:3]
    whole = torch.cat([drawn(model, images[i : i + 1], labels) for i in range(len(images))])
    outcome: dict[str, Any] = {}
    for name, room in (("short", 2), ("none", 0)):
        batches = Batches(model, torch.device(device), 256, size=len(records))
        given, sizes = [], []
        with _room_for(model, images, room):
            for batch, part in batches.run(len(records), lambda b: drawn(model, images[b.start : b.stop], labels)):
                given.append(part)
                sizes.append(len(batch))
        alike = float((torch.cat(given) - whole).abs().max()) <= LOGITS
        outcome[name] = {"largest_batch": max(sizes), "ended_on": model.device.type, "alike": alike}
        model.place(device)
    return outcome


@contextmanager
def _room_for(model: MedSegR, images: Tensor, count: int) -> Iterator[None]:
    """Leave room for about `count` images at once: on a GPU by torch's own limit; a CPU has none, and is made to."""
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        drawn(model, images[:1], LABELS[:3])
        each = torch.cuda.max_memory_allocated() - held
        torch.cuda.empty_cache()
        limit = held + (count + 0.3) * each
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.mem_get_info()[1]))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    whole = model.grounding.encode

    def encode(given: Tensor) -> ImageFeatures:
        if len(given) > max(1, count):
            raise torch.OutOfMemoryError(f"{len(given)} images are more than this step allows")
        return whole(given)

    model.grounding.encode = encode  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.grounding.encode


def trained(pack: Pack, plan: Plan, seconds: float, out: Path) -> dict[str, Any]:
    """Train the grounding from the shipped weights for about `seconds`; validation Dice before and after."""
    model = load_checkpoint(checkpoint_folder("tiny"), device=plan.device).model
    prompts = label_prompts(model.config.grounding.prompt_width).to(plan.device)
    before = _mean_dice(pack, model, prompts, plan)
    settings = TrainSettings(
        stage="grounding", out=out, start="tiny", device=plan.device, batch_size=plan.trained_at_once, steps=plan.steps,
        learning_rate=8e-4, contrast=0.5, save_every=10**6,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "grounding.pt").unlink(missing_ok=True)
    begun = time.monotonic()
    train_vision(pack, model.config, settings)
    each = (time.monotonic() - begun) / settings.steps
    steps = settings.steps + max(0, int((seconds - (time.monotonic() - begun)) / each))
    if steps > settings.steps:  # goes on from the state that the first steps left
        train_vision(pack, model.config, settings.model_copy(update={"steps": steps}))
    state = torch.load(out / "grounding.pt", weights_only=True, map_location=plan.device)["average"]
    model.grounding.load_state_dict(model.grounding.state_dict() | state)
    after = _mean_dice(pack, model, prompts, plan)
    (out / "grounding.pt").unlink()  # more than comes back from a lent machine; the averaged weights do
    torch.save({name: value.half().cpu() for name, value in state.items()}, out / "grounding-average.pt")
    return {"steps": steps, "step_s": round(each, 3), "dice_before": round(before, 4), "dice_after": round(after, 4)}


def _mean_dice(pack: Pack, model: MedSegR, prompts: Tensor, plan: Plan) -> float:
    return float(np.mean(list(validate(pack, model.grounding, prompts, most=plan.validated).values())))


def median_s(work: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of several runs after one that is not counted; all that is asked for comes back."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()  # gives its result on the CPU, so that a GPU has finished
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def run(pack: Pack, plan: Plan, out: Path) -> dict[str, Any]:
    """Go the four steps and return what each found; after each step `out`/gpu.json holds what is known by then."""
    begun = time.monotonic()
    reference = load_checkpoint(checkpoint_folder("tiny")).model
    model = load_checkpoint(checkpoint_folder("tiny"), device=plan.device).model
    found: dict[str, Any] = {"device": _device_name(plan.device), "torch": torch.__version__}
    steps: dict[str, Callable[[], Any]] = {
        "equality": lambda: compared(reference, model, pack, plan),
        "speed": lambda: speed(model, pack, plan),
        "ladder": lambda: ladder(model, pack, plan.device),
        "training": lambda: trained(pack, plan, plan.seconds - (time.monotonic() - begun), out / "training"),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, step in steps.items():
        started = time.monotonic()
        found[name] = step()
        found[f"{name}_took_s"] = round(time.monotonic() - started, 1)
        (out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "CPU"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry or run; 2 where there is no GPU or nothing was carried, 1 where the answers are not those of the CPU."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("pack", "run"))
    parser.add_argument(
        "--images", type=Path, default=Path("../shared/data/images"), help="a folder with manifest.jsonl"
    )
    parser.add_argument("--carry", type=Path, default=Path("runs/gpu"), help="the folder that is carried")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-outcome"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=FULL.seconds)
    parser.add_argument("--quick", action="store_true", help="less of everything: does all of it run?")
    given = parser.parse_args(arguments)
    packed = given.carry / "images.npz"
    try:
        if given.step == "pack":
            size = carried(pack_images(given.images, given.carry.with_name(f"{given.carry.name}-whole")), packed)
            print(f"{packed}: {size / MIB:.0f} MiB; carry {given.carry} to the machine with the GPU")
            return 0
        device = torch_device(given.device)
        plan = QUICK if given.quick else replace(FULL, seconds=given.seconds)
        found = run(unpacked(packed), replace(plan, device=device), given.out)
    except DeviceMissing as error:
        print(
            f"gpu: {error}. This script is for a machine with a GPU; --device cpu --quick tries it here.",
            file=sys.stderr,
        )
        return 2
    except InferenceError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 2
    return 0 if found["equality"]["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
