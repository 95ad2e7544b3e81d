"""What fleets of GPUs need of frontends, by arithmetic on measured costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import numpy as np

from bench.figures.markdown import number, result

GPUS: Final = (10, 100, 1_000)
BUSY_MAX: Final = 0.6
"""What of a core a frontend is given to do, so that bursts and the loss of another find room."""
BLOCK_TOKENS: Final = 64
INDEX_BLOCKS_MAX: Final = 4_000_000
"""The setting --kv-index-blocks-max as it comes."""
CACHED_SHARE: Final = 0.5
BEATS_PER_S: Final = 4


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a fleet serves; `tokens_per_s` are those of one GPU."""

    name: str
    tokens_per_s: float
    tokens_in: int
    tokens_out: int
    gpus_per_rank: int
    kv_tokens: int


def services() -> list[Service]:
    """The two that needs are told of: the dearest for frontends, and a usual one."""
    measured = result("three_way")["medians"]["256"]["kvmesh"]["tokens_per_s"]
    return [
        Service(
            name="small model, short chats",
            tokens_per_s=measured,
            tokens_in=512,
            tokens_out=128,
            gpus_per_rank=1,
            kv_tokens=160_000,
        ),
        Service(
            name="large model, long chats",
            tokens_per_s=500,
            tokens_in=4_096,
            tokens_out=512,
            gpus_per_rank=8,
            kv_tokens=1_000_000,
        ),
    ]


def needs(found: dict[str, Any]) -> tuple[list[list[str]], str]:
    """A row for each service and number of GPUs, and what was assumed."""
    small, large = services()
    rows = [_row(found, service, gpus) for service in (small, large) for gpus in GPUS]
    assumed = (
        f"a small model on one GPU each, as measured on an H200 "
        f"({number(small.tokens_per_s)} tokens/s, {small.tokens_in} tokens in and "
        f"{small.tokens_out} out, {small.kv_tokens:,} tokens of cache), and a large one on "
        f"{large.gpus_per_rank} GPUs each ({number(large.tokens_per_s)} tokens/s a GPU, "
        f"{large.tokens_in:,} in and {large.tokens_out} out, {large.kv_tokens:,} tokens of cache); "
        f"everybody streams; {CACHED_SHARE:.0%} of prompts is cached; every block that is stored "
        f"evicts another; a worker has one rank; a frontend takes {BUSY_MAX:.0%} of a core."
    )
    return rows, assumed


def _row(found: dict[str, Any], service: Service, gpus: int) -> list[str]:
    ranks = max(1, gpus // service.gpus_per_rank)
    tokens_per_s = gpus * service.tokens_per_s
    chats_per_s = tokens_per_s / service.tokens_out
    blocks_per_s = (
        chats_per_s
        * (service.tokens_in * (1 - CACHED_SHARE) + service.tokens_out)
        / BLOCK_TOKENS
        * 2
    )
    prompts, streams = found["prompts"]["points"], found["streams"]["points"]
    workers, wire = found["workers"]["points"], found["ranks"]["points"]
    chat_us = _at(service.tokens_in, prompts, "prompt_tokens", "frontend_us")
    routing_us = max(
        0.0,
        _at(ranks, wire, "ranks", "route_long_us") - _at(1, wire, "ranks", "route_long_us"),
    )
    token_us = next(p["frontend_us"] for p in streams if p["streams"] == 256)
    shared_cores = 1e-6 * (chats_per_s * (chat_us + routing_us) + tokens_per_s * token_us)
    event_us = wire[-1]["event_us_per_block"]
    # each frontend hears every worker's beats and all KV events
    own_cores = 1e-6 * (
        ranks * _at(ranks, workers, "workers", "idle_us_per_worker_s") + blocks_per_s * event_us
    )
    frontends = _frontends(shared_cores, own_cores)
    beats_cores = 1e-6 * ranks * _at(ranks, workers, "workers", "idle_us_per_worker_s")
    blocks = ranks * service.kv_tokens // BLOCK_TOKENS
    memory_mib = (
        _at(ranks, workers, "workers", "memory_mib")
        + min(blocks, INDEX_BLOCKS_MAX) * wire[-1]["bytes_per_block"] / 2**20
    )
    several = frontends or 1
    mesh_mb_s = 1e-6 * (
        tokens_per_s * wire[-1]["mesh_bytes_per_token"]
        + chats_per_s * service.tokens_in * 4
        + several * blocks_per_s * wire[-1]["event_bytes_per_block"]
        + several * ranks * 2 * BEATS_PER_S * wire[-1]["beat_bytes"]
    )
    client_mb_s = 1e-6 * tokens_per_s * streams[-1]["client_bytes_per_token"]
    shares = (
        1e-6 * chats_per_s * chat_us,
        1e-6 * tokens_per_s * token_us,
        1e-6 * chats_per_s * routing_us,
        1e-6 * blocks_per_s * event_us,
    )
    return [
        f"{gpus:,} GPUs, {service.name}: {ranks:,} worker{'s' * (ranks > 1)}",
        f"{number(chats_per_s)}; {number(tokens_per_s)}",
        " + ".join(map(number, shares)) + " (each)",
        number(beats_cores),
        f"{frontends:,}" if frontends else "not reached: what each hears fills it",
        number(memory_mib),
        f"{number(mesh_mb_s)}; {number(client_mb_s)}",
        f"{blocks:,}; {min(1.0, INDEX_BLOCKS_MAX / blocks):.0%}",
    ]


def _frontends(shared_cores: float, own_cores: float) -> int | None:
    """How many one-core frontends share what is shared while each does what each must; None where
    that fills it.
    """
    left = BUSY_MAX - own_cores
    return None if left <= 0 else max(1, ceil(shared_cores / left))


def _at(x: float, points: Sequence[dict[str, Any]], across: str, key: str) -> float:
    """Interpolated between measured points, and beyond the last one as between the last two."""
    xs = [point[across] for point in points]
    ys = [point[key] for point in points]
    if x > xs[-1]:
        return max(ys[-1], ys[-1] + (x - xs[-1]) * (ys[-1] - ys[-2]) / (xs[-1] - xs[-2]))
    return float(np.interp(x, xs, ys))
