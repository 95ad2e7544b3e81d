"""Writes `golden.json`: `python -m tests.demo_model.make_golden`.

Greedy answers on which float32 and bfloat16 agree.
"""

import argparse
import json
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any

import torch

from tests.demo_model.corpus import HERE
from tests.demo_model.decoding import end_ids, greedy, prompt_ids
from tests.demo_model.golden_prompts import PROMPTS
from tests.demo_model.hugging_face import load_model, load_tokenizer
from tests.demo_model.train import MODEL_FOLDER

MARGIN_MIN = 0.5
"""Nats between the chosen token and the next. Room for another attention kernel in bfloat16."""


def filled(entry: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """The entry with earlier golden answers put where it names them."""
    if "messages" not in entry:
        return entry
    messages = [
        {**message, "content": texts.get(message["content"][1:-1], message["content"])}
        if message["role"] == "assistant"
        else message
        for message in entry["messages"]
    ]
    return {**entry, "messages": messages}


def golden(entry: dict[str, Any], tokenizer: Any, models: list[Any]) -> tuple[dict[str, Any], bool]:
    """(the entry with its answer, whether it is steady enough to be compared across kernels)."""
    ids, ends = prompt_ids(tokenizer, entry), end_ids(tokenizer)
    answers = [greedy(model, ids, entry["max_tokens"], ends) for model in models]
    first = answers[0]
    margin = min(answer.margin_min for answer in answers)
    steady = margin >= MARGIN_MIN and all(answer.token_ids == first.token_ids for answer in answers)
    done = {
        **entry,
        "prompt_tokens": len(ids),
        "prompt_token_ids_sha256": sha256(pack(f"<{len(ids)}I", *ids)).hexdigest(),
        "text": tokenizer.decode(first.token_ids),
        "token_ids": first.token_ids,
        "finish": first.finish,
        "margin_min": round(margin, 2),
    }
    return done, steady


def main() -> None:
    """Prints each answer; leaves out, and names, what is not steady."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--out", type=Path, default=HERE / "golden.json")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(options.model)
    models = [load_model(options.model, dtype) for dtype in (torch.float32, torch.bfloat16)]
    kept: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for prompt in PROMPTS:
        entry, steady = golden(filled(prompt, texts), tokenizer, models)
        texts[entry["name"]] = entry["text"]
        print(
            (
                f"{entry['name']}: {'' if steady else 'LEFT OUT '}margin {entry['margin_min']} "
                f"{entry['finish']}\n  {entry['text']!r}"
            ),
            flush=True,
        )
        if steady:
            kept.append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in kept)
    options.out.write_text(f"[\n{lines}\n]\n", "utf-8")
    print(
        f"{len(kept)} of {len(PROMPTS)} kept, smallest margin "
        f"{min(entry['margin_min'] for entry in kept)}"
    )


if __name__ == "__main__":
    main()
