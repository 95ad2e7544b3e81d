"""Greedy decoding with transformers, and how sure the model was of it."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Decoded:
    """New token ids without the end token, why decoding ended, and the smallest lead of a chosen
    token over the next best, in nats.
    """

    token_ids: list[int]
    finish: str
    margin_min: float


@torch.inference_mode()
def greedy(model: Any, prompt_ids: list[int], max_tokens: int, end_ids: frozenset[int]) -> Decoded:
    """Decodes one prompt, one token a step, with the cache."""
    ids, cache = torch.tensor([prompt_ids]), None
    chosen: list[int] = []
    margin_min = float("inf")
    while len(chosen) < max_tokens:
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        best, second = out.logits[0, -1].float().topk(2).values.tolist()
        token = int(out.logits[0, -1].argmax())
        margin_min = min(margin_min, best - second)
        if token in end_ids:
            return Decoded(chosen, "stop", margin_min)
        chosen.append(token)
        ids = torch.tensor([[token]])
    return Decoded(chosen, "length", margin_min)


def end_ids(tokenizer: Any) -> frozenset[int]:
    """The two tokens that end a turn."""
    return frozenset(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


def prompt_ids(tokenizer: Any, entry: dict[str, Any]) -> list[int]:
    """Token ids of a golden's prompt: plain text, or messages through the chat template."""
    if "prompt" in entry:
        return tokenizer.encode(entry["prompt"], add_special_tokens=False)
    text = tokenizer.apply_chat_template(
        entry["messages"],
        tools=entry.get("tools"),
        tokenize=False,
        add_generation_prompt=True,
        **entry.get("template_kwargs", {}),
    )
    return tokenizer.encode(text, add_special_tokens=False)
