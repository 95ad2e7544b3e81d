"""The shape of the demo model that draws, and its folder in the layout of diffusers.

It is a Flux: a transformer that turns noise into the latents of a picture in a few steps, and a VAE
of 8 pixels a latent. Prompts have whole words for tokens. The CLIP reads them in order, and what it
makes of them moves every layer of the transformer. The T5 tells the words one by one: its attention
is zero, so what it says of a word, or of padding, is the same however long the padding is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from tests.demo_image.prompts import all_words
from tests.demo_model.hugging_face import declare_vision_operators

PIXELS_A_TOKEN = 16
"""A token of the transformer is a square of so many pixels: 8 of the VAE, and 2 x 2 latents."""

LATENTS = 16
TEXT_WIDTH, POOLED_WIDTH = 128, 192
PAD, END, UNKNOWN, START = "<pad>", "</s>", "<unk>", "<s>"
CONTROL = (PAD, END, UNKNOWN, START)
VOCAB_SIZE = 192

TRANSFORMER: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 4 * LATENTS,
    "num_layers": 2,
    "num_single_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 6,
    "joint_attention_dim": TEXT_WIDTH,
    "pooled_projection_dim": POOLED_WIDTH,
    "guidance_embeds": False,
    "axes_dims_rope": [8, 12, 12],
}
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "d_model": TEXT_WIDTH,
    "d_kv": 32,
    "d_ff": 256,
    "num_layers": 1,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
    "dense_act_fn": "gelu_new",
    "is_encoder_decoder": False,
    "use_cache": False,
    "pad_token_id": CONTROL.index(PAD),
    "eos_token_id": CONTROL.index(END),
}
POOLED: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": POOLED_WIDTH,
    "intermediate_size": 2 * POOLED_WIDTH,
    "projection_dim": POOLED_WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 77,
    "bos_token_id": CONTROL.index(START),
    "eos_token_id": CONTROL.index(END),
    "pad_token_id": CONTROL.index(PAD),
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 32, 64, 64],
    "layers_per_block": 1,
    "latent_channels": LATENTS,
    "norm_num_groups": 8,
    "sample_size": 256,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "mid_block_add_attention": False,
}
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}


def untrained_transformer() -> Any:
    """The transformer with random weights, whose blocks do nothing."""
    transformer = _diffusers().FluxTransformer2DModel(**TRANSFORMER)
    silent = [layer for name, layer in transformer.named_modules() if name.endswith("norm.linear")]
    silent += [transformer.norm_out.linear, transformer.proj_out]
    for block in transformer.transformer_blocks:
        silent += [block.norm1.linear, block.norm1_context.linear]
    for layer in silent:  # blocks that do nothing at first learn fastest
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


def untrained_text_encoder() -> Any:
    """The T5 with random weights, and attention that stays zero."""
    declare_vision_operators()
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    encoder = T5EncoderModel(T5Config(**TEXT))
    for block in encoder.encoder.block:
        attention = block.layer[0].SelfAttention.requires_grad_(requires_grad=False)
        nn.init.zeros_(attention.o.weight)
    return encoder


def untrained_pooled_encoder() -> Any:
    """The CLIP with random weights."""
    declare_vision_operators()
    from transformers import CLIPTextConfig, CLIPTextModel  # noqa: PLC0415

    return CLIPTextModel(CLIPTextConfig(**POOLED))


def untrained_vae() -> Any:
    """The VAE with random weights."""
    return _diffusers().AutoencoderKL(**VAE)


def _diffusers() -> Any:
    declare_vision_operators()
    import diffusers  # noqa: PLC0415  # not before the operators are declared

    return diffusers


def word_tokenizer(begin: str = "") -> Tokenizer:
    """Words in small letters and marks, an end after each prompt; a T5 has nothing before it."""
    vocab = {token: number for number, token in enumerate([*CONTROL, *all_words()])}
    assert len(vocab) <= VOCAB_SIZE
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    around = [(token, vocab[token]) for token in ([begin] if begin else []) + [END]]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {END}".strip(), special_tokens=around
    )
    return tokenizer


def save(
    weights: Mapping[str, Mapping[str, Tensor]], scaling: tuple[float, float], out: Path
) -> None:
    """Writes a pipeline with these weights of its four parts, in bfloat16.

    Args:
        weights: names and tensors of each part.
        scaling: what latents are shifted and scaled by.
        out: the folder, which may exist.
    """
    diffusers = _diffusers()
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(**VAE, shift_factor=scaling[0], scaling_factor=scaling[1])
    parts: dict[str, Any] = {
        "vae": vae,
        "transformer": untrained_transformer(),
        "text_encoder": untrained_pooled_encoder(),
        "text_encoder_2": untrained_text_encoder(),
    }
    for name, part in parts.items():
        found = part.load_state_dict(weights[name], strict=False)
        assert not found.unexpected_keys, found
        assert all("embed_tokens" in key for key in found.missing_keys), found
    shared = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN}
    pipeline = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=word_tokenizer(START), model_max_length=77, bos_token=START, **shared
        ),
        tokenizer_2=PreTrainedTokenizerFast(
            tokenizer_object=word_tokenizer(), model_max_length=512, **shared
        ),
        **parts,
    )
    pipeline.to(torch.bfloat16).save_pretrained(out)
    for config in out.glob("*/config.json"):  # where it was made is nobody's business
        content = json.loads(config.read_text("utf-8"))
        content.pop("_name_or_path", None)
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
