"""Train the peer that MedSeg-R's masks are measured beside: a plain U-Net for each data set, a channel per label.

MONAI's BasicUNet at half its default widths (the default takes 3.3 times as long a step on a CPU), trained from nothing
on the same images, splits, augmentation, loss and running mean of weights as the shipped checkpoint, until its Dice on
the validation split has not risen for `--patience` epochs. An epoch is 256 training images, or all of a smaller set.
A data set's best weights, curve and hours are written below `--out`; called again, a run goes on. `masks.py` scores the
weights kept in `unet_weights/`.

    python tests/bench/unet.py --images ../shared/data/images --set btcv --out runs/unet
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inference.evaluation.scores import score_masks, summary
from inference.medseg_qa.labels import DATASETS
from inference.medseg_r.model import mask_loss
from inference.medseg_r.transform import standardise
from inference.training.augment import augment
from inference.training.packing import Pack, pack

FEATURES = (16, 16, 32, 64, 128, 16)
RATE = 1e-3
BATCH = 8
EPOCH_IMAGES = 256
EMA = 0.99
VALIDATED = 32
WEIGHTS = Path(__file__).with_name("unet_weights")


def build(name: str) -> nn.Module:
    """BasicUNet with a channel for each label of a data set."""
    return BasicUNet(spatial_dims=2, in_channels=3, out_channels=len(DATASETS[name]), features=FEATURES)


def planes(bits: np.ndarray, labels: int) -> Tensor:
    """Label bits `rows columns` to float32 `labels rows columns` of 0 and 1."""
    return torch.from_numpy(np.stack([(bits >> np.uint16(i) & np.uint16(1)).astype(np.float32) for i in range(labels)]))


def epoch(data: Pack, name: str, random: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """At most EPOCH_IMAGES training images of a set, each once, augmented, in batches."""
    records = random.permutation(np.flatnonzero((data.splits == "train") & (data.datasets == name)))[:EPOCH_IMAGES]
    for start in range(0, len(records), BATCH):
        images, masks = [], []
        for record in records[start : start + BATCH]:
            image, bits = augment(np.asarray(data.images[record]), np.asarray(data.masks[record]), name, random)
            images.append(torch.from_numpy(standardise(image)))
            masks.append(planes(bits, len(DATASETS[name])))
        yield torch.stack(images).permute(0, 3, 1, 2).contiguous(), torch.stack(masks)


def validation_dice(model: nn.Module, data: Pack, name: str) -> float:
    """Mean over labels of the Dice of what is there in at most VALIDATED evenly spaced validation images."""
    records, scored = np.flatnonzero((data.splits == "val") & (data.datasets == name)), []
    count = min(len(records), VALIDATED)
    for record in records[np.linspace(0, len(records) - 1, count).round().astype(int)].tolist():
        image = torch.from_numpy(standardise(np.asarray(data.images[record]))).permute(2, 0, 1)[None]
        with torch.inference_mode():
            drawn = (model(image)[0] > 0).numpy()
        for label in data.present(record):
            true = data.mask(record, label)
            scored.append(score_masks(label, str(record), drawn[DATASETS[name].index(label)], true, None))
    return float(np.mean([row["dice"] for row in summary(scored)["labels"].values()]))


def train(data: Pack, name: str, out: Path, patience: int, most_minutes: float) -> None:
    """Train one set's U-Net and keep the weights of its best epoch; a run that is found is gone on with."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model, average = build(name), build(name)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    state_path, log_path = out / f"{name}.pt", out / f"{name}.json"
    log = {"set": name, "seconds": 0.0, "best": -1.0, "best_epoch": 0, "steps": 0, "epochs": [], "stopped": False}
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        log = json.loads(log_path.read_text())
    started, before, steps = time.monotonic(), log["seconds"], log["steps"]
    while not log["stopped"] and time.monotonic() - started < most_minutes * 60:
        number = len(log["epochs"])
        model.train()
        losses = []
        for images, masks in epoch(data, name, np.random.default_rng([0, number])):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images).float()
            loss = torch.stack([mask_loss(one, true) for one, true in zip(logits, masks, strict=True)]).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            steps += 1
            decay = min(EMA, (1 + steps) / (10 + steps))
            with torch.no_grad():
                for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    mean.lerp_(value, 1 - decay) if mean.is_floating_point() else mean.copy_(value)
        average.eval()
        score = validation_dice(average, data, name)
        log["epochs"].append({"loss": round(float(np.mean(losses)), 4), "dice": round(score, 4)})
        if score > log["best"]:
            log["best"], log["best_epoch"] = score, number
            save_file(
                {key: value.half().contiguous() for key, value in average.state_dict().items()},
                out / f"{name}.safetensors",
            )
        log["stopped"] = number - log["best_epoch"] >= patience
        log["seconds"] = before + time.monotonic() - started
        log["steps"] = steps
        torch.save(
            {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()},
            state_path,
        )
        log_path.write_text(json.dumps(log, indent=1) + "\n")
        print(f"{name} epoch {number}: loss {np.mean(losses):.3f}, validation Dice {score:.3f}, best {log['best']:.3f}")


def load_unet(name: str, folder: Path = WEIGHTS) -> nn.Module:
    """Read a data set's saved weights."""
    model = build(name)
    model.load_state_dict({key: value.float() for key, value in load_file(folder / f"{name}.safetensors").items()})
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with manifest.jsonl")
    parser.add_argument("--set", choices=list(DATASETS), action="append", help="data set; all without it")
    parser.add_argument("--out", type=Path, default=Path("runs/unet"))
    parser.add_argument("--patience", type=int, default=20, help="epochs without a better validation Dice")
    parser.add_argument("--most-minutes", type=float, default=1e9, help="stop a set after this time, to go on later")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = pack(arguments.images, arguments.out / "pack")
    for name in arguments.set or list(DATASETS):
        train(data, name, arguments.out, arguments.patience, arguments.most_minutes)


if __name__ == "__main__":
    main()
