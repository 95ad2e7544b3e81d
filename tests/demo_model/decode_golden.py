"""Prints what transformers decodes greedily for golden entries: `python -m
tests.demo_model.decode_golden DTYPE NAME...`, one JSON list.
"""

import argparse
import json

import torch

from tests.demo_model.corpus import HERE
from tests.demo_model.decoding import end_ids, greedy, prompt_ids
from tests.demo_model.hugging_face import load_model, load_tokenizer
from workers.demo_model import demo_model_dir


def main() -> None:
    """A line of [name, token ids, how it ended] for each entry that is named."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("dtype")
    arguments.add_argument("names", nargs="+")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(demo_model_dir())
    model = load_model(demo_model_dir(), getattr(torch, options.dtype))
    answers = []
    for entry in json.loads((HERE / "golden.json").read_text("utf-8")):
        if entry["name"] in options.names:
            answer = greedy(
                model, prompt_ids(tokenizer, entry), entry["max_tokens"], end_ids(tokenizer)
            )
            answers.append([entry["name"], answer.token_ids, answer.finish])
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
