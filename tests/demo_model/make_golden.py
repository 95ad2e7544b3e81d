"""Writes `golden.json`: `python -m tests.demo_model.make_golden`.

Greedy answers on which float32 and bfloat16 agree.
"""

from typing import Any

from tests.demo_model.corpus import HERE
from tests.demo_model.decoding import end_ids, greedy, prompt_ids
from tests.demo_model.golden_answers import DTYPES, Entry, answered, arguments, write
from tests.demo_model.golden_prompts import PROMPTS
from tests.demo_model.hugging_face import load_model, load_tokenizer
from tests.demo_model.train import MODEL_FOLDER

MARGIN_MIN = 0.5
"""Nats between the chosen token and the next. Room for another attention kernel in bfloat16."""


def filled(entry: Entry, texts: dict[str, str]) -> Entry:
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


def golden(entry: Entry, tokenizer: Any, models: list[Any]) -> tuple[Entry, bool]:
    """(the entry with its answer, whether it is steady enough to be compared across kernels)."""
    ids, ends = prompt_ids(tokenizer, entry), end_ids(tokenizer)
    answers = [greedy(model, ids, entry["max_tokens"], ends) for model in models]
    fields, steady = answered(tokenizer, ids, answers, MARGIN_MIN)
    return {**entry, "prompt_tokens": len(ids), **fields}, steady


def main() -> None:
    """Asks the prompts in their order, since later ones name earlier answers."""
    options = arguments(__doc__, MODEL_FOLDER, HERE)
    tokenizer = load_tokenizer(options.model)
    models = [load_model(options.model, dtype) for dtype in DTYPES]
    texts: dict[str, str] = {}

    def next_golden(prompt: Entry) -> tuple[Entry, bool]:
        entry, steady = golden(filled(prompt, texts), tokenizer, models)
        texts[entry["name"]] = entry["text"]
        return entry, steady

    write(options.out, PROMPTS, next_golden)


if __name__ == "__main__":
    main()
