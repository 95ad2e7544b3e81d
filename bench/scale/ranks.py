"""The curve of ranks: what choosing one takes, and what following them does, without sockets.

The frontend's own router, ranks, index and feeds; messages are decoded as they come off the wire.
Every rank holds CACHE_BLOCKS blocks, of which SHARED_BLOCKS are the beginning of the long prompts.
"""

import gc
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from random import Random
from statistics import median
from typing import Any, Final

import numpy as np

from bench.kit.usage import rss_mib
from bench.routing.engine_rank import BLOCK_TOKENS
from bench.routing.frontend_side import FrontendSide
from frontend.fleet.rank import Rank
from frontend.routing.policies.modes import policy_of
from frontend.routing.route import RouteRequest, Weights
from frontend.routing.router import Lifetimes
from kv_events.rank_feed import FeedCounts, RankFeed
from protocol.codec import decode_to_frontend, encode
from protocol.generation import Generate, Sampling
from protocol.kv_stream import (
    GPU,
    BlockBatch,
    Change,
    Removed,
    Snapshot,
    Stored,
    decode_batch,
    encode_batch,
    pack_hashes,
)
from protocol.membership import Heartbeat, RankLoad
from protocol.replies import Delta, StepBatch

COUNTS: Final = (1, 8, 64, 128, 256, 512, 1_024)
CACHE_BLOCKS: Final = 2_048
"""Of 64 tokens: 131,072 tokens a rank; at 1,024 ranks half of what the index may hold."""
SHARED_BLOCKS: Final = 64
SHORT_TOKENS, LONG_TOKENS = 128, 8_192
REQUESTS: Final = 300
ROUNDS: Final = 5
RANKS_OF_A_WORKER: Final = 8
BATCH_BLOCKS: Final = 8
STEP_DELTAS: Final = 64
"""Requests that a step brings a token each."""


def curve() -> list[dict[str, Any]]:
    """A point for each count, in a process of its own, whose memory nobody used before."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.map(_point, COUNTS, chunksize=1)


def _cost_us(work: Callable[[], None], count: int) -> float:
    """CPU of one of `count` things that `work` does, the median of ROUNDS."""
    found: list[float] = []
    for _ in range(ROUNDS):
        begun_s = time.process_time()
        work()
        found.append(1e6 * (time.process_time() - begun_s) / count)
    return median(found)


def _point(count: int) -> dict[str, Any]:
    gc.collect()
    before_mib = rss_mib(os.getpid())
    draw = np.random.default_rng(1)
    shared = draw.integers(3, 32_000, SHARED_BLOCKS * BLOCK_TOKENS, dtype=np.uint32).tobytes()
    side = FrontendSide(
        "kv",
        policy_of("kv", Weights(), Random(1)),
        count,
        CACHE_BLOCKS * BLOCK_TOKENS,
        BLOCK_TOKENS,
        Lifetimes(predicted_s=10.0, assumed_s=120.0, session_s=300.0),
        Random(1),
    )
    beginning = list(RouteRequest(shared).blocks(BLOCK_TOKENS))
    for rank in side.ranks:
        own = draw.integers(0, 1 << 63, CACHE_BLOCKS - SHARED_BLOCKS, dtype=np.uint64)
        rank.blocks.store(GPU, [*beginning, *map(int, own)])
    told: dict[str, Any] = {
        "ranks": count,
        "blocks": count * CACHE_BLOCKS,
        "bytes_per_block": round(
            (rss_mib(os.getpid()) - before_mib) * 2**20 / (count * CACHE_BLOCKS), 1
        ),
        "route_short_us": _routing_us(side, draw, b"", SHORT_TOKENS),
        "route_long_us": _routing_us(side, draw, shared, LONG_TOKENS),
        "beat_us_per_rank": _beats_us(side.ranks),
        "event_us_per_block": _events_us(side.ranks[0], draw),
        **_wire_bytes(),
    }
    told = {key: round(value, 3) for key, value in told.items()}
    print(told, flush=True)
    return told


def _routing_us(side: FrontendSide, draw: np.random.Generator, shared: bytes, tokens: int) -> float:
    """A request is placed, gets its first token, and ends."""
    fresh = tokens - len(shared) // 4
    prompts = [
        shared + draw.integers(3, 32_000, fresh, dtype=np.uint32).tobytes() for _ in range(REQUESTS)
    ]
    requests = [
        Generate(str(number), "m", prompt, Sampling(1), 0) for number, prompt in enumerate(prompts)
    ]

    def route() -> None:
        for request in requests:
            side.place(request, 0.0)
            booking = side.bookings.pop(request.request_id)
            booking.note_token()
            side.leaders.computed(request.request_id)
            booking.release()

    cost_us = _cost_us(route, REQUESTS)
    for rank in side.ranks:
        rank.blocks.forget_predictions()
    return cost_us


def _beats_us(ranks: list[Rank]) -> float:
    """A heartbeat of RANKS_OF_A_WORKER ranks is decoded and taken over, for each of them."""
    some = ranks[:RANKS_OF_A_WORKER]
    loads = [RankLoad(index, 12, 0, 40_000, 0, 77) for index in range(len(some))]
    frames = encode(Heartbeat("worker", 1, loads))
    times = 2_000

    def beat() -> None:
        for _ in range(times):
            heartbeat = decode_to_frontend(frames)
            assert isinstance(heartbeat, Heartbeat)
            for rank, load in zip(some, heartbeat.ranks, strict=True):
                rank.report(load, 0.0)
                rank.blocks.expire(0.0)

    return _cost_us(beat, times * len(some))


def _wire_bytes() -> dict[str, float]:
    """What travels between a worker and a frontend, without TCP's and ZMQ's few bytes a message."""
    ids = [f"{number:032x}" for number in range(STEP_DELTAS)]
    step = encode(StepBatch([Delta(each, 100, bytes(4)) for each in ids]))
    changes: list[Change] = [Stored(GPU, pack_hashes(range(BATCH_BLOCKS)))]
    batch = encode_batch(BlockBatch(1 << 62, 0, 1 << 20, 1.7e9, changes))
    load = [RankLoad(0, 12, 3, 40_000, 900, 77)]
    return {
        "mesh_bytes_per_token": sum(map(len, step)) / STEP_DELTAS,
        "event_bytes_per_block": sum(map(len, batch)) / BATCH_BLOCKS,
        "beat_bytes": sum(map(len, encode(Heartbeat("worker", 1 << 62, load)))),
    }


def _events_us(rank: Rank, draw: np.random.Generator) -> float:
    """A batch of a prompt's blocks is decoded and applied, and then the batch that evicts them."""
    feed = RankFeed(rank.blocks, lambda: None, FeedCounts(), 0.0)
    feed.on_snapshot(Snapshot(0, 0, 0, []), 0.0)
    times, messages, number = 500, list[list[bytes]](), 0
    for _ in range(times * ROUNDS):
        hashes = pack_hashes(map(int, draw.integers(0, 1 << 63, BATCH_BLOCKS, dtype=np.uint64)))
        for change in (Stored(GPU, hashes), Removed(GPU, hashes)):
            number += 1
            messages.append(encode_batch(BlockBatch(0, 0, number, 0.0, [change])))
    coming = iter(messages)

    def take() -> None:
        for _ in range(2 * times):
            feed.on_batch(decode_batch(next(coming)), 0.0)

    return _cost_us(take, 2 * times * BATCH_BLOCKS)
