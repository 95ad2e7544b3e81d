"""Documents of which the demo model has no choice but one, so that any seam in them shows."""

import asyncio
from typing import Any

import openai
from tokenizers import Tokenizer

from workers.demo_model import demo_model_dir

WORDS = (
    "workers",
    "frontends",
    "engines",
    "tokens",
    "blocks",
    "events",
    "clients",
    "queues",
    "prompts",
    "answers",
)
BOOK = {
    f"line {number}": f"{number} {word} {number * 37 % 101}"
    for number, word in enumerate((*WORDS, *reversed(WORDS)))
}
"""Some 270 tokens, of which a fifth are told before any fault: so long that an engine is in its
midst then, however much later than the engine a busy machine's client reads.
"""
SCHEMA = {
    "type": "object",
    "properties": {name: {"const": line} for name, line in BOOK.items()},
    "required": list(BOOK),
}
"""Only the book conforms, and no two parts of it are alike: whatever is lost, repeated or begun
anew at the seam shows.

Were the model free to choose what it writes, greedy answers could not be compared: it was not
trained to write into schemas, so that its first two choices are often equally likely (the
logarithms of their probabilities differ by 0.00 to 0.42 in each of 23 documents tried; by at least
4.4 in the golden answers), and a prompt that is computed at once rounds otherwise than the same
tokens one by one.
"""

TOKENIZER = Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json"))
BLANK = {
    str(token_id): -100
    for piece, token_id in TOKENIZER.get_vocab().items()
    if piece and not piece.strip("ĠĊĉč")
}
"""Space between the parts of a document is free, and without end: biased against, it is what a
tokenizer cannot help writing.
"""

BOOKS_ASKED: dict[str, dict[str, Any]] = {
    "json": {"guided_json": SCHEMA},
    "call": {
        "tools": [{"type": "function", "function": {"name": "shelve", "parameters": SCHEMA}}],
        "tool_choice": "required",
    },
}
"""Ways to a book: as the answer itself, or as the arguments of a call that the worker's parser
reads.
"""


async def told_book(client: openai.AsyncOpenAI, asked: dict[str, Any], begun: asyncio.Event) -> str:
    """The document, streamed; `begun` is set in its midst."""
    text, ids = "", []
    stream = await client.chat.completions.create(
        model="kvmesh-demo",
        messages=[{"role": "user", "content": "Tell me about a book."}],
        max_tokens=600,
        temperature=0,
        logit_bias=BLANK,
        stream=True,
        extra_body=asked,
        extra_headers={"x-dynamo-session-id": "books"},
    )
    async for chunk in stream:
        delta = chunk.choices[0].delta
        # behind a call a model may go on in prose, which is content and none of the document
        if "tools" not in asked:
            text += delta.content or ""
        for call in delta.tool_calls or []:
            assert call.function is not None
            text += call.function.arguments or ""
            ids += [call.id] if call.id else []
        if not begun.is_set() and len(text) > 60:
            assert not text.rstrip().endswith("}")
            begun.set()
    assert begun.is_set()
    assert len(ids) == ("tools" in asked)
    return text
