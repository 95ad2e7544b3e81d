"""Makes tiny random diffusion models: `python tiny_diffusion.py FOLDER flux wan` (a folder each).

Their pictures mean nothing; they differ by seed and prompt.
"""

import json
import sys
from pathlib import Path
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()  # before the imports of torch

import diffusers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from workers.demo_model import demo_model_dir  # noqa: E402

WIDTH = 32
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?-"


def clip_tokenizer(folder: Path) -> Any:
    folder.mkdir(parents=True)
    pieces = ["<|startoftext|>", "<|endoftext|>"]
    pieces += [letter + end for letter in sorted(set(LETTERS.lower())) for end in ("", "</w>")]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    merges.write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(
        vocab=str(vocabulary), merges=str(merges), model_max_length=77
    )


def t5_tokenizer() -> Any:
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    vocabulary += [(letter, -4.0) for letter in LETTERS]
    vocabulary += [(f"<extra_id_{index}>", 0.0) for index in range(99, -1, -1)]
    tokenizer = transformers.T5TokenizerFast(vocab=vocabulary, extra_ids=100)
    tokenizer.model_max_length = 64
    return tokenizer


def t5_encoder(*, of_wan: bool) -> Any:
    config, model = (
        (transformers.UMT5Config, transformers.UMT5EncoderModel)
        if of_wan
        else (transformers.T5Config, transformers.T5EncoderModel)
    )
    return model(
        config(
            vocab_size=256, d_model=WIDTH, d_kv=8, d_ff=64, num_layers=1, num_heads=4,
            feed_forward_proj="gated-gelu", dense_act_fn="gelu_new", is_encoder_decoder=False,
            use_cache=False,
        )
    )  # fmt: skip


def clip_encoder() -> Any:
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=256, hidden_size=WIDTH, intermediate_size=64, num_attention_heads=4,
            num_hidden_layers=1, projection_dim=WIDTH, max_position_embeddings=77,
            bos_token_id=0, eos_token_id=1, pad_token_id=1, hidden_act="gelu",
        )
    )  # fmt: skip


def flux(scratch: Path) -> Any:
    return diffusers.FluxPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=64, num_layers=1, num_single_layers=1,
            attention_head_dim=16, num_attention_heads=4, joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH, axes_dims_rope=(4, 6, 6), guidance_embeds=True,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKL(
            sample_size=32, block_out_channels=(4, 8, 8, 8), layers_per_block=1,
            latent_channels=16, norm_num_groups=1, use_quant_conv=False,
            use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        text_encoder=clip_encoder(), tokenizer=clip_tokenizer(scratch),
        text_encoder_2=t5_encoder(of_wan=False), tokenizer_2=t5_tokenizer(),
    )  # fmt: skip


def flux_of_pictures(_scratch: Path) -> Any:
    """Makes pictures of prompts, and changes others: of the second Flux's smaller kind, whose text
    encoder is a Qwen3 of which the hidden states of three layers are taken.
    """
    demo = demo_model_dir()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(demo)
    tokenizer.chat_template = (demo / "chat_template.jinja").read_text()
    encoder = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=64, head_dim=8,
            num_hidden_layers=28, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=1024,
        )
    )  # fmt: skip
    return diffusers.Flux2KleinPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKLFlux2(
            block_out_channels=(4, 8, 8, 8), layers_per_block=1, latent_channels=8,
            norm_num_groups=1, sample_size=32,
        ),
        text_encoder=encoder, tokenizer=tokenizer,
        transformer=diffusers.Flux2Transformer2DModel(
            in_channels=32, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=4, joint_attention_dim=3 * WIDTH, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=True,
    )  # fmt: skip


def wan_parts(**of_transformer: Any) -> dict[str, Any]:
    """What Wan's pipelines have in common."""
    return {
        "transformer": diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, out_channels=16,
            text_dim=WIDTH, freq_dim=256, ffn_dim=WIDTH, num_layers=2, cross_attn_norm=True,
            qk_norm="rms_norm_across_heads", rope_max_seq_len=32, **of_transformer,
        ),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000,
            flow_shift=3.0,
        ),
        "vae": diffusers.AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        "text_encoder": t5_encoder(of_wan=True),
        "tokenizer": t5_tokenizer(),
    }  # fmt: skip


def wan(_scratch: Path) -> Any:
    return diffusers.WanPipeline(**wan_parts(in_channels=16))


def wan_of_pictures(_scratch: Path) -> Any:
    """A video begins with a picture, which its transformer sees in latents and by an encoder."""
    encoder = transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            image_size=32, patch_size=16, projection_dim=WIDTH,
        )
    )  # fmt: skip
    return diffusers.WanImageToVideoPipeline(
        **wan_parts(in_channels=36, image_dim=WIDTH, added_kv_proj_dim=24),
        image_encoder=encoder,
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    )


MAKERS = {
    "flux": flux,
    "flux-of-pictures": flux_of_pictures,
    "wan": wan,
    "wan-of-pictures": wan_of_pictures,
}


def main(folder: Path, *names: str) -> None:

    torch.manual_seed(0)
    for name in names:
        made = MAKERS[name](folder / f"scratch-{name}")
        made.save_pretrained(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
