"""A checkpoint folder: what it holds, under which terms, and whether it is whole. The same for every size.

checkpoint.json          name, version, terms, sizes, thresholds, calibration, and the sha256 over all below
language_model/          transformers' own format, tokenizer and image processor included, sharded where large
adapter/                 LoRA in peft's own format, where it is kept apart
grounding.safetensors    grounding and P_l
card.json                what it has learned: labels by kind of images, windows, limits of likeness; optional
likeness.safetensors     what tells images unlike those it learned from; optional
MODEL_CARD.md            for people

Only safetensors are read: no file of a checkpoint can run code.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging as transformers_logging

from inference.card import CARD_FILE, ModelCard, write_card
from inference.errors import CheckpointError
from inference.interface import PredictorDescription
from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.description import (
    DESCRIPTION_FILE,
    GROUNDING_FILE,
    LANGUAGE_FOLDER,
    Calibration,
    CheckpointDescription,
    FileState,
    Thresholds,
    check_complete,
    checked_calibration,
    file_state,
    read_description,
)
from inference.medseg_r.footprint import require_room
from inference.medseg_r.likeness import LIKENESS_FILE, Likeness
from inference.medseg_r.lora import base_state, has_lora, load_lora, merge_lora, save_lora
from inference.medseg_r.model import MedSegR, language_dtype
from inference.medseg_r.tokenizer import ChatTokenizer

__all__ = [
    "Checkpoint",
    "check_digest",
    "compose_model",
    "digest_of",
    "load_checkpoint",
    "load_described",
    "load_language_model",
    "save_checkpoint",
    "set_card",
    "set_thresholds",
]

_log = structlog.get_logger()

_ADAPTER = "adapter"
_SHARD = "4GB"
_NOT_DIGESTED = frozenset({DESCRIPTION_FILE, "MODEL_CARD.md"})


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with all that goes with it."""

    model: MedSegR
    description: PredictorDescription
    thresholds: Thresholds
    calibration: Calibration = ()
    calibrated: dict[str, Any] | None = None  # what both were chosen on, for people
    card: ModelCard | None = None  # what it has learned
    likeness: Likeness | None = None


def load_checkpoint(
    folder: Path, *, accept_research_use: bool = False, device: str = "cpu", merge_adapter: bool = True
) -> Checkpoint:
    """Load a model from `folder` on `device`, ready to answer.

    Raises as `load_described` does, and `TermsNotAccepted` as `CheckpointDescription.check_terms` does.
    """
    described = read_description(folder)
    described.check_terms(accept_research_use=accept_research_use)
    return load_described(described, device=device, merge_adapter=merge_adapter)


def load_described(described: CheckpointDescription, *, device: str = "cpu", merge_adapter: bool = True) -> Checkpoint:
    """Load the model of a description on `device`, ready to answer: the weights of its digest, no others.

    An adapter kept apart is merged in memory, or left beside the weights, to be trained further.
    Raises `OutOfMemory` before anything is loaded that would not fit.
    Raises `CheckpointError` for a file that is missing, truncated, altered or replaced meanwhile, or a tensor that is
    missing, extra or of another shape (named).
    """
    folder, config = described.folder, described.config
    states = _file_states(folder)
    check_complete(folder)
    require_room(described, device)
    check_digest(described)
    with torch.random.fork_rng(devices=[]):
        language_model, tokenizer, image_processor = load_language_model(
            folder / LANGUAGE_FOLDER, language_dtype(config, device)
        )
        if (folder / _ADAPTER).is_dir():
            load_lora(language_model, folder / _ADAPTER)
            if merge_adapter:
                merge_lora(language_model)
        with torch.device("meta"):  # what the file fills needs no random weights first
            model = compose_model(config, language_model, tokenizer, image_processor)
    _fill(model, folder / GROUNDING_FILE)
    model.eval()
    if merge_adapter:
        model.requires_grad_(False)
    try:
        model.place(device)
    except torch.OutOfMemoryError:
        _log.warning("out of memory: the model stays on the CPU", device=device)
        model.place("cpu")
    _copy_from_files(model)
    likeness = Likeness.load(folder)
    if states != _file_states(folder) or states.get(folder / DESCRIPTION_FILE) != described.state:
        raise CheckpointError(
            f"files of the checkpoint in {folder} were replaced or changed while it was loaded; load it again"
        )
    calibrated = None if described.calibrated is None else dict(described.calibrated)
    return Checkpoint(
        model,
        described.predictor,
        described.thresholds,
        described.calibration,
        calibrated,
        described.card,
        likeness,
    )


def save_checkpoint(
    folder: Path,
    model: MedSegR,
    *,
    name: str,
    version: str,
    terms: str | None,
    thresholds: Thresholds,
    calibration: Calibration = (),
    calibrated: dict[str, Any] | None = None,
    keep_adapter: bool = False,
) -> PredictorDescription:
    """Write a model to `folder` and return what it is now known as; the model is left as it is.

    A card of other weights that lies there goes: `medseg-r card` makes a new one.
    `calibrated`: what thresholds and calibration were chosen on, as `set_thresholds` notes it.
    LoRA is merged into what is written, or with `keep_adapter` written apart from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in (LANGUAGE_FOLDER, _ADAPTER):
        shutil.rmtree(folder / part, ignore_errors=True)
    for part in (CARD_FILE, LIKENESS_FILE):
        (folder / part).unlink(missing_ok=True)
    language = model.language_model
    storage = getattr(torch, model.config.language_storage)
    kept = keep_adapter and has_lora(language)
    language.save_pretrained(
        folder / LANGUAGE_FOLDER,
        state_dict=_stored(base_state(language, merged=has_lora(language) and not kept), storage),
        max_shard_size=_SHARD,
    )
    model.tokenizer.pretrained.save_pretrained(folder / LANGUAGE_FOLDER)
    model.context.image_processor.save_pretrained(folder / LANGUAGE_FOLDER)
    if kept:
        save_lora(language, folder / _ADAPTER)
    grounding = {key: value for key, value in model.state_dict().items() if not key.startswith("context.")}
    save_file(_stored(grounding, getattr(torch, model.config.grounding_storage)), folder / GROUNDING_FILE)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    stated: dict[str, Any] = {
        "name": name,
        "version": version,
        "digest": "",
        "terms": terms,
        "thresholds": vars(thresholds),
        "calibration": [list(pair) for pair in checked_calibration(calibration)],
        "model": model.config.to_json(),
    }
    if calibrated is not None:
        stated["calibrated"] = calibrated
    stated["digest"] = digest_of(folder, stated)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(stated, indent=2) + "\n")
    return PredictorDescription(name, version, stated["digest"], terms)


def set_thresholds(
    folder: Path, thresholds: Thresholds, calibration: Calibration, *, by: dict[str, Any]
) -> PredictorDescription:
    """Write other thresholds and calibration into a checkpoint's description; its digest changes with them.

    `by`: plain values that say what they were chosen on; kept for people.
    """
    described = read_description(folder)
    stated = dict(described.stated)
    if described.card is not None:  # one that the program knew by the old digest stays with the weights
        write_card(folder, described.card)
    stated["calibrated"] = by | {"before": stated["thresholds"]}
    stated |= {"thresholds": vars(thresholds), "calibration": [list(pair) for pair in checked_calibration(calibration)]}
    return _restated(folder, stated)


def set_card(folder: Path, card: ModelCard, likeness: Likeness | None) -> PredictorDescription:
    """Write what a model has learned beside its weights; the digest changes with it.

    `likeness`: what tells images unlike those it learned from; None leaves the checkpoint without.
    """
    stated = dict(read_description(folder).stated)
    write_card(folder, card)
    if likeness is None:
        (folder / LIKENESS_FILE).unlink(missing_ok=True)
    else:
        likeness.save(folder)
    return _restated(folder, stated)


def _restated(folder: Path, stated: dict[str, Any]) -> PredictorDescription:
    """Write a checkpoint's description with the digest of what lies in its folder now."""
    stated["digest"] = digest_of(folder, stated)
    part = folder / f"{DESCRIPTION_FILE}.part"
    part.write_text(json.dumps(stated, indent=2) + "\n")
    part.replace(folder / DESCRIPTION_FILE)
    return PredictorDescription(stated["name"], stated["version"], stated["digest"], stated["terms"])


def load_language_model(folder: Path, dtype: torch.dtype, *, extra_allowed: bool = False) -> tuple[Any, Any, Any]:
    """Return the model, the tokenizer and the PIL image processor of a folder in transformers' format.

    They are loaded one by one: AutoProcessor would want torchvision for videos.
    Raises `CheckpointError` where one is missing or a tensor is missing, extra or of another shape. `extra_allowed` is
    for others' folders: some carry what no model reads, such as rotary tables.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; give the folder of a downloaded Hugging Face model")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it would go to a worker's log
    try:
        automatic: Any = AutoModelForImageTextToText
        model, report = automatic.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # told below, with the tensor's name
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        automatic = AutoImageProcessor
        image_processor = automatic.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"the language model in {folder} cannot be loaded: {error}") from error
    if extra_allowed:
        report["unexpected_keys"] = []
    wrong = {kind: sorted(map(str, report[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        missing, extra, mis_shaped = (names[:5] for names in wrong.values())
        raise CheckpointError(
            f"the weights in {folder} do not fit: missing {missing}, extra {extra}, of another shape {mis_shaped}"
        )
    _legacy_template(tokenizer, folder)
    return model, tokenizer, image_processor


def _legacy_template(tokenizer: Any, folder: Path) -> None:
    """Older conversions keep the chat template beside the tokenizer, in their processor's own file."""
    path = folder / "chat_template.json"
    if tokenizer.chat_template is None and path.is_file():
        tokenizer.chat_template = json.loads(path.read_text())["chat_template"]


def compose_model(config: MedSegRConfig, language_model: Any, tokenizer: Any, image_processor: Any) -> MedSegR:
    """Put a loaded language model and a new grounding together; the tokenizer has `ADDED_TOKENS` in it.

    Raises `CheckpointError` for a language model without an image token, a tokenizer without them, a chat template
    that cannot be used, and sizes of the grounding that do not fit together.
    """
    stops = language_model.generation_config.eos_token_id
    image = getattr(language_model.config, "image_token_id", None)
    if image is None:
        raise CheckpointError("the language model has no image token; choose one that takes images among its tokens")
    chat_tokenizer = ChatTokenizer(
        tokenizer,
        image=int(image),
        stops=stops if isinstance(stops, list) else [] if stops is None else [stops],
    )
    try:
        return MedSegR(config, chat_tokenizer, language_model, image_processor)
    except (TypeError, ValueError, AssertionError, ZeroDivisionError) as error:
        raise CheckpointError(f"the sizes of the grounding do not fit together: {error}") from error


def _stored(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return tensors in the dtype they are saved in; one that has several names stays one."""
    converted: dict[int, Tensor] = {}
    stored = {}
    for name, value in state.items():
        if value.data_ptr() not in converted:
            changed = value.detach().to(dtype) if value.is_floating_point() else value.detach()
            converted[value.data_ptr()] = changed.cpu().contiguous()
        stored[name] = converted[value.data_ptr()]
    return stored


def check_digest(described: CheckpointDescription) -> None:
    """Raise `CheckpointError` where a checkpoint's files are not those that its digest was taken over; reads all."""
    try:
        digest = digest_of(described.folder, described.stated)
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read ({error.strerror}); copy the folder again") from error
    if digest != described.digest:
        raise CheckpointError(
            f"the files in {described.folder} have sha256 {digest[:12]}..., but {DESCRIPTION_FILE} says "
            f"{described.digest[:12]}...: they were altered or copied in part; copy the folder again"
        )


def digest_of(folder: Path, stated: Mapping[str, Any]) -> str:
    """Return the sha256 over all that an answer depends on: every file's name and bytes, sizes and thresholds."""
    digest = hashlib.sha256()
    settings = {key: stated.get(key) for key in ("model", "thresholds", "calibration")}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for path in _digested_files(folder):
        digest.update(b"\0" + path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _digested_files(folder: Path) -> list[Path]:
    beside = (folder / name for name in (GROUNDING_FILE, CARD_FILE, LIKENESS_FILE))
    parts = [*beside, *(folder / LANGUAGE_FOLDER).rglob("*"), *(folder / _ADAPTER).rglob("*")]
    return sorted(part for part in parts if part.is_file() and part.name not in _NOT_DIGESTED)


def _file_states(folder: Path) -> dict[Path, FileState]:
    """Return the state of every file that a model is loaded from. Raises `CheckpointError` where one disappears."""
    try:
        return {path: file_state(path.stat()) for path in (*_digested_files(folder), folder / DESCRIPTION_FILE)}
    except OSError as error:
        raise CheckpointError(f"{error.filename} disappeared while the checkpoint was loaded; load it again") from error


def _copy_from_files(model: MedSegR) -> None:
    """Give the weights on the CPU memory of their own, tensor by tensor.

    safetensors maps a file whose dtype is kept into memory: a file that is overwritten later would change the weights.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _fill(model: MedSegR, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; copy the folder again") from error
    expected = {key: value.shape for key, value in model.state_dict().items() if not key.startswith("context.")}
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise CheckpointError(f"{path} does not fit the model: missing {missing[:5]}, extra {extra[:5]}")
    for key, shape in expected.items():
        if tensors[key].shape != shape:
            raise CheckpointError(f"tensor {key} is {tuple(tensors[key].shape)}, the model's is {tuple(shape)}")
    model.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=False, assign=True)
