"""Prints what transformers decodes greedily for all golden entries: `python -m
tests.demo_vision.decode_golden DTYPE,…`, a JSON list for each dtype.
"""

import argparse
import json
from typing import Any

import numpy as np
import torch

from tests.demo_vision.decoding import Seer
from tests.demo_vision.golden import golden_entries, picture_file
from workers.demo_model import demo_model_dir


def main() -> None:
    """{dtype: [[name, token ids, how it ended, all tokens of the prompt, those of pictures]]}."""
    from PIL import Image  # noqa: PLC0415

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("dtypes", type=lambda names: names.split(","))
    options = arguments.parse_args()
    torch.set_num_threads(1)
    answers: dict[str, list[list[Any]]] = {}
    for dtype in options.dtypes:
        seer = Seer(demo_model_dir("vision"), getattr(torch, dtype))
        answers[dtype] = []
        for entry in golden_entries():
            text = seer.text_of(entry["messages"], entry.get("tools"))
            pictures = [np.asarray(Image.open(picture_file(name))) for name in entry["pictures"]]
            answer = seer.decode(text, pictures)
            counts = seer.prompt_tokens(text, pictures)
            answers[dtype].append([entry["name"], answer.token_ids, answer.finish, *counts])
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
