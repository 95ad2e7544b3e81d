"""Run as a program: write a tiny random Qwen3 with a byte-level tokenizer, or print what
transformers generates with it.

    python tiny_qwen3.py build DIRECTORY [SEED [LAYERS [MIDDLE]]]
    python tiny_qwen3.py greedy DIRECTORY MAX_NEW_TOKENS < prompts.json > outputs.json

A program, since pytest's process must not import torch: its warnings are errors there, and its
threads outlive the tests.
"""

import json
import sys
from pathlib import Path

import torch

from workers.sglang.cpu import activate_if_cpu_host

# transformers imports torchvision, which does not import without the stand-ins
activate_if_cpu_host()

from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM  # noqa: E402

EOS = "<|im_end|>"
SPECIALS = ["<|endoftext|>", "<|im_start|>", EOS]


def build(directory: Path, seed: int = 7, layers: int = 2, middle: int = 128) -> None:
    """Random weights of a wide range and untied embeddings: with the usual ones a model echoes its
    last token and proves nothing.
    """
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=384,
        hidden_size=64,
        intermediate_size=middle,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=False,
        eos_token_id=258,
        dtype="float32",
    )
    Qwen3ForCausalLM(config).float().save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and SPECIALS behind them."""
    vocabulary = {
        symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, additional_special_tokens=SPECIALS[:2]
    )
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    return fast


def greedy(directory: Path, max_new_tokens: int) -> None:
    model = Qwen3ForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    outputs = []
    for prompt in json.load(sys.stdin):
        ids = torch.tensor([prompt])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=0,
        )
        outputs.append(out[0, len(prompt) :].tolist())
    json.dump(outputs, sys.stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        greedy(Path(sys.argv[2]), int(sys.argv[3]))
