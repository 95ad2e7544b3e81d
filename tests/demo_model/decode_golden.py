"""Prints what transformers decodes greedily for golden entries: `python -m
tests.demo_model.decode_golden DTYPE,… NAME...`, a JSON list for each dtype.
"""

import argparse
import json
from typing import Any

import torch

from tests.demo_model.corpus import HERE
from tests.demo_model.decoding import end_ids, greedy, prompt_ids
from tests.demo_model.hugging_face import load_model, load_tokenizer
from workers.demo_model import demo_model_dir


def main() -> None:
    """{dtype: [[name, token ids, how it ended] for each entry that is named]}."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("dtypes", type=lambda names: names.split(","))
    arguments.add_argument("names", nargs="+")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(demo_model_dir())
    golden = json.loads((HERE / "golden.json").read_text("utf-8"))
    entries = [entry for entry in golden if entry["name"] in options.names]
    answers: dict[str, list[list[Any]]] = {}
    for dtype in options.dtypes:
        model = load_model(demo_model_dir(), getattr(torch, dtype))
        answers[dtype] = []
        for entry in entries:
            answer = greedy(
                model, prompt_ids(tokenizer, entry), entry["max_tokens"], end_ids(tokenizer)
            )
            answers[dtype].append([entry["name"], answer.token_ids, answer.finish])
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
