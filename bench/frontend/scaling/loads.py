"""What is asked of frontends whose processes are counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.kit.workloads import Corpus, Shape, fresh, write_bodies

MODEL: Final = "demo"
LONG_TOKENS: Final = 1_500
LONG_PROMPTS: Final = 512
SEED: Final = 7
PACED: Final = "chat, paced"
PACE: Final = 150.0
"""Is a rate at which a process has much time left: if further ones cost anything beside their
requests, it is seen in what one of these takes.
"""

_TEXT: Final = "tell me what the river said to the stone about the green cloud over the house "
_CHAT: Final = {"model": MODEL, "messages": [{"role": "user", "content": _TEXT}]}


@dataclass(frozen=True)
class Load:
    """A Load is one kind of request.

    Attributes:
        path: that is asked.
        tokens: of each answer.
        bodies: of the requests, taken in order and cycled.
        rate: of requests a second and process; None: as many as come to an end.
    """

    path: str
    tokens: int
    bodies: Path
    rate: float | None = None


def loads(folder: Path, model_dir: Path) -> dict[str, Load]:
    """The loads by name; their bodies are written into `folder`."""
    chat, chats = "/v1/chat/completions", folder / "chats"
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    long = Shape(input_tokens=LONG_TOKENS, output_tokens=1, model=MODEL)
    given: dict[str, tuple[str, int, Iterable[dict[str, Any]]]] = {
        "chat": (chat, 16, [_CHAT | {"max_tokens": 16}]),
        PACED: (chat, 16, [_CHAT | {"max_tokens": 16}]),
        "chat, streamed": (chat, 64, [_CHAT | {"max_tokens": 64} | streamed]),
        "long prompt": (chat, 1, fresh(Corpus(model_dir), long, LONG_PROMPTS, SEED)),
        "tokenize": ("/tokenize", 0, [{"model": MODEL, "prompt": _TEXT * 8}]),
    }
    return {
        name: Load(
            path,
            tokens,
            write_bodies(bodies, chats / f"{number}.jsonl"),
            rate=PACE if name == PACED else None,
        )
        for number, (name, (path, tokens, bodies)) in enumerate(given.items())
    }
