"""Workers of two legs that are killed, freeze or are told to leave under answers that others go on
with, and what is read of an answer in the worker.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from bench.gpu.disaggregation.checks import STREAMS, prompt, text_of
from bench.gpu.fleet import Answer, GpuFleet

TOKENS: Final = 250
VICTIMS: Final = ("p1", "d1")
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}


def faults(fleet: GpuFleet, seed: int) -> list[dict[str, Any]]:
    """A prefill worker and then a decode worker are killed under answers that others go on with."""
    return [_under(fleet, seed, victim, fleet.workers[victim].kill) for victim in VICTIMS]


def frozen(fleet: GpuFleet, seed: int) -> list[dict[str, Any]]:
    """All processes of a worker are stopped, and go on when the answers are there."""
    found: list[dict[str, Any]] = []
    for victim in VICTIMS:
        group = fleet.workers[victim].pid
        try:
            found.append(_under(fleet, seed, victim, partial(os.killpg, group, signal.SIGSTOP)))
        finally:
            os.killpg(group, signal.SIGCONT)
        found[-1]["back_after_s"] = _until_whole(fleet)
    return found


def drained(fleet: GpuFleet, seed: int) -> list[dict[str, Any]]:
    """A worker is told to leave: what it runs is finished there, and it ends by itself."""
    found: list[dict[str, Any]] = []
    for victim in VICTIMS:
        process = fleet.workers[victim]
        found.append(_under(fleet, seed, victim, partial(os.kill, process.pid, signal.SIGTERM)))
        found[-1]["exit_code"] = process.popen.wait(60)
    return found


def _under(fleet: GpuFleet, seed: int, victim: str, act: Callable[[], object]) -> dict[str, Any]:
    """What becomes of answers while something befalls a worker."""
    random_ = random.Random(f"{seed} {victim}")
    prompts = [prompt(random_, 3_000) for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        undisturbed = list(pool.map(partial(fleet.ask, "whole-2", tokens=TOKENS), prompts))
        began = time.monotonic()
        asked = [pool.submit(fleet.ask, "pairs", each, TOKENS) for each in prompts]
        time.sleep(0.5)
        held = fleet.held("pairs")
        act()
        answers = [each.result() for each in asked]
    equal = [
        text_of(one) is not None and text_of(one) == text_of(other)
        for one, other in zip(answers, undisturbed, strict=True)
    ]
    return {
        "victim": victim,
        "held": held,
        "answered": sum(isinstance(each, dict) for each in answers),
        "of": STREAMS,
        "equal_to_undisturbed": sum(equal),
        "errors": sorted({each for each in answers if isinstance(each, str)}),
        "seconds": round(time.monotonic() - began, 2),
    }


def _until_whole(fleet: GpuFleet, seconds_max: float = 60) -> float | None:
    """Seconds until all four workers serve again; None if they do not."""
    began = time.monotonic()
    while fleet.addresses["pairs"].workers_ready() < 4:
        if time.monotonic() - began > seconds_max:
            return None
        time.sleep(0.05)
    return round(time.monotonic() - began, 2)


def read(fleet: GpuFleet, seed: int) -> dict[str, Any]:
    """Chats whose answers the worker reads: a call that must be made, thinking, and both as they
    come; in two legs and on one worker.
    """
    question = {"role": "user", "content": f"What is the weather in Rome? {seed} " + "Well? " * 600}
    chats: dict[str, dict[str, Any]] = {
        "call": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 64},
        "named_call": {
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "max_tokens": 64,
        },
        "thinking": {"max_tokens": 48, "ignore_eos": True},
        "schema": {
            "max_tokens": 64,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": TOOL["function"]["parameters"]},
            },
        },
    }
    found: dict[str, Any] = {}
    for name, fields in chats.items():
        body = {"messages": [question], "temperature": 0, **fields}
        pair, whole = (fleet.chat(view, body) for view in ("pair", "whole-1"))
        found[name] = {"equal": told(pair) == told(whole), "told": told(pair)}
        if told(pair) != told(whole):
            found[name]["whole"] = told(whole)
    return found


def told(answer: Answer) -> Any:
    """What an answer says, without the ids of its calls."""
    if isinstance(answer, str):
        return answer
    message = answer["choices"][0]["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return {
        "content": message.get("content"),
        "thinking": message.get("reasoning_content"),
        "calls": calls,
        "finish_reason": answer["choices"][0]["finish_reason"],
    }
