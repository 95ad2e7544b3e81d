"""Run as a program: write a tiny random model that sees, of each of three families, or print what
transformers generates with them.

    python tiny_vl.py build DIRECTORY
    python tiny_vl.py greedy DIRECTORY MAX_NEW_TOKENS < chats.json > outputs_by_family.json

Each model is in a folder of its family's name. A chat is a list of texts and of pictures (data
URLs) of one user message; an output is the token ids, and the number of the prompt's. A program,
since pytest's process must not import torch.
"""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import torch

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()  # transformers imports torchvision, which needs the stand-ins

import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import AutoImageProcessor, PreTrainedTokenizerFast  # noqa: E402

FAMILIES = {
    "qwen2-vl": ("Qwen2VL", "Qwen2VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen2.5-vl": ("Qwen2_5_VL", "Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen3-vl": ("Qwen3VL", "Qwen3VLProcessor", "Qwen3VLVideoProcessor"),
}
"""The stem of transformers' classes, and the processors that the files name."""

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
PADS = ("<|image_pad|>", "<|video_pad|>")
TEMPLATE = """\
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{- message.content }}{%- else %}
{%- for part in message.content %}
{%- if part.type in ('image', 'image_url') %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type in ('video', 'video_url') %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif 'text' in part %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}
{{- '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and the marks of the families."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={each: at for at, each in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([*MARKS, *PADS])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


def config(family: str, ids: dict[str, int]) -> Any:
    """Two layers of language and two of vision; deepstack where the family has it."""
    stem = FAMILIES[family][0]
    newest = family == "qwen3-vl"
    text = {
        "vocab_size": 384,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
        "eos_token_id": ids["<|im_end|>"],
        "rope_theta": 1e6,
        "rope_parameters": {
            "type": "mrope",
            "rope_type": "default",
            "mrope_section": [2, 3, 3],
            "rope_theta": 1e6,
        },
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "num_heads": 4,
        "patch_size": 16 if newest else 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
        "in_chans": 3,
        "initializer_range": 0.3,
        "hidden_size": 64,
    }
    if family == "qwen2-vl":
        vision |= {"embed_dim": 64, "mlp_ratio": 2}
    else:
        vision |= {"out_hidden_size": 64, "intermediate_size": 128}
    if family == "qwen2.5-vl":
        vision |= {"window_size": 112, "fullatt_block_indexes": [1]}
    if newest:
        text |= {"head_dim": 16}
        text["rope_parameters"] |= {"mrope_interleaved": True}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    return getattr(transformers, f"{stem}Config")(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=False,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def build(family: str, directory: Path) -> None:
    """Random weights of a wide range: with the usual ones all pictures look alike."""
    torch.manual_seed(7)
    stem, processor, video_processor = FAMILIES[family]
    fast = tokenizer()
    ids = {mark: fast.convert_tokens_to_ids(mark) for mark in (*MARKS, *PADS)}
    made = config(family, ids)
    model = getattr(transformers, f"{stem}ForConditionalGeneration")(made).float()
    for name, weights in model.named_parameters():
        if "visual" in name and weights.dim() > 1:
            weights.data.normal_(0, 0.1 if "patch_embed" in name else 0.3)
    model.save_pretrained(directory)
    fast.save_pretrained(directory)
    side = 2 * made.vision_config.patch_size
    common = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "do_convert_rgb": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "patch_size": made.vision_config.patch_size,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 4 * side**2, "longest_edge": 64 * side**2},
        "processor_class": processor,
    }
    for file, more in {
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "min_pixels": 4 * side**2,
            "max_pixels": 64 * side**2,
        },
        "video_preprocessor_config.json": {"video_processor_type": video_processor},
    }.items():
        (directory / file).write_text(json.dumps(common | more))
    file = directory / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"processor_class": processor}))


def greedy(directory: Path, chats: list[list[str]], max_new_tokens: int) -> list[Any]:
    fast = PreTrainedTokenizerFast.from_pretrained(directory)
    pictures = AutoImageProcessor.from_pretrained(directory)
    model = transformers.AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    pad = fast.convert_tokens_to_ids("<|image_pad|>")
    outputs = []
    for chat in chats:
        seen = [read(part) for part in chat if part.startswith("data:")]
        content = [
            {"type": "image"} if part.startswith("data:") else {"type": "text", "text": part}
            for part in chat
        ]
        ids = fast.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, return_dict=False
        )
        named: dict[str, Any] = {}
        if seen:
            named = dict(pictures(images=seen, return_tensors="pt"))
            counts = iter([int(grid.prod()) // 4 for grid in named["image_grid_thw"]])
            ids = [
                each for token in ids for each in [token] * (next(counts) if token == pad else 1)
            ]
            named["mm_token_type_ids"] = torch.tensor([[int(token == pad) for token in ids]])
        out = model.eval().generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            min_new_tokens=max_new_tokens,
            pad_token_id=0,
            **named,
        )
        outputs.append([out[0, len(ids) :].tolist(), len(ids)])
    return outputs


def read(url: str) -> Image.Image:
    data = base64.b64decode(url.partition(",")[2])
    return Image.open(io.BytesIO(data)).convert("RGB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = {family: Path(sys.argv[2]) / family for family in FAMILIES}
    if sys.argv[1] == "build":
        for family, directory in made.items():
            build(family, directory)
    else:
        asked, new = json.load(sys.stdin), int(sys.argv[3])
        json.dump({family: greedy(made[family], asked, new) for family in made}, sys.stdout)
