"""Trains the demo model from scratch on a CPU: `python -m tests.demo_model.train` (--device cuda:
1.5 minutes on an H100).

Writes `workers/demo_model/kvmesh-demo/`. The chat template in that folder is written by hand and is
read, not made.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from tests.demo_model.build_tokenizer import VOCAB_SIZE, build_tokenizer, save_tokenizer
from tests.demo_model.corpus import Corpus, Dialogue, draw_dialogue
from tests.demo_model.hugging_face import load_tokenizer, untrained_model
from tests.demo_model.muon import Muon
from workers.demo_model import demo_model_dir

MODEL_FOLDER = demo_model_dir()
CONTEXT_TOKENS = 32_768
"""Room for long prompts in load tests.

Its answers were trained on dialogues of up to about a thousand tokens.
"""

SHAPE = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 512,
    "rope_theta": 1_000_000.0,
}
BATCH_TOKENS = 2_048
SPARE = -100
ANSWER = re.compile(
    r"<\|im_start\|>assistant\n(?:<think>\n\n</think>\n\n)?(.*?<\|im_end\|>)", re.DOTALL
)
"""What is learned of a rendered dialogue: each answer with its end, and the reasoning where there
is any.
"""


@dataclass(frozen=True)
class Example:
    """Token ids and, at each position, the id to predict next (SPARE where nothing is learned)."""

    ids: list[int]
    targets: list[int]


class Examples:
    """Dialogues → examples, through the real tokenizer and template."""

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus = corpus
        self.tokenizer: Any = load_tokenizer(folder)
        self.vocabulary = [
            self.tokenizer.decode([token]) for token in range(self.tokenizer.vocab_size)
        ]

    def render(self, dialogue: Dialogue) -> str:
        return self.tokenizer.apply_chat_template(
            dialogue.messages, tools=dialogue.tools or None, tokenize=False
        )

    def dialogue(self, dialogue: Dialogue) -> Example:
        text = self.render(dialogue)
        encoded = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        spans = [match.span(1) for match in ANSWER.finditer(text)]
        learned = [
            any(start <= begin < end for start, end in spans)
            for begin, _ in encoded["offset_mapping"]
        ]
        return shifted(encoded["input_ids"], learned)

    def raw(self, text: str) -> Example:
        ids = self.tokenizer.encode(text + "<|endoftext|>", add_special_tokens=False)
        return shifted(ids, [True] * len(ids))

    def draw(self, rng: Random) -> Example:
        if rng.random() < 0.012:
            return self.raw(rng.choice(self.corpus.talk["raw"]))
        return self.dialogue(draw_dialogue(self.corpus, rng, self.vocabulary))


def shifted(ids: list[int], learned: list[bool]) -> Example:
    """Each position predicts its successor, if that one is learned."""
    targets = [
        token if learns else SPARE for token, learns in zip(ids[1:], learned[1:], strict=True)
    ]
    return Example(ids[:-1], targets)


def batches(examples: Examples, rng: Random, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids, targets) of shape [n, length], about BATCH_TOKENS each; neighbours in length share a
    batch.
    """
    made = 0
    while made < steps:
        pool = sorted(
            (examples.draw(rng) for _ in range(400)), key=lambda example: len(example.ids)
        )
        groups: list[list[Example]] = [[]]
        for example in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        for group in groups[: steps - made]:
            length = max(len(example.ids) for example in group)
            ids = [example.ids + [0] * (length - len(example.ids)) for example in group]
            targets = [example.targets + [SPARE] * (length - len(example.ids)) for example in group]
            yield torch.tensor(ids), torch.tensor(targets)
            made += 1


def new_model() -> Any:
    """Qwen3 in small, with the embedding also as output layer."""
    return untrained_model(
        vocab_size=VOCAB_SIZE,
        tie_word_embeddings=True,
        max_position_embeddings=CONTEXT_TOKENS,
        **SHAPE,
    )


def learning_share(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short rise, a plateau, and a linear fall over the last
    half.
    """
    return min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)


def train(model: Any, examples: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    """Padding is on the right and attention is causal, so no mask is needed."""
    matrices = [
        weight
        for name, weight in model.named_parameters()
        if weight.ndim == 2 and "embed" not in name
    ]
    others = [
        weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name
    ]
    muon, adam = (
        Muon(matrices),
        torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0),
    )
    started, running = time.monotonic(), 8.0
    for step, batch in enumerate(examples):
        ids, targets = (part.to(model.device) for part in batch)
        learned = targets != SPARE
        hidden = model.model(ids, use_cache=False).last_hidden_state[learned]
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden), targets[learned])
        loss.backward()
        share = learning_share(step, steps)
        muon.step(0.02 * share)
        adam.param_groups[0]["lr"] = 0.004 * share
        adam.step()
        model.zero_grad(set_to_none=True)
        running += 0.05 * (loss.item() - running)
        if step % 20 == 0:
            print(
                f"step {step}/{steps} loss {running:.4f} after {time.monotonic() - started:.0f} s",
                flush=True,
            )


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """bfloat16 weights, and the generation settings that a server takes over where the client says
    nothing.
    """
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    model.config.eos_token_id, model.config.pad_token_id = ends[0], ends[1]
    model.config.dtype = torch.bfloat16
    model.to("cpu", torch.bfloat16).save_pretrained(folder)
    # Nearly greedy: the model knows one answer to each question, and at temperature 1 it would
    # stumble now and then.
    generation = {
        "do_sample": True,
        "temperature": 0.1,
        "top_k": 20,
        "top_p": 0.95,
        "eos_token_id": ends,
        "pad_token_id": ends[1],
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", "utf-8")


def main() -> None:
    """Builds the tokenizer, trains and saves."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--steps", type=int, default=1_500)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.out != MODEL_FOLDER:
        (options.out / "chat_template.jinja").write_bytes(
            (MODEL_FOLDER / "chat_template.jinja").read_bytes()
        )
    corpus, rng = Corpus(), Random(options.seed)
    save_tokenizer(
        build_tokenizer([*corpus.everything() * 3, *corpus.talk["general"]]),
        options.out,
        CONTEXT_TOKENS,
    )
    examples = Examples(corpus, options.out)
    # The first tokenizer renders the dialogues from which the final one learns lower case, JSON and
    # the template's own words.
    rendered = [examples.render(draw_dialogue(corpus, rng, [])) for _ in range(1_500)]
    save_tokenizer(
        build_tokenizer([*corpus.everything(), *rendered, *corpus.talk["general"]]),
        options.out,
        CONTEXT_TOKENS,
    )
    examples = Examples(corpus, options.out)
    model = new_model().to(options.device)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    train(model, batches(examples, rng, options.steps), options.steps)
    save(model, examples.tokenizer, options.out)


if __name__ == "__main__":
    main()
