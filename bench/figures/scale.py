"""What kvmesh costs from little to much of something, and what a fleet needs by those figures."""

from collections.abc import Iterator
from typing import Any

from bench.figures.fleets import needs
from bench.figures.markdown import machine, number, pair, result, table

MODES = {"kv": "kv", "round-robin": "round-robin"}


def sections() -> Iterator[str]:
    """A section for each curve, and one for fleets."""
    found = result("scale")
    yield _streams(found["streams"])
    yield _prompts(found["prompts"])
    yield _workers(found["workers"])
    yield _ranks(found["ranks"])
    yield _simulated(found["simulated"])
    yield _fleets(found)


def _taken(curve: dict[str, Any]) -> str:
    load = number(curve["machine"]["load_1min"])
    return f"{machine(curve['machine'])}, load average {load}"


def _streams(curve: dict[str, Any]) -> str:
    rows = [
        [
            f"{point['streams']:,}",
            str(point["ranks"]),
            number(point["pace_ms"]),
            f"{number(point['frontend_us'])} + {number(point['worker_us'])}",
            pair(point["gap_p50_ms"], point["gap_p99_ms"]),
            f"{point['tokens_per_event']:.2f}",
        ]
        for point in curve["points"]
    ]
    columns = [
        "streams",
        "ranks",
        "pace (ms a token)",
        "CPU of a token, frontend + worker (µs)",
        "gap p50 / p99 (ms)",
        "tokens in an event",
    ]
    return f"""\
## From one stream to thousands

`python -m bench.scale streams`: {_taken(curve)}. Engines are so much slower with many streams that
all together make some 8,000 tokens/s at most; ranks run up to 256 each, in one worker. A token's
cost is the difference between a long and a short run.

{table(columns, rows)}

![the curves](../bench/results/scale.png)"""


def _prompts(curve: dict[str, Any]) -> str:
    rows = [
        [
            f"{point['prompt_tokens']:,}",
            f"{point['body_bytes']:,}",
            f"{number(point['frontend_us'])} + {number(point['worker_us'])}",
            number(1000 * point["frontend_us"] / point["prompt_tokens"]),
            number(point["e2e_p50_ms"]),
        ]
        for point in curve["points"]
    ]
    columns = [
        "tokens of the prompt",
        "bytes of the body",
        "CPU of a chat, frontend + worker (µs)",
        "the frontend's, for 1,000 tokens of it (µs)",
        "whole answer p50 (ms)",
    ]
    return f"""\
## From short prompts to long ones

`python -m bench.scale prompts`: {_taken(curve)}; fresh text, one token out, 4 together, engines
without a pace.

{table(columns, rows)}"""


def _workers(curve: dict[str, Any]) -> str:
    rows = [
        [
            str(point["workers"]),
            number(point["idle_cores"]),
            number(point["idle_us_per_worker_s"]),
            f"{number(point['chat_us'])}; {number(point['chat_us_without_idle'])}",
            str(point["descriptors"]),
            number(point["memory_mib"]),
            f"{point['health']['bytes']:,}; {number(point['health']['ms'])}",
            f"{point['metrics']['bytes']:,}; {number(point['metrics']['ms'])}",
        ]
        for point in curve["points"]
    ]
    columns = [
        "workers",
        "cores without requests",
        "µs a second and worker",
        "a chat; less that (µs)",
        "descriptors",
        "memory (MiB)",
        "/health (bytes; ms)",
        "/metrics (bytes; ms)",
    ]
    return f"""\
## A frontend among many workers

`python -m bench.scale workers`: {_taken(curve)}. Workers of one rank each, over real sockets, all
in one process; the frontend's figures alone. Chats of 128 tokens, 64 together.

{table(columns, rows)}"""


def _ranks(curve: dict[str, Any]) -> str:
    rows = [
        [
            f"{point['ranks']:,}",
            number(point["route_short_us"]),
            number(point["route_long_us"]),
            f"{point['blocks']:,}",
            number(point["bytes_per_block"]),
            number(point["beat_us_per_rank"]),
            number(point["event_us_per_block"]),
        ]
        for point in curve["points"]
    ]
    columns = [
        "ranks",
        "routing 128 tokens (µs)",
        "routing 8k, of which all have 4k (µs)",
        "blocks in the index",
        "bytes a block",
        "a rank's part of a heartbeat (µs)",
        "a block in a KV event (µs)",
    ]
    last = curve["points"][-1]
    return f"""\
## Choosing one of many ranks

`python -m bench.scale ranks`: {_taken(curve)}. The router, index and feeds alone, without sockets;
bytes are those by which the process grew, ranks and all. On the wire a token of a step with 64 of
them takes {number(last["mesh_bytes_per_token"])} bytes, a block of an event with 8 of them
{number(last["event_bytes_per_block"])}, a heartbeat of one rank {number(last["beat_bytes"])}.

{table(columns, rows)}"""


def _simulated(curve: dict[str, Any]) -> str:
    rows = [
        [
            f"{point['ranks']:,}",
            MODES[point["mode"]],
            f"{point['requests_per_s']:,}",
            number(point["route_us"]),
            pair(point["ttft_p50_ms"], point["ttft_p99_ms"]),
            f"{point['cached_share']:.2f}",
            f"{point['load_spread']:.2f}",
            f"{point['blocks']:,}",
        ]
        for point in curve["points"]
    ]
    columns = [
        "ranks",
        "mode",
        "requests/s",
        "CPU of a choice (µs)",
        "TTFT p50 / p99 (ms)",
        "cached",
        "busiest rank beside the mean",
        "blocks in the index",
    ]
    return f"""\
## A thousand ranks on a virtual clock

`python -m bench.scale simulated`: as `python -m bench.routing`, chats of 8 turns, 20 people a rank
and five seconds, at a thousand ranks two and a half, in which less comes to be cached;
{_taken(curve)}. What people wait does not grow with the fleet; what a choice costs the frontend
does.

{table(columns, rows)}"""


def _fleets(found: dict[str, Any]) -> str:
    rows, assumed = needs(found)
    columns = [
        "fleet",
        "requests/s; tokens/s",
        "cores: chats + tokens + routing + KV events",
        "cores: heartbeats, of each frontend",
        "frontends of one core",
        "memory of each (MiB)",
        "mesh; to clients (MB/s)",
        "blocks; of those that the index holds by default",
    ]
    return f"""\
## What fleets need of frontends

By the figures above, on cores like theirs: {assumed} What follows of it: \
[scaling](scaling.md).

{table(columns, rows)}"""
