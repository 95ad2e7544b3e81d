"""Shows what a frontend's router knows of each worker, as metrics, under the reference product's
names.
"""

from collections.abc import Iterator

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.observe.decision_parts import EVERY
from frontend.observe.read_families import PAUSE, Reading
from frontend.observe.router_metrics import RouterMetrics


def worker_readings(
    registry: Registry, router: RouterMetrics, *, router_id: str, prefix: str
) -> Iterator[Reading | None]:
    """Yields what this frontend's router knows of each worker; what it knew of one that is gone
    goes with it; between one and another there is a PAUSE.

    Args:
        router: has the times of all choices.
        router_id: names this frontend.
        prefix: what the reference product's names of a frontend begin with.
    """
    yield from _decisions(router_id, router)
    for worker in list(registry.workers.values()):
        yield PAUSE
        namespace = worker.hello.endpoint.removeprefix("dyn://").partition(".")[0]
        labels = {
            "dynamo_namespace": namespace,
            "dynamo_component": "router",
            "router_id": router_id,
            "worker_id": worker.worker_id,
        }
        yield from _routed(worker, labels)
        yield from _active(worker, prefix)


def _decisions(router_id: str, router: RouterMetrics) -> Iterator[Reading]:
    yield (
        "kvmesh_router_decision_seconds",
        "Time to choose a rank, hashing included",
        "histogram",
        router.decision_s,
        {},
    )
    yield (
        "dynamo_router_overhead_total_ms",
        "The same in milliseconds",
        "histogram",
        router.decision_s.scaled(1_000),
        {"router_id": router_id},
    )
    for name, help_text, seconds in router.decision_parts.named():
        yield (
            f"dynamo_router_overhead_{name}_ms",
            f"Of that, in milliseconds, {help_text}: of one choice in {EVERY} by KV events",
            "histogram",
            seconds.scaled(1_000),
            {"router_id": router_id},
        )


def _routed(worker: Worker, labels: dict[str, str]) -> Iterator[Reading]:
    tally = worker.tally
    for name, help_text, kind, value in (
        ("worker_registered", "1 while the worker is connected", "gauge", 1),
        ("requests_started", "Requests sent to the worker", "counter", tally.started),
        ("requests", "Of these, completed by its engine", "counter", tally.finished),
        (
            "kv_selected_cached_prefix_tokens",
            "Tokens of their prompts that were expected in the chosen rank's cache",
            "counter",
            tally.predicted_tokens,
        ),
        (
            "kv_best_eligible_cached_prefix_tokens",
            "Those that the rank held which held most of them",
            "counter",
            tally.best_tokens,
        ),
        (
            "time_to_first_token_seconds",
            "From the wish for a rank to the first token",
            "histogram",
            tally.ttft,
        ),
        (
            "inter_token_latency_seconds",
            "Between a request's tokens, in its mean",
            "histogram",
            tally.itl,
        ),
        ("input_sequence_tokens", "Tokens of a prompt", "histogram", tally.input_tokens),
        ("output_sequence_tokens", "Tokens of an answer", "histogram", tally.output_tokens),
        (
            "kv_hit_rate",
            "Share of a prompt that was expected in the chosen rank's cache, 0 to 1",
            "histogram",
            tally.hit_rate,
        ),
    ):
        yield f"dynamo_component_router_{name}", help_text, kind, value, labels
    yield (
        "dynamo_component_router_kv_worker_reused_tokens",
        "Tokens of prompts that the engine found in its cache",
        "counter",
        tally.cached_tokens,
        {**labels, "model": worker.hello.card.name, "phase": worker.hello.stage},
    )


def _active(worker: Worker, prefix: str) -> Iterator[Reading]:
    for rank in worker.ranks:
        labels = {
            "worker_id": rank.worker_id,
            "dp_rank": str(rank.dp_rank),
            "worker_type": worker.hello.stage,
        }
        yield (
            f"{prefix}_worker_active_decode_blocks",
            "Blocks of a rank's KV cache that requests hold, as this frontend counts",
            "gauge max",
            rank.kv_tokens // rank.block_size_tokens,
            labels,
        )
        yield (
            f"{prefix}_worker_active_prefill_tokens",
            "Tokens of prompts that a rank has yet to compute, as this frontend counts",
            "gauge max",
            rank.prefill_tokens,
            labels,
        )
        latest = worker.tally.latest.get(rank.dp_rank)
        if latest is None:
            continue
        for name, help_text, value in (
            ("time_to_first_token_seconds", "Of the last request on a rank", latest.ttft_s),
            ("inter_token_latency_seconds", "Of the same request, its mean", latest.itl_s),
            ("input_sequence_tokens", "Of the same request, its prompt", latest.prompt_tokens),
        ):
            yield f"{prefix}_worker_last_{name}", help_text, "gauge max", value, labels
