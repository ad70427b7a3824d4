"""Composing a model from published parts, and LoRA on it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.errors import CheckpointError
from inference.medseg_r.checkpoint import Checkpoint, digest_of, load_checkpoint, save_checkpoint
from inference.medseg_r.compose import compose, load_sam
from inference.medseg_r.config import PRESETS, GroundingConfig, MedSegRConfig
from inference.medseg_r.description import Thresholds
from inference.medseg_r.grounding import Grounding
from inference.medseg_r.lora import add_lora, has_lora, load_lora, merge_lora, save_lora
from inference.medseg_r.model import MedSegR
from tests.unit.inference.medseg_r.conftest import FAMILIES, Download


@pytest.mark.parametrize(
    ("preset", "build"),
    [
        ("lingshu-7b+medsam-b", "build_sam_vit_b"),
        ("medgemma-4b+medsam-b", "build_sam_vit_b"),
        ("qwen3-vl-8b+sam-h", "build_sam_vit_h"),
        ("llava+sam-h", "build_sam_vit_h"),
    ],
)
def test_a_published_sam_fits_its_preset(preset: str, build: str) -> None:
    from segment_anything import build_sam  # bare of torchvision: segment_anything_parts has registered the package

    with torch.device("meta"):
        published = getattr(build_sam, build)().state_dict()
        ours = Grounding(PRESETS[preset].grounding).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in published.items()}


def test_what_is_drawn_is_what_segment_anything_draws(sam_config: GroundingConfig) -> None:
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT

    torch.manual_seed(0)
    grounding = Grounding(sam_config).eval()
    theirs = ImageEncoderViT(
        depth=2,
        embed_dim=32,
        img_size=64,
        mlp_ratio=4,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[1],
        window_size=3,
        out_chans=32,
    ).eval()
    theirs.load_state_dict(grounding.image_encoder.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(grounding.encode(images).embedding, theirs(images))
        drawn = grounding.decode(grounding.encode(images)[1], torch.randn(3, 32))
    assert drawn.logits.shape == (3, 16, 16)
    assert drawn.quality.shape == (3,)
    assert torch.equal(drawn.seen, drawn.quality)  # SAM has no object score


@pytest.mark.parametrize("wrapped", ["bare", "model", "module"])
def test_sam_is_read_as_published_and_as_medsam_trains_it(
    sam_config: GroundingConfig, tmp_path: Path, wrapped: str
) -> None:
    state = Grounding(sam_config).state_dict()
    saved = {
        "bare": state,
        "model": {"model": state, "epoch": 3, "optimizer": {"lr": 1e-4}},
        "module": {f"module.{key}": value for key, value in state.items()},
    }
    torch.save(saved[wrapped], tmp_path / "sam.pth")
    grounding = Grounding(sam_config)
    load_sam(grounding, tmp_path / "sam.pth")
    for key, value in grounding.state_dict().items():
        assert torch.equal(value, state[key])


class _Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/should-not-exist",)


def test_a_pickle_with_code_is_refused(sam_config: GroundingConfig, tmp_path: Path) -> None:
    torch.save({"image_encoder.pos_embed": _Dangerous()}, tmp_path / "sam.pth")
    with pytest.raises(CheckpointError, match="more than tensors") as refused:
        load_sam(Grounding(sam_config), tmp_path / "sam.pth")
    assert "\n" not in str(refused.value)
    assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "truncated", "absent"])
def test_a_sam_that_does_not_fit_is_refused_by_name(sam_config: GroundingConfig, tmp_path: Path, change: str) -> None:
    path, named = tmp_path / "sam.pth", "mask_decoder.iou_token.weight"
    state = dict(Grounding(sam_config).state_dict())
    if change == "missing":
        del state[named]
    elif change == "extra":
        state[named := "lost.weight"] = torch.zeros(1)
    elif change == "shape":
        state[named] = torch.zeros(1, 7)
    torch.save(state, path)
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
        named = "truncated"
    elif change == "absent":
        path.unlink()
        named = "no file"
    with pytest.raises(CheckpointError, match=named):
        load_sam(Grounding(sam_config), path)


def test_a_folder_that_is_no_language_model_is_refused(download: Download, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        compose(download.config, tmp_path / "none", download.grounding, tmp_path / "out", name="x", terms=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        compose(download.config, tmp_path / "empty", download.grounding, tmp_path / "out", name="x", terms=None)


@pytest.mark.parametrize("download", ["llava", "gemma3"], indirect=True)  # the others have one layout only
def test_an_older_layout_with_rotary_tables_is_read(download: Download, tmp_path: Path) -> None:
    shutil.copytree(download.language_model, tmp_path / "older")
    weights = tmp_path / "older" / "model.safetensors"
    tensors = {
        name.replace("vision_tower.", "vision_tower.vision_model."): value for name, value in load_file(weights).items()
    }
    tensors["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, weights, metadata={"format": "pt"})
    loaded = []
    for folder in (tmp_path / "older", download.language_model):
        out = tmp_path / folder.name / "out"
        compose(download.config, folder, download.grounding, out, name="x", terms=None)
        loaded.append(load_checkpoint(out).model.state_dict())
    older, newer = loaded
    assert set(older) == set(newer)
    assert all(torch.equal(value, newer[name]) for name, value in older.items())


def test_presets_survive_their_json() -> None:
    for config in PRESETS.values():
        assert MedSegRConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.fixture(params=["llava", "qwen2_5_vl"])
def with_lora(request: pytest.FixtureRequest, tmp_path: Path, sam_config: GroundingConfig) -> Checkpoint:
    """A composed model whose LoRA has been trained to do something."""
    torch.manual_seed(0)
    FAMILIES[request.param](tmp_path / "language")
    torch.save(Grounding(sam_config).state_dict(), tmp_path / "sam.pth")
    config = MedSegRConfig(
        context_square=64, language_storage="float32", grounding_storage="float32", grounding=sam_config
    )
    compose(config, tmp_path / "language", tmp_path / "sam.pth", tmp_path / "composed", name="x", terms=None)
    checkpoint = load_checkpoint(tmp_path / "composed")
    language = checkpoint.model.language_model
    add_lora(language)
    with torch.no_grad():
        for name, parameter in language.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return checkpoint


def _logits(model: MedSegR) -> torch.Tensor:
    tokenizer = model.tokenizer
    ids = torch.tensor([tokenizer.answer("The CT shows <p> liver </p> [SEG].")])
    with torch.inference_mode():
        return model.context.logits(model.context.hidden_states(ids, torch.ones_like(ids), {}))


def test_lora_is_only_on_the_text_side_and_alone_is_trained(with_lora: Checkpoint) -> None:
    trained = [name for name, one in with_lora.model.language_model.named_parameters() if one.requires_grad]
    assert trained
    assert all("lora_" in name and "language_model" in name for name in trained)
    assert not any("vision" in name or "visual" in name for name in trained)


def test_lora_merged_and_kept_apart_answer_alike(with_lora: Checkpoint, tmp_path: Path) -> None:
    model = with_lora.model.eval()
    expected = _logits(model)
    names = set(model.state_dict())
    for keep in (True, False):
        save_checkpoint(
            tmp_path / str(keep),
            model,
            name="x",
            version="1",
            terms=None,
            thresholds=Thresholds(),
            keep_adapter=keep,
        )
        assert (tmp_path / str(keep) / "adapter").is_dir() == keep
        for merge in (True, False):
            loaded = load_checkpoint(tmp_path / str(keep), merge_adapter=merge).model
            assert has_lora(loaded.language_model) == (keep and not merge)
            assert torch.allclose(_logits(loaded.eval()), expected, atol=1e-4)
    assert set(model.state_dict()) == names
    assert torch.equal(_logits(model), expected)
    merge_lora(model.language_model)
    assert torch.allclose(_logits(model), expected, atol=1e-4)


def test_an_adapter_that_does_not_fit_is_refused(with_lora: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "apart"
    save_checkpoint(
        folder,
        with_lora.model,
        name="x",
        version="1",
        terms=None,
        thresholds=Thresholds(),
        keep_adapter=True,
    )
    weights = folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    lost = next(iter(tensors))
    del tensors[lost]
    save_file(tensors, weights)
    path = folder / "checkpoint.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"digest": digest_of(folder, stated)}))
    with pytest.raises(CheckpointError, match=lost):
        load_checkpoint(folder)


@pytest.mark.parametrize("with_lora", ["llava"], indirect=True)
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"r": 3}, r"adapter_model\.safetensors.*of another shape.*lora_A"),
        ({"target_modules": ["nowhere_proj"]}, r"adapter_config\.json.*nowhere_proj"),
        ({"peft_type": None}, r"adapter_config\.json"),
        ({"peft_type": "MAGIC"}, r"adapter_config\.json"),
        ({"peft_type": "IA3"}, r"adapter_config\.json.*only LoRA"),
        ({"r": "eight"}, r"adapter_config\.json"),
    ],
)
def test_an_adapter_with_settings_of_another_model_is_refused(
    with_lora: Checkpoint, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    language = with_lora.model.language_model
    save_lora(language, tmp_path / "adapter")
    merge_lora(language)
    path = tmp_path / "adapter" / "adapter_config.json"
    stated = json.loads(path.read_text()) | change
    if change.get("peft_type") == "IA3":
        stated = {"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}
    path.write_text(json.dumps({key: value for key, value in stated.items() if key != "peft_type" or value}))
    with pytest.raises(CheckpointError, match=named):
        load_lora(language, tmp_path / "adapter")


def test_a_grounding_of_impossible_sizes_is_refused(download: Download, tmp_path: Path) -> None:
    grounding = dataclasses.replace(download.config.grounding, prompt_width=30)
    config = dataclasses.replace(download.config, grounding=grounding)
    with pytest.raises(CheckpointError, match="sizes"):
        compose(config, download.language_model, download.grounding, tmp_path / "out", name="x", terms=None)
