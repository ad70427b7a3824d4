"""Tiny random models of every family that is spoken of, on disk as their publishers save them, and a tiny SAM."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3TextConfig,
    GemmaTokenizer,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)

from inference.medseg_r.config import GroundingConfig, MedSegRConfig, Preprocessing
from inference.medseg_r.grounding import Grounding

_TEXTS = ["where is the liver?", "The CT shows the liver and the spleen.", "No liver is seen.", "user assistant"] * 5

# The templates as their publishers ship them, less tools and videos.
_QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA_TEMPLATE = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate') }}{%- endif -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' }}{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}"
    "{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}"
    "{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
_LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
    "{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def _byte_level() -> dict[str, Any]:
    """Vocabulary and merges of Qwen's kind: byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return _parts(tokenizer)


def _sentencepiece(special: list[str]) -> dict[str, Any]:
    """Vocabulary and merges of Llama's and Gemma's kind: BPE over spaces made visible, with bytes to fall back to."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", *special, "\n", "\n\n", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return _parts(tokenizer)


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _rope(sections: list[int]) -> dict[str, Any]:
    return {"rope_type": "default", "mrope_section": sections, "rope_theta": 10000.0}


def _qwen2_5_vl(folder: Path) -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = Qwen2Tokenizer(
        **_byte_level(),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=special[1:2] + special[3:],
    )
    tokenizer.chat_template = _QWEN_TEMPLATE
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 8,
        "window_size": 32,
    }
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer) + 50,  # longer than the tokenizer, as the published one
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rope_parameters": _rope([1, 1, 2]),
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config=dict(**vision, out_hidden_size=32, fullatt_block_indexes=[1]),
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    _save(folder, Qwen2_5_VLForConditionalGeneration(config), tokenizer, _qwen_images())


def _qwen3_vl(folder: Path) -> None:
    _qwen2_5_vl(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    old = Qwen2_5_VLConfig.from_pretrained(folder)
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 8,
        "out_hidden_size": 32,
    }
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
            "rope_parameters": _rope([2, 1, 1]) | {"mrope_interleaved": True},
            "tie_word_embeddings": True,
        },
        vision_config=dict(**vision, num_position_embeddings=64, deepstack_visual_indexes=[0]),
        image_token_id=old.image_token_id,
        video_token_id=old.video_token_id,
        vision_start_token_id=old.vision_start_token_id,
        vision_end_token_id=old.vision_end_token_id,
        tie_word_embeddings=True,
    )
    _save(folder, Qwen3VLForConditionalGeneration(config), tokenizer, _qwen_images())


def _qwen_images() -> Any:
    return Qwen2VLImageProcessorPil(size={"shortest_edge": 256, "longest_edge": 4096}, patch_size=8)


def _gemma3(folder: Path) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    special += ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    tokenizer = GemmaTokenizer(
        **_sentencepiece(special),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "sot_token": "<start_of_turn>",
            "eot_token": "<end_of_turn>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    tokenizer.chat_template = _GEMMA_TEMPLATE
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
    text = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        sliding_window=12,  # shorter than the prefix, so that it has slid before anything is asked
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
        eos_token_id=[ids["<eos>"], ids["<end_of_turn>"]],
    )
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(**vision, image_size=48, patch_size=8, vision_use_head=False),
        mm_tokens_per_image=9,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )
    images = Gemma3ImageProcessorPil(size={"height": 48, "width": 48})
    _save(folder, Gemma3ForConditionalGeneration(config), tokenizer, images)


def _llava(folder: Path) -> None:
    special = ["<s>", "</s>", "<pad>", "<image>"]
    tokenizer = LlamaTokenizer(
        **_sentencepiece(special),
        legacy=True,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["<image>"],
    )
    tokenizer.chat_template = _LLAVA_TEMPLATE
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "projection_dim": 32,
    }
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision, image_size=40, patch_size=8),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=576,  # wrong, as it is where the tower was changed: nothing may count on it
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40})
    _save(folder, LlavaForConditionalGeneration(config), tokenizer, images)


def _save(folder: Path, model: Any, tokenizer: Any, images: Any) -> None:
    for name, parameter in model.named_parameters():
        # Freshly made models agree too much: everything is enlarged so that images and questions make a difference.
        if parameter.ndim > 1 or name.endswith("mm_input_projection_weight"):
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "llava": _llava,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "gemma3": _gemma3,
}


@dataclass(frozen=True)
class Download:
    """What a hospital would have downloaded."""

    family: str
    language_model: Path
    grounding: Path
    config: MedSegRConfig


def sam_sizes() -> GroundingConfig:
    """A SAM of two layers for 64 x 64 pixels."""
    return GroundingConfig(
        image_size=64,
        preprocessing=Preprocessing.SAM,
        refined=False,
        patch_size=16,
        width=32,
        layers=2,
        heads=2,
        window=3,
        global_layers=(1,),
        prompt_width=32,
        decoder_layers=2,
        decoder_heads=2,
        decoder_mlp_width=64,
    )


@pytest.fixture(scope="session")
def sam_config() -> GroundingConfig:
    return sam_sizes()


@pytest.fixture(scope="session", params=FAMILIES)
def download(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sam_config: GroundingConfig
) -> Download:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    FAMILIES[request.param](folder / "language")
    torch.save(Grounding(sam_config).state_dict(), folder / "sam.pth")
    config = MedSegRConfig(
        context_square=64,
        most_answer_tokens=24,
        language_storage="float32",
        grounding_storage="float32",
        grounding=sam_config,
    )
    return Download(request.param, folder / "language", folder / "sam.pth", config)
