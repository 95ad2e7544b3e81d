"""How full an engine's ranks are is written for Prometheus, under the reference product's names
where it has them.
"""

from collections.abc import Sequence

from protocol.membership import RankLoad
from workers.observe.families import family
from workers.observe.hit_rate import HitRate
from workers.observe.served import Served


def engine_families(
    served: Served, loads: Sequence[RankLoad], ranks: Sequence[HitRate], worker_id: str
) -> str:
    """Returns the families of capacity and load.

    Args:
        loads: of each rank, as last read; none where the engine cannot tell.
        ranks: what prompts found in the cache of each rank.
    """
    return (
        _cache(served, loads, ranks)
        + _queue(served, loads, worker_id)
        + _ranks(loads, ranks, worker_id)
    )


def _cache(served: Served, loads: Sequence[RankLoad], ranks: Sequence[HitRate]) -> str:
    capacity, labels = served.capacity, served.component_labels
    pages = capacity.kv_tokens // capacity.page_size_tokens
    of_rank = [{**labels, "dp_rank": str(rank)} for rank in range(capacity.dp_size)]
    shares = [(each, rank.share) for each, rank in zip(of_rank, ranks, strict=False)]
    return "".join(
        (
            family(
                "dynamo_component_model_load_time_seconds",
                "gauge",
                "Time that the engine took to start",
                [(labels, served.loaded_s)],
            ),
            family(
                "dynamo_component_total_blocks",
                "gauge",
                "Pages of a rank's KV cache",
                [(each, float(pages)) for each in of_rank],
            ),
            family(
                "dynamo_component_gpu_cache_usage_percent",
                "gauge",
                "Share of a rank's KV cache that requests use, 0 to 1",
                [
                    (of_rank[load.dp_rank], min(load.kv_tokens_used / capacity.kv_tokens, 1.0))
                    for load in loads
                    if load.dp_rank < capacity.dp_size
                ],
            ),
            family(
                "dynamo_component_kv_cache_hit_rate",
                "gauge",
                "Share of the latest requests' prompts that was cached, 0 to 1",
                [(each, share) for each, share in shares if share is not None],
            ),
        )
    )


def _queue(served: Served, loads: Sequence[RankLoad], worker_id: str) -> str:
    """Returns what the reference product tells of its pool of tasks, which is the engine here."""
    capacity, labels = served.capacity, served.labels(worker_id)
    queued_max = capacity.requests_queued_max
    values = (
        (
            "pool_active_tasks",
            "Requests that the engine's ranks run",
            sum(load.requests_running for load in loads),
        ),
        (
            "pool_capacity",
            "Requests that the engine's ranks run at once at most",
            capacity.requests_running_max * capacity.dp_size,
        ),
        (
            "queue_depth",
            "Requests that wait in the engine's own queues",
            sum(load.requests_waiting for load in loads),
        ),
        (
            "queue_capacity",
            "Requests that may wait there; left out where only the frontends' credit bounds them",
            None if queued_max is None else queued_max * capacity.dp_size,
        ),
    )
    return "".join(
        family(f"dynamo_work_handler_{name}", "gauge", text, [(labels, float(value))])
        for name, text, value in values
        if value is not None
    )


def _ranks(loads: Sequence[RankLoad], ranks: Sequence[HitRate], worker_id: str) -> str:
    of_load = [({"worker_id": worker_id, "dp_rank": str(load.dp_rank)}, load) for load in loads]
    of_rank = [
        ({"worker_id": worker_id, "dp_rank": str(number)}, rank)
        for number, rank in enumerate(ranks)
    ]
    return "".join(
        (
            family(
                "kvmesh_worker_rank_requests_running",
                "gauge",
                "Requests that a rank runs",
                [(labels, float(load.requests_running)) for labels, load in of_load],
            ),
            family(
                "kvmesh_worker_rank_requests_waiting",
                "gauge",
                "Requests that wait in a rank's queue",
                [(labels, float(load.requests_waiting)) for labels, load in of_load],
            ),
            family(
                "kvmesh_worker_rank_kv_tokens_used",
                "gauge",
                "Tokens of a rank's KV cache that requests use",
                [(labels, float(load.kv_tokens_used)) for labels, load in of_load],
            ),
            family(
                "kvmesh_worker_prompt_tokens_total",
                "counter",
                "Tokens of the prompts of requests that ended",
                [(labels, float(rank.prompt_tokens)) for labels, rank in of_rank],
            ),
            family(
                "kvmesh_worker_cached_tokens_total",
                "counter",
                "Of these, found in the rank's cache",
                [(labels, float(rank.cached_tokens)) for labels, rank in of_rank],
            ),
        )
    )
