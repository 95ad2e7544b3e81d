"""A worker's metrics are put together for Prometheus, from its board and from its engine."""

import logging
from collections.abc import Sequence
from typing import Final

from workers.health.rank_watch import RankState
from workers.observe.engine_families import engine_families
from workers.observe.families import Labels, Samples, family, head, sample
from workers.observe.request_families import embedding_families, request_families
from workers.system.board import Board

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_RESULTS: Final = ("ok", "timeout", "failed")


def exposition(board: Board) -> bytes:
    """Returns all metrics of the worker, and its engine's own if it keeps them."""
    return own_metrics(board).encode() + engine_metrics(board)


def own_metrics(board: Board) -> str:
    """Returns the worker's own metric families as text."""
    state, served = board.state, board.served
    worker: Labels = {"worker_id": board.worker_id}
    labels = worker if served is None else served.labels(board.worker_id)
    return "".join(
        (
            family(
                "dynamo_component_uptime_seconds",
                "gauge",
                "Since the process started",
                [(labels, board.uptime_s)],
            ),
            _life(board, worker),
            _health(state.ranks, worker),
            "" if served is None else request_families(board.counts, labels),
            ""
            if served is None
            else engine_families(served, state.loads, board.counts.ranks, board.worker_id),
            embedding_families(board.counts, served) if served and served.embeds else "",
        )
    )


def engine_metrics(board: Board) -> bytes:
    """Returns what the engine itself counts; nothing unless it was told to."""
    write, served = board.engine_metrics, board.served
    if write is None or served is None:
        return b""
    try:
        return write(served.labels(board.worker_id))
    except Exception:
        log.exception("the engine's own metrics cannot be read")
        return b""


def _life(board: Board, labels: Labels) -> str:
    state = board.state
    return "".join(
        family(f"kvmesh_worker_{name}", "gauge", text, [(labels, float(value))])
        for name, text, value in (
            ("ready", "Whether the worker gets new work", not board.reasons_not_ready()),
            (
                "draining",
                "Whether it finishes and leaves",
                state.phase in ("draining", "leaving"),
            ),
            ("healthy", "Whether every rank answers", not state.unhealthy),
            (
                "requests_running",
                "Unfinished requests of all frontends",
                state.requests_running,
            ),
            (
                "frontends_connected",
                "Frontends that took the worker in",
                state.frontends_connected,
            ),
            (
                "loop_stalled_seconds",
                "How long the loop has hung; 0 if it turns",
                board.stalled_s(),
            ),
        )
    )


def _health(states: Sequence[RankState], worker: Labels) -> str:
    ranks = [({**worker, "dp_rank": str(number)}, rank) for number, rank in enumerate(states)]
    results = [
        ({**labels, "result": result}, float(getattr(rank, result)))
        for labels, rank in ranks
        for result in _RESULTS
    ]
    silences = [(labels, rank.silence_s) for labels, rank in ranks if rank.silence_s is not None]
    return "".join(
        (
            family(
                "kvmesh_worker_engine_silence_seconds",
                "gauge",
                "Since a rank's last sign of life",
                silences,
            ),
            family(
                "kvmesh_worker_canaries_total",
                "counter",
                "Health checks, by rank and result",
                results,
            ),
            _latencies(ranks) if ranks else "",
        )
    )


def _latencies(ranks: list[tuple[dict[str, str], RankState]]) -> str:
    name = "kvmesh_worker_canary_latency_seconds"
    lines = [head(name, "summary", "How long answered health checks took")]
    for labels, rank in ranks:
        lines += [
            sample(f"{name}_sum", labels, rank.latency_s_sum),
            sample(f"{name}_count", labels, float(rank.ok)),
        ]
    last: Samples = [
        (labels, rank.latency_s_last) for labels, rank in ranks if rank.latency_s_last is not None
    ]
    return "".join(lines) + family(
        "kvmesh_worker_canary_latency_last_seconds", "gauge", "How long the last one took", last
    )
