"""Run as a program: what transformers makes of texts with a BERT, and a tiny random cross-encoder.

    python bert_reference.py embed MODEL < texts.json > vectors.json        mean of the tokens,
    scaled to length one
    python bert_reference.py build DIRECTORY TOKENIZER_JSON                 a cross-encoder with
    random weights
    python bert_reference.py score DIRECTORY < pairs.json > scores.json     its numbers

A program, since pytest's process must not import torch: its warnings are errors there, and its
threads outlive the tests.
"""

import json
import shutil
import sys
from pathlib import Path

import torch

from workers.sglang.cpu import activate_if_cpu_host

# transformers imports torchvision, which does not import without the stand-ins
activate_if_cpu_host()

from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

TOKENS_MAX = 511
"""SGLang's bound for a context of 512."""


def _tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(directory / "tokenizer.json"),
        pad_token="[PAD]",
        model_max_length=TOKENS_MAX,
    )


def embed(model: Path) -> None:
    tokenizer, bert = (
        _tokenizer(model),
        BertModel.from_pretrained(model, dtype=torch.float32).eval(),
    )
    vectors = []
    for text in json.load(sys.stdin):
        encoded = tokenizer(text, truncation=True, return_tensors="pt")
        hidden = bert(**encoded).last_hidden_state[0]
        vectors.append(torch.nn.functional.normalize(hidden.mean(0), dim=0).tolist())
    json.dump(vectors, sys.stdout)


def build(directory: Path, tokenizer_json: Path) -> None:
    """Random weights of a wide range, or all pairs would have nearly the same number."""
    torch.manual_seed(11)
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.3,
        num_labels=1,
        dtype="float32",
    )
    BertForSequenceClassification(config).float().save_pretrained(directory)
    shutil.copy(tokenizer_json, directory / "tokenizer.json")
    _tokenizer(directory).save_pretrained(directory)
    written = json.loads((directory / "config.json").read_text())
    # transformers does not write it any more, and SGLang asks for it.
    (directory / "config.json").write_text(
        json.dumps(written | {"position_embedding_type": "absolute"})
    )


def score(directory: Path) -> None:
    tokenizer, bert = (
        _tokenizer(directory),
        BertForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval(),
    )
    scores = []
    for first, second in json.load(sys.stdin):
        encoded = tokenizer(
            first, second, truncation="only_second", return_token_type_ids=True, return_tensors="pt"
        )
        scores.append(bert(**encoded).logits[0, 0].item())
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        command, *paths = sys.argv[1:]
        {"embed": embed, "build": build, "score": score}[command](*map(Path, paths))
