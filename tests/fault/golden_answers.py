"""Greedy answers of the demo model, as its golden file has them, while something happens to the
workers that tell them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from tests.fault.books import TOKENIZER
from tests.fault.pair import Pair
from tests.kit.fleet import Fleet

MODEL = "kvmesh-demo"
TOKENS_MAX = 160
STORY_TOKENS = 8_000
"""More than are told during any fault; a worker's cache holds two such stories."""

GOLDEN: dict[str, dict[str, Any]] = {
    entry["name"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "demo_model" / "golden.json").read_text())
    if entry["name"] in ("long-story", "long-explanation", "long-count", "many-languages")
}
"""Answers of so many tokens, and a short one that ends by itself; a second or two where all run at
once.
"""


@dataclass
class _Told:
    text: str = ""
    end: str | None = None
    tokens: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by each chunk but the first."""


async def _tell(
    client: openai.AsyncOpenAI,
    entry: dict[str, Any],
    told: _Told,
    *,
    max_tokens: int = TOKENS_MAX,
    ignore_eos: bool = False,
) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=entry["messages"],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": ignore_eos},
    )
    chunks = 0
    async for chunk in stream:
        chunks += 1
        if chunks >= 2:
            told.begun.set()
        for choice in chunk.choices:
            told.text += choice.delta.content or ""
            told.end = choice.finish_reason or told.end
        if chunk.usage:
            told.tokens = chunk.usage.completion_tokens


async def golden_answers(
    fleet: Fleet,
    fault: Callable[[], object] = lambda: None,
    others: Iterable[asyncio.Event] = (),
) -> None:
    """All golden answers side by side say what they should, with the fault in their midst, as a
    rule (see `endless_story`), and that of the others, whose events say that they have begun.
    """
    told = [_Told() for _ in GOLDEN]
    async with fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        for entry, each in zip(GOLDEN.values(), told, strict=True):
            tasks.create_task(_tell(client, entry, each))
        for event in (*(each.begun for each in told), *others):
            await event.wait()
        await asyncio.to_thread(fault)
    for each, entry in zip(told, GOLDEN.values(), strict=True):
        if len(entry["token_ids"]) > TOKENS_MAX:
            assert (each.text, each.end) == (_beginning(entry), "length")
            assert each.tokens == TOKENS_MAX
        else:
            assert (each.text, each.end) == (entry["text"], entry["finish"])
            # with the end-of-turn token
            assert each.tokens in (len(entry["token_ids"]), len(entry["token_ids"]) + 1)


def _beginning(entry: dict[str, Any]) -> str:
    """What its first tokens say."""
    text = TOKENIZER.decode(entry["token_ids"][:TOKENS_MAX])
    assert entry["text"].startswith(text)
    return text


class Story:
    """A golden answer that its client wants to go on behind its end."""

    worker: str
    """Who began to tell it."""

    def __init__(self, told: _Told, telling: asyncio.Task[None]) -> None:
        self._told = told
        self._telling = telling

    async def goes_on(self) -> None:
        """Returns once more of it has come.

        Raises:
            openai.APIError: none will.
        """
        self._told.begun.clear()
        more = asyncio.create_task(self._told.begun.wait())
        await asyncio.wait((more, self._telling), return_when=asyncio.FIRST_COMPLETED)
        more.cancel()
        assert not self._telling.done(), self._telling.result()


@asynccontextmanager
async def endless_story(pair: Pair) -> AsyncIterator[Story]:
    """A stream that is in its midst for as long as the block takes. A busy machine may let a
    client see the first tokens of a short answer when an engine has computed the last.
    """
    told, entry = _Told(), GOLDEN["long-story"]
    async with pair.fleet.async_client() as client:
        telling = asyncio.create_task(
            _tell(client, entry, told, max_tokens=STORY_TOKENS, ignore_eos=True)
        )
        story = Story(told, telling)
        try:
            await story.goes_on()
            await asyncio.to_thread(pair.wait_until, pair.is_busy)
            story.worker = pair.busy()
            yield story
            await story.goes_on()
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    length = min(len(told.text), len(entry["text"]))
    assert told.text[:length] == entry["text"][:length]
