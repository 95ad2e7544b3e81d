"""What must be true of two legs on real engines, whatever they are worth."""

import json
import random
import socket
import time
from typing import Any, Final

from bench.gpu.fleet import Answer, GpuFleet
from bench.kit.workloads import MODEL_NAME

LENGTHS: Final = (5, 17, 40, 130, 500, 900, 2_500, 6_000)
PROMPTS: Final = 50
TOKENS: Final = 24
LONG: Final = 12_000
"""Tokens of a prompt that is cancelled: a tenth of a second of an H200."""
CANCELLED: Final = 10
CANCEL_AFTER_S: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
IDLE_S_MAX: Final = 45.0
STREAMS: Final = 32


def prompt(random_: random.Random, tokens: int) -> list[int]:
    """Token ids of the demo model's vocabulary."""
    return [random_.randrange(5, 800) for _ in range(tokens)]


def equality(fleet: GpuFleet, seed: int) -> dict[str, Any]:
    """Greedy answers of two legs beside those of one engine, one request at a time."""
    random_ = random.Random(seed)
    prompts = [prompt(random_, random_.choice(LENGTHS)) for _ in range(PROMPTS)]
    pairs, wholes = (
        [fleet.ask(view, each, TOKENS) for each in prompts] for view in ("pair", "whole-1")
    )
    same = [text_of(one) == text_of(other) for one, other in zip(pairs, wholes, strict=True)]
    usage = [
        one["usage"]["completion_tokens"] == other["usage"]["completion_tokens"]
        for one, other in zip(pairs, wholes, strict=True)
        if isinstance(one, dict) and isinstance(other, dict)
    ]
    again = fleet.ask("pair", prompts[0] * 3, TOKENS), fleet.ask("pair", prompts[0] * 3, TOKENS)
    several = fleet.ask("pair", prompts[1], 8, n=4, temperature=1.0)
    scored = [fleet.ask(view, prompts[2], 3, logprobs=2, echo=True) for view in ("pair", "whole-1")]
    return {
        "equal": sum(same),
        "of": len(same),
        "usage_equal": sum(usage),
        "different_lengths": [len(p) for p, equal in zip(prompts, same, strict=True) if not equal],
        "cached_tokens_of_a_repeated_prompt": [
            each["usage"]["prompt_tokens_details"]["cached_tokens"]
            if isinstance(each, dict)
            else each
            for each in again
        ],
        "choices_of_n_4": len(several["choices"]) if isinstance(several, dict) else several,
        "prompt_scores": [
            len(each["choices"][0]["logprobs"]["token_logprobs"])
            if isinstance(each, dict)
            else each
            for each in scored
        ],
        "json_schema": _constrained(fleet),
    }


def _constrained(fleet: GpuFleet) -> str:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answer = fleet.ask(
        "pair", range(300, 340), 64, ignore_eos=False, guided_json=schema, temperature=1.0
    )
    return answer["choices"][0]["text"] if isinstance(answer, dict) else answer


def cancelling(fleet: GpuFleet, seed: int) -> list[dict[str, Any]]:
    """Long prompts whose clients leave at different stages; how soon a short one behind them is
    answered, and how soon both engines hold nothing.
    """
    random_ = random.Random(seed)
    alone = min(_short(fleet, random_) for _ in range(5))
    found: list[dict[str, Any]] = []
    for after_s in CANCEL_AFTER_S:
        clients = [_leaves(fleet, prompt(random_, LONG)) for _ in range(CANCELLED)]
        time.sleep(after_s)
        before = fleet.held("pair")
        for client in clients:
            client.close()
        left_at = time.monotonic()
        short_s = _short(fleet, random_)
        while any(map(any, fleet.held("pair").values())):
            if time.monotonic() - left_at > IDLE_S_MAX:
                break
            time.sleep(0.02)
        found.append(
            {
                "after_s": after_s,
                "held_before": before,
                "short_behind_s": round(short_s, 3),
                "short_alone_s": round(alone, 3),
                "held_nothing_after_s": round(time.monotonic() - left_at, 2),
                "held_at_last": fleet.held("pair"),
            }
        )
    return found


def freed(fleet: GpuFleet, seed: int, view: str = "pair") -> list[dict[str, Any]]:
    """How soon both engines hold nothing of long prompts whose clients left at different stages;
    to be asked where workers tell their load often.
    """
    random_ = random.Random(seed)
    found: list[dict[str, Any]] = []
    for after_s in CANCEL_AFTER_S * 2:
        clients = [_leaves(fleet, prompt(random_, LONG), view) for _ in range(CANCELLED)]
        time.sleep(after_s)
        before = fleet.held(view)
        for client in clients:
            client.close()
        left_at = time.monotonic()
        gone_at: dict[str, float] = {}
        while len(gone_at) < len(before) and time.monotonic() - left_at < IDLE_S_MAX:
            for name, held in fleet.held(view).items():
                if not any(held):
                    gone_at.setdefault(name, round(time.monotonic() - left_at, 3))
        found.append({"after_s": after_s, "held_before": before, "held_nothing_after_s": gone_at})
    return found


def text_of(answer: Answer) -> str | None:
    """The text of a completion; None where there is none."""
    return answer["choices"][0]["text"] if isinstance(answer, dict) else None


def _short(fleet: GpuFleet, random_: random.Random) -> float:
    began = time.monotonic()
    fleet.ask("pair", prompt(random_, 8), 1)
    return time.monotonic() - began


def _leaves(fleet: GpuFleet, prompt_: list[int], view: str = "pair") -> socket.socket:
    """A client that has sent its request and reads nothing."""
    body = json.dumps({"model": MODEL_NAME, "prompt": prompt_, "max_tokens": 300}).encode()
    client = socket.create_connection(("127.0.0.1", fleet.addresses[view].http_port))
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    client.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body)
    return client
