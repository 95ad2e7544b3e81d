"""Run as a program: write a tiny random SDAR with a byte-level tokenizer, or print what diffusion
makes with it, computed by transformers alone.

    python tiny_sdar.py build DIRECTORY
    python tiny_sdar.py answers DIRECTORY < [[prompt, new_tokens], ...] > outputs.json

A program, as tiny_qwen3.py is one. An SDAR has the tensors of a Qwen3 and other attention: each
token sees its own block of four whole, and all blocks before it.
"""

import json
import sys
from pathlib import Path

import torch

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()  # as in tiny_qwen3.py

from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: E402

from tests.sglang.tiny_qwen3 import byte_tokenizer  # noqa: E402

BLOCK = 4
MASK = 151_669
"""SGLang has both for this architecture, whatever a model's configuration says."""

SURE = 0.95
"""LowConfidence unmasks what is surer than this, or else the surest."""

EOS_ID = 258
WRITTEN = 384
"""Ids from here on stand for nothing and are not written."""


def build(directory: Path) -> None:
    torch.manual_seed(11)
    config = Qwen3Config(
        vocab_size=MASK + 1,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        rope_theta=10_000.0,  # what SGLang's SDAR takes without another word
        initializer_range=0.3,
        tie_word_embeddings=False,
        eos_token_id=EOS_ID,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config).float()
    model.lm_head.weight.data[WRITTEN:] = 0
    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    path = directory / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"architectures": ["SDARForCausalLM"]})
    )


class Diffusion:
    """LowConfidence over a Qwen3, one block after the other."""

    def __init__(self, directory: Path) -> None:
        config = Qwen3Config.from_pretrained(directory, architectures=["Qwen3ForCausalLM"])
        self._model = Qwen3ForCausalLM.from_pretrained(
            directory, config=config, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def answer(self, prompt: list[int], new_tokens: int) -> list[int]:
        known = list(prompt)
        while len(known) < len(prompt) + new_tokens:
            known = self._with_next_block(known)
        return known[len(prompt) :][:new_tokens]

    def _with_next_block(self, known: list[int]) -> list[int]:
        """The tokens so far and the rest of the block that they end in, or a whole one."""
        filled = known + [MASK] * (BLOCK - len(known) % BLOCK)
        open_places = list(range(len(known), len(filled)))
        while open_places:
            chances = self._logits(filled).softmax(-1)
            best = {place: chances[place].max(-1) for place in open_places}
            sure = [place for place in open_places if best[place].values > SURE]
            for place in sure or [max(open_places, key=lambda at: float(best[at].values))]:
                filled[place] = int(best[place].indices)
                open_places.remove(place)
        return filled

    @torch.no_grad()
    def _logits(self, ids: list[int]) -> torch.Tensor:
        """Shape [n, vocabulary]."""
        block = torch.arange(len(ids)) // BLOCK
        unseen = block[:, None] < block[None, :]
        mask = torch.zeros(len(ids), len(ids)).masked_fill(unseen, torch.finfo(torch.float32).min)
        return self._model(
            input_ids=torch.tensor([ids]), attention_mask=mask[None, None], use_cache=False
        ).logits[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]))
    else:
        model = Diffusion(Path(sys.argv[2]))
        json.dump([model.answer(*asked) for asked in json.load(sys.stdin)], sys.stdout)
