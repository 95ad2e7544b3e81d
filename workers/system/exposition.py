"""A worker's metrics are written in the text form that Prometheus scrapes.

Written by hand: prometheus_client decides when it is imported whether values are shared between
processes, and SGLang, which wants that, says so only while it starts.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Final

from workers.health.rank_watch import RankState
from workers.system.board import Board

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Mapping[str, str], float]]


def exposition(board: Board) -> bytes:
    """Returns all metrics of the worker, and SGLang's own if it keeps them."""
    return own_metrics(board).encode() + sglang_metrics()


def own_metrics(board: Board) -> str:
    """Returns the worker's own metric families as text."""
    state = board.state
    ranks = [({"dp_rank": str(number)}, rank) for number, rank in enumerate(state.ranks)]
    results = [
        ({**labels, "result": result}, float(getattr(rank, result)))
        for labels, rank in ranks
        for result in _RESULTS
    ]
    silences = [(labels, rank.silence_s) for labels, rank in ranks if rank.silence_s is not None]
    running, connected = float(state.requests_running), float(state.frontends_connected)
    return "".join(
        (
            _family(
                "dynamo_component_uptime_seconds",
                "gauge",
                "Since the process started",
                [({}, board.uptime_s)],
            ),
            _family(
                "kvmesh_worker_ready",
                "gauge",
                "Whether the worker gets new work",
                [({}, float(not board.reasons_not_ready()))],
            ),
            _family(
                "kvmesh_worker_draining",
                "gauge",
                "Whether it finishes and leaves",
                [({}, float(state.phase in ("draining", "leaving")))],
            ),
            _family(
                "kvmesh_worker_healthy",
                "gauge",
                "Whether every rank answers",
                [({}, float(not state.unhealthy))],
            ),
            _family(
                "kvmesh_worker_requests_running",
                "gauge",
                "Unfinished requests of all frontends",
                [({}, running)],
            ),
            _family(
                "kvmesh_worker_frontends_connected",
                "gauge",
                "Frontends that took the worker in",
                [({}, connected)],
            ),
            _family(
                "kvmesh_worker_loop_stalled_seconds",
                "gauge",
                "How long the loop has hung; 0 if it turns",
                [({}, board.stalled_s())],
            ),
            _family(
                "kvmesh_worker_engine_silence_seconds",
                "gauge",
                "Since a rank's last sign of life",
                silences,
            ),
            _family(
                "kvmesh_worker_canaries_total",
                "counter",
                "Health checks, by rank and result",
                results,
            ),
            _latencies(ranks),
        )
    )


def sglang_metrics() -> bytes:
    """Returns SGLang's own `sglang:*` families, collected over all of its processes; nothing
    without --enable-metrics.
    """
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return b""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415  # after SGLang, see above
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # pyright: ignore[reportUnknownArgumentType, reportArgumentType]
    lines = generate_latest(registry).splitlines(keepends=True)
    return b"".join(
        line
        for line in lines
        if line.startswith((b"sglang:", b"# HELP sglang:", b"# TYPE sglang:"))
    )


_RESULTS: Final = ("ok", "timeout", "failed")


def _latencies(ranks: list[tuple[dict[str, str], RankState]]) -> str:
    name = "kvmesh_worker_canary_latency_seconds"
    lines = [_head(name, "summary", "How long answered health checks took")]
    for labels, rank in ranks:
        lines += [
            _sample(f"{name}_sum", labels, rank.latency_s_sum),
            _sample(f"{name}_count", labels, float(rank.ok)),
        ]
    last = [
        (labels, rank.latency_s_last) for labels, rank in ranks if rank.latency_s_last is not None
    ]
    return "".join(lines) + _family(
        "kvmesh_worker_canary_latency_last_seconds", "gauge", "How long the last one took", last
    )


def _family(name: str, kind: str, text: str, samples: Samples) -> str:
    return _head(name, kind, text) + "".join(
        _sample(name, labels, value) for labels, value in samples
    )


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """Returns one line of a family. Label values here are numbers and words of our own, so nothing
    is escaped.
    """
    inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {value!r}\n" if inner else f"{name} {value!r}\n"
