"""Measures the demo model: `python -m tests.demo_model.evaluate`.

Share of exact greedy answers, trained and held-out phrasings apart.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch

from tests.demo_model.corpus import (
    Corpus,
    Dialogue,
    chat_turn,
    conversation,
    draw_dialogue,
    spoken,
    unknown_turn,
)
from tests.demo_model.decoding import end_ids, greedy, prompt_ids
from tests.demo_model.hugging_face import load_model, load_tokenizer
from tests.demo_model.train import MODEL_FOLDER


def question(text: str, answer: str) -> Dialogue:
    """A question without system prompt or history."""
    return Dialogue([{"role": "user", "content": text}, {"role": "assistant", "content": answer}])


def groups(corpus: Corpus) -> Iterator[tuple[str, list[Dialogue]]]:
    """Named sets of dialogues; the last answer of each is what the model must say."""
    rng = Random(1234)
    talk = [*corpus.talk["chat"], *corpus.long]
    yield (
        "facts, written phrasings",
        [question(ask, fact["say"]) for fact in corpus.facts for ask in fact["ask"]],
    )
    held = [(ask, fact["say"]) for fact in corpus.facts for ask in fact["held"]]
    yield "facts, held out", [question(ask, say) for ask, say in held]
    yield (
        "facts, held out, lower case without mark",
        [question(ask.lower().rstrip("?."), say) for ask, say in held],
    )
    yield (
        "facts, held out, after small talk",
        [
            Dialogue(
                [*spoken(chat_turn(corpus, rng), thinking=False), *question(ask, say).messages]
            )
            for ask, say in held
        ],
    )
    yield (
        "talk and long answers",
        [question(ask, entry["say"]) for entry in talk for ask in entry["ask"][:3]],
    )
    yield (
        "talk and long answers, held out",
        [question(ask, entry["say"]) for entry in talk for ask in entry.get("held", [])],
    )
    yield (
        "unknown questions",
        [Dialogue(spoken(unknown_turn(corpus, rng, []), thinking=False)) for _ in range(60)],
    )
    yield (
        "conversations of 2 to 5 turns",
        [conversation(corpus, rng, [], turns=rng.randint(2, 5)) for _ in range(60)],
    )
    yield (
        "thinking",
        [conversation(corpus, rng, [], turns=rng.randint(1, 3), thinking=True) for _ in range(40)],
    )
    drawn = (draw_dialogue(corpus, rng, []) for _ in range(500))
    yield "tools", [dialogue for dialogue in drawn if dialogue.tools][:60]


def answered(tokenizer: Any, dialogue: Dialogue) -> tuple[list[int], str]:
    """(prompt ids, wanted text) of a dialogue's last answer."""
    entry = {
        "messages": dialogue.messages[:-1],
        "tools": dialogue.tools or None,
        "template_kwargs": {"enable_thinking": dialogue.thinking},
    }
    ids = prompt_ids(tokenizer, entry)
    whole = tokenizer.apply_chat_template(
        dialogue.messages, tools=dialogue.tools or None, tokenize=False
    )
    wanted = tokenizer.encode(whole, add_special_tokens=False)
    return ids, tokenizer.decode(wanted[len(ids) :]).removesuffix("<|im_end|>\n")


def main() -> None:
    """Prints one line a group, and each miss with --misses."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--misses", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    tokenizer, model = load_tokenizer(options.model), load_model(options.model, torch.float32)
    for name, dialogues in groups(Corpus()):
        right = 0
        for dialogue in dialogues:
            ids, wanted = answered(tokenizer, dialogue)
            said = tokenizer.decode(greedy(model, ids, 450, end_ids(tokenizer)).token_ids)
            right += said == wanted
            if options.misses and said != wanted:
                print(
                    f"  {dialogue.messages[-2]['content']!r}\n    wanted {wanted!r}\n    "
                    f"said   {said!r}"
                )
        print(f"{name}: {right} of {len(dialogues)}", flush=True)


if __name__ == "__main__":
    main()
