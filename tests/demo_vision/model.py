"""The shape of the demo model that sees, and the files beside its weights.

It is a Qwen3-VL: its language model is the Qwen3 of the text demo, its picture tower attends over
whole pictures without windows, so that both train fast, and SGLang's encoder process loads the
tower alone. One of the tower's layers feeds the language model's first layer as well (DeepStack),
as in every released Qwen3-VL: an embedding is two hidden sizes wide.
"""

import json
from pathlib import Path
from typing import Any

import torch

from tests.demo_model.build_tokenizer import CONTROL
from tests.demo_model.hugging_face import declare_vision_operators

VISION_CONTROL = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
VOCAB_SIZE = 1024
CONTEXT_TOKENS = 32_768
PATCH, MERGE, FRAMES = 16, 2, 2
"""Patches are PATCH pixels wide and high, as in Qwen3-VL; MERGE by MERGE of them make a token, and
a picture counts as FRAMES equal frames.
"""

TOKEN_PIXELS = (PATCH * MERGE) ** 2
PICTURE_TOKENS = (4, 16)
"""Smaller pictures are enlarged and larger ones reduced to this many tokens."""

TEXT = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 384,
    "max_position_embeddings": CONTEXT_TOKENS,
    "rope_parameters": {
        "type": "mrope",
        "rope_type": "default",
        "mrope_section": [12, 10, 10],
        "mrope_interleaved": True,
        "rope_theta": 1_000_000.0,
    },
    "rope_theta": 1_000_000.0,
}
TOWER = {
    "depth": 4,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_heads": 4,
    "in_channels": 3,
    "patch_size": PATCH,
    "spatial_merge_size": MERGE,
    "temporal_patch_size": FRAMES,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [1],
    "out_hidden_size": 128,
}


def untrained(tokenizer: Any) -> Any:
    """The model with random weights, its embedding also the output layer."""
    declare_vision_operators()
    from transformers import (  # noqa: PLC0415  # not before the operators are declared
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    def of(token: str) -> int:
        return tokenizer.convert_tokens_to_ids(token)

    ends = {"eos_token_id": of("<|im_end|>"), "pad_token_id": of("<|endoftext|>")}
    config = Qwen3VLConfig(
        text_config={"vocab_size": VOCAB_SIZE, "tie_word_embeddings": True, **ends, **TEXT},
        vision_config=TOWER,
        image_token_id=of("<|image_pad|>"),
        video_token_id=of("<|video_pad|>"),
        vision_start_token_id=of("<|vision_start|>"),
        vision_end_token_id=of("<|vision_end|>"),
        tie_word_embeddings=True,
        **ends,
    )
    return Qwen3VLForConditionalGeneration(config)


def load(folder: Path, dtype: torch.dtype) -> Any:
    """The model in evaluation mode."""
    declare_vision_operators()
    from transformers import Qwen3VLForConditionalGeneration  # noqa: PLC0415

    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights in bfloat16, and the settings of generation and of picture processors."""
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    model.config.dtype = model.config.text_config.dtype = torch.bfloat16
    model.config.vision_config.dtype = torch.bfloat16
    model.to("cpu", torch.bfloat16).save_pretrained(folder)
    # Nearly greedy, as the text demo.
    write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.1,
            "top_k": 20,
            "top_p": 0.95,
            "eos_token_id": ends,
            "pad_token_id": ends[1],
        },
    )
    fewest, most = (tokens * TOKEN_PIXELS for tokens in PICTURE_TOKENS)
    processing = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "merge_size": MERGE,
        "size": {"shortest_edge": fewest, "longest_edge": most},
        "processor_class": "Qwen3VLProcessor",
    }
    write_json(
        folder / "preprocessor_config.json",
        {**processing, "image_processor_type": "Qwen2VLImageProcessor"},
    )
    write_json(
        folder / "video_preprocessor_config.json",
        {**processing, "video_processor_type": "Qwen3VLVideoProcessor"},
    )


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Qwen3VLProcessor",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "add_bos_token": False,
            "additional_special_tokens": [*CONTROL[1:], *VISION_CONTROL],
            "clean_up_tokenization_spaces": False,
            "model_max_length": CONTEXT_TOKENS,
        },
    )


def write_json(path: Path, content: Any) -> None:
    """Two spaces, and a line feed at the end."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
