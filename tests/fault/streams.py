"""Streams that run side by side while something happens to the fleet, through the unmodified OpenAI
client.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import openai

from starter.process import Process
from tests.fault.raw_http import metric
from tests.kit.fleet import Fleet

STREAMS: Final = 8
TOKENS: Final = 300
"""Two seconds on a sim engine at its own pace."""

SIM: Final = (
    "--served-model-name",
    "demo",
    "--sim-speedup",
    "1",
    "--context-length",
    "16384",
    "--sim-request-faults",
)
CRASH_SEED, HANG_LOOP_SEED, ENGINE_DEATH_SEED = 770_002, 770_004, 770_005

_STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass
class Told:
    """An answer as its client saw it: by choice; the usage."""

    texts: dict[int, str] = field(default_factory=dict[int, str])
    ends: dict[int, str] = field(default_factory=dict[int, str])
    tokens: tuple[int, int] = (0, 0)


def start_workers(fleet: Fleet, count: int, *options: str, beside: int = 0) -> dict[str, Process]:
    """A frontend's workers w0, w1 …, ready, and so many that were started beside them."""
    workers = {
        f"w{number}": fleet.worker(*SIM, "--worker-id", f"w{number}", *options)
        for number in range(count)
    }
    fleet.wait_for_workers(count + beside)
    return workers


def body(number: int, **options: Any) -> dict[str, Any]:
    """Request number so-and-so, unlike the others."""
    return {
        "model": "demo",
        "prompt": f"stream {number} tells of {number * 7}",
        "max_tokens": TOKENS,
    } | options


async def tell(
    client: openai.AsyncOpenAI, request: dict[str, Any], begun: asyncio.Event | None = None
) -> Told:
    """Stream one answer; `begun` is set when a few chunks have come.

    Raises:
        openai.APIError: it was not answered whole.
    """
    told, chunks = Told(), 0
    asked = request | request.get("extra_body", {}) | _STREAMED
    asked.pop("extra_body", None)
    # as it reads them, but for its models of chunks, which would take half of a test's CPU time
    stream = await client.post(
        "/completions",
        body=asked,
        cast_to=object,
        stream=True,
        stream_cls=openai.AsyncStream[Any],
    )
    async for chunk in stream:
        chunks += 1
        if begun is not None and chunks == 2:
            begun.set()
        for choice in chunk["choices"]:
            index = choice["index"]
            told.texts[index] = told.texts.get(index, "") + choice["text"]
            if choice.get("finish_reason"):
                told.ends[index] = choice["finish_reason"]
        if usage := chunk.get("usage"):
            told.tokens = usage["prompt_tokens"], usage["completion_tokens"]
    return told


async def tell_whole(client: openai.AsyncOpenAI, request: dict[str, Any]) -> Told:
    """The same in one piece."""
    answer = await client.completions.create(**request)
    assert answer.usage is not None
    texts = {choice.index: choice.text for choice in answer.choices}
    ends = {choice.index: choice.finish_reason for choice in answer.choices}
    return Told(texts, dict(ends), (answer.usage.prompt_tokens, answer.usage.completion_tokens))


async def tell_all(
    fleet: Fleet, fault: Callable[[], None] = lambda: None, *, count: int = STREAMS, **options: Any
) -> list[Told]:
    """That many streams side by side, and the fault as soon as all have begun.

    Raises:
        openai.APIError: one was not answered whole.
    """
    begun = [asyncio.Event() for _ in range(count)]
    async with fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        telling = [
            tasks.create_task(tell(client, body(number, **options), begun[number]))
            for number in range(count)
        ]
        for event in begun:
            await event.wait()
        await asyncio.to_thread(fault)
    return [task.result() for task in telling]


async def tell_all_whole(
    fleet: Fleet, fault: Callable[[], None] = lambda: None, *, count: int = STREAMS, **options: Any
) -> list[Told]:
    """The same without streaming; the fault as soon as all run."""
    async with fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        telling = [
            tasks.create_task(tell_whole(client, body(number, **options)))
            for number in range(count)
        ]
        n = options.get("n", 1)
        await asyncio.to_thread(
            fleet.wait_until, lambda: sum(on_each_worker(fleet).values()) == count * n, "all run"
        )
        await asyncio.to_thread(fault)
    return [task.result() for task in telling]


_in_peace: dict[str, list[Told]] = {}


async def told_in_peace(
    fleet: Fleet,
    tell_them: Callable[..., Awaitable[list[Told]]] = tell_all,
    **options: Any,
) -> list[Told]:
    """What all streams say where nothing happens. An answer is a function of its request, so that
    it is asked for once.
    """
    asked = repr((tell_them.__name__, options))
    if asked not in _in_peace:
        _in_peace[asked] = await tell_them(fleet, **options)
    return _in_peace[asked]


def on_each_worker(fleet: Fleet) -> dict[str, int]:
    """Worker → requests that run there."""
    return {
        worker["worker_id"]: sum(worker["requests"])
        for worker in fleet.get("/health")[1]["workers"]
    }


def moved(fleet: Fleet, **labels: str) -> float:
    """Requests that went on elsewhere."""
    return metric(fleet, "kvmesh_frontend_migrations_total", outcome="moved", **labels)


def lost_workers(fleet: Fleet, cause: str | None = None) -> float:
    """Workers that left for this reason, or for any."""
    causes = {} if cause is None else {"cause": cause}
    return metric(fleet, "kvmesh_frontend_workers_lost_total", **causes)
