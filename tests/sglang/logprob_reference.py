"""Run as a program: what transformers computes with the demo model, JSON for JSON.

    {"messages": [...]}   the prompt's token ids
    {"ids": [...]}        log probabilities of what follows each id but the last, shape [n - 1,
    vocabulary]

A program, since pytest's process must not import torch: its warnings are errors there, and its
threads outlive the tests.
"""

import json
import sys

import torch

from tests.demo_model.hugging_face import load_model, load_tokenizer
from workers.demo_model import demo_model_dir


def main() -> None:
    torch.set_num_threads(1)
    tokenizer, model = load_tokenizer(demo_model_dir()), load_model(demo_model_dir(), torch.float32)
    with torch.inference_mode():
        asked = json.load(sys.stdin)
        if "messages" in asked:
            prompt = tokenizer.apply_chat_template(
                asked["messages"], tokenize=False, add_generation_prompt=True
            )
            answer = tokenizer.encode(prompt, add_special_tokens=False)
        else:
            logits = model(torch.tensor([asked["ids"]])).logits[0, :-1].float()
            answer = torch.log_softmax(logits, -1).tolist()
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
