"""The language side of `tiny`: transformers' Llava at a small size, with the files that a downloaded one would bring.

Its tokenizer, chat template and image processor are of the kinds that transformers saves and loads, so that from there
on `tiny` goes the way of every other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from inference.medseg_r.config import MedSegRConfig
from inference.medseg_r.tokenizer import ChatTokenizer

__all__ = ["build_image_processor", "build_language_model", "build_tokenizer", "train_tokenizer"]

_SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>", "<user>", "<assistant>", "<p>", "</p>", "[SEG]")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{{ '<user>' if message['role'] == 'user' else '<assistant>' }}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Tokenizer:
    """Train byte-pair encoding on `texts`; what it never saw falls back to bytes, so any script can be asked in."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build_tokenizer(tokenizer: Tokenizer) -> ChatTokenizer:
    """Return what `train_tokenizer` made with a chat template."""
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=[token for token in _SPECIAL if token not in ("<pad>", "<bos>", "<eos>")],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return ChatTokenizer(wrapped)


def build_image_processor(config: MedSegRConfig) -> Any:
    """Return the PIL image processor: a padded uint8 RGB square becomes the mean of each area, within -2 and 2."""
    side = config.context_image_size
    return CLIPImageProcessorPil(
        do_resize=True,
        size={"height": side, "width": side},
        resample=Image.Resampling.BOX,
        do_center_crop=False,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    )


def build_language_model(config: MedSegRConfig, tokenizer: ChatTokenizer) -> Any:
    """Build transformers' Llava at the sizes of `config`, with random weights."""
    vision = CLIPVisionConfig(
        hidden_size=config.vision_width,
        intermediate_size=2 * config.vision_width,
        projection_dim=config.vision_width,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_heads,
        image_size=config.context_image_size,
        patch_size=config.context_patch_size,
    )
    text = LlamaConfig(
        vocab_size=tokenizer.size,
        hidden_size=config.language_width,
        intermediate_size=3 * config.language_width,
        num_hidden_layers=config.language_layers,
        num_attention_heads=config.language_heads,
        num_key_value_heads=config.language_heads,
        max_position_embeddings=config.language_context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad,
        bos_token_id=tokenizer.pretrained.bos_token_id,
        eos_token_id=tokenizer.eos,
    )
    llava = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.image,
        image_seq_length=config.visual_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(llava)
