"""Seeded request bodies of a wanted length in tokens, and a model directory with a realistic
tokenizer to send them to.

The text is lines of Python's standard library in random order, so every prompt is fresh and none
comes from the network. Lengths are sums of the lines' own token counts: right to about 2 %;
`usage.prompt_tokens` in the results is exact.
"""

# tokenizers has no types for the parts that one is made of
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import json
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

MODEL_NAME = "bench"
LOCAL = Path(__file__).resolve().parents[1] / "results/local"
MODEL_DIR = LOCAL / "model"
VOCAB_SIZE = 32_000
CORPUS_FILES_MAX = 400
TRAIN_BYTES_MAX = 8_000_000
"""Enough for 32,000 merges; training takes about 10 s."""
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| "
    r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pre-tokenization of Qwen2 and Qwen3, the models most often served here."""
CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] "
    "}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def corpus_lines() -> list[str]:
    """Distinct lines of 20 to 200 characters from the standard library, in file order."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:CORPUS_FILES_MAX]
    lines = (
        line
        for file in files
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
    )
    return list(dict.fromkeys(line for line in lines if 20 <= len(line) <= 200))


def ensure_model_dir(
    folder: Path = MODEL_DIR, vocab_size: int = VOCAB_SIZE, lines: Sequence[str] | None = None
) -> Path:
    """A Hugging Face model directory (tokenizer, template, config; no weights) made once by
    training byte-level BPE.

    Args:
        lines: text to learn from; the standard library's if not given.
    """
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = "\n".join(corpus_lines() if lines is None else lines)[:TRAIN_BYTES_MAX]
    tokenizer.train_from_iterator(
        (text[at : at + 10_000] for at in range(0, len(text), 10_000)), trainer
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    end_id = tokenizer.token_to_id("<|im_end|>")
    documents: dict[str, dict[str, Any]] = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": 131072,
            "chat_template": CHAT_TEMPLATE,
        },
        "generation_config.json": {"eos_token_id": [end_id]},
        "config.json": {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": tokenizer.get_vocab_size(),
            "max_position_embeddings": 131072,
            "eos_token_id": end_id,
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
    }
    # config.json last: it says that the directory is whole
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1) + "\n")
    return folder


class Corpus:
    """Text of a wanted token count under one tokenizer.json."""

    def __init__(self, model_dir: Path, lines: Sequence[str] | None = None) -> None:
        self.lines = [line + "\n" for line in (corpus_lines() if lines is None else lines)]
        tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self.line_tokens = [
            len(encoding.ids)
            for encoding in tokenizer.encode_batch_fast(self.lines, add_special_tokens=False)
        ]

    def text(self, tokens: int, rng: random.Random) -> str:
        """About `tokens` tokens of lines drawn by `rng`."""
        chosen: list[str] = []
        while tokens > 0:
            at = rng.randrange(len(self.lines))
            if self.line_tokens[at] <= max(tokens, 8):
                chosen.append(self.lines[at])
                tokens -= self.line_tokens[at]
        return "".join(chosen)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What every body of a workload has in common."""

    input_tokens: int
    output_tokens: int
    stream: bool = False
    model: str = MODEL_NAME

    def body(self, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": self.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": self.stream,
        }
        if self.stream:
            body["stream_options"] = {"include_usage": True}
        return body


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def fresh(corpus: Corpus, shape: Shape, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` single-turn chats, no two alike."""
    rng = random.Random(seed)
    return (shape.body([_user(corpus.text(shape.input_tokens, rng))]) for _ in range(count))


def shared_prefix(
    corpus: Corpus, shape: Shape, count: int, seed: int, *, groups: int, prefix_tokens: int
) -> Iterator[dict[str, Any]]:
    """`count` chats in random order, each with one of `groups` system prompts of prefix_tokens and
    its own input_tokens.
    """
    rng = random.Random(seed)
    systems = [
        {"role": "system", "content": corpus.text(prefix_tokens, rng)} for _ in range(groups)
    ]
    order = [index % groups for index in range(count)]
    rng.shuffle(order)
    return (
        shape.body([systems[group], _user(corpus.text(shape.input_tokens, rng))]) for group in order
    )


def conversations(
    corpus: Corpus, shape: Shape, count: int, seed: int, *, turns: int
) -> Iterator[dict[str, Any]]:
    """`count` conversations growing over `turns`: all first turns, then all second ones, so a turn
    follows its predecessor's answer.

    The assistant's part is prepared text of output_tokens (the simulated engines' answers cannot be
    known beforehand). With fewer than `count` requests in flight, no turn overtakes the one before
    it by a whole lap.
    """
    rng = random.Random(seed)
    histories: list[list[dict[str, str]]] = [[] for _ in range(count)]
    for turn in range(turns):
        for history in histories:
            if turn:
                history.append(
                    {"role": "assistant", "content": corpus.text(shape.output_tokens, rng)}
                )
            history.append(_user(corpus.text(shape.input_tokens, rng)))
            yield shape.body(history)


def write_bodies(bodies: Iterable[dict[str, Any]], path: Path) -> Path:
    """One JSON body a line, as the load generator reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        out.writelines(
            json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n" for body in bodies
        )
    return path
