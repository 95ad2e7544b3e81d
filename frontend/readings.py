"""Shows what the parts of a frontend count by themselves, as metrics."""

from collections.abc import Iterator
from typing import Any

from frontend.drain import Drain
from frontend.fleet.registry import Registry
from frontend.observe.families import Family
from frontend.observe.loop_lag import EVERY_S, STALL_S, LoopLag
from frontend.observe.metrics import FrontendMetrics
from frontend.observe.read_families import Reading
from frontend.text.tokenizing.segment_cache import SegmentCache
from kv_events.index import BlockBudget
from kv_events.subscriber import KvSubscriber


def router_readings(
    registry: Registry, budget: BlockBudget, subscriber: KvSubscriber | None
) -> Iterator[Reading]:
    """Yields gauges and counters of the router, the ranks and the KV plane, as they are now."""
    yield (
        "kvmesh_router_index_blocks",
        "Cached blocks known, summed over ranks",
        "gauge max",
        budget.blocks,
        {},
    )
    yield "kvmesh_router_index_blocks_max", "Bound on that", "gauge max", budget.blocks_max, {}
    yield from _ranks(registry)
    yield from _relays(registry)
    if subscriber is None:
        return
    counts = subscriber.counts
    for event_type, value in (
        ("stored", counts.stored),
        ("removed", counts.removed),
        ("cleared", counts.cleared),
    ):
        yield (
            "dynamo_component_kv_cache_events_applied",
            "Changes of ranks' caches that were taken over",
            "gauge",  # for its name, which is not that of a counter
            value,
            {"event_type": event_type, "status": "ok"},
        )
    for name, help_text, value in (
        ("batches", "KV event batches applied", counts.batches),
        ("duplicates", "KV event batches seen before", counts.duplicates),
        ("gaps", "KV event batches missing, the lost tails of bursts included", counts.gaps),
        ("snapshots", "Snapshots of a rank taken over", counts.snapshots),
        (
            "drops",
            "Times that a rank's blocks were forgotten since they could not be trusted",
            counts.drops,
        ),
        ("malformed", "Messages of the KV plane that are none", subscriber.malformed),
    ):
        yield f"kvmesh_kv_{name}", help_text, "counter", value, {}


def tokenizer_readings(cache: SegmentCache, prefix: str) -> Iterator[Reading]:
    """Yields what the cache of tokenized text counts; texts too short for a lookup are not
    counted.

    Args:
        prefix: what the reference product's names begin with.
    """
    for name, help_text, value in (
        ("hits", "Texts of which a part was remembered", cache.hits),
        ("misses", "Texts of which nothing was", cache.misses),
        ("cached_tokens", "Tokens of these texts that were found", cache.cached_tokens),
        (
            "uncached_tokens",
            "Tokens of these texts that were not",
            cache.uncached_tokens,
        ),
    ):
        yield f"{prefix}_tokenizer_cache_{name}", help_text, "counter", value, {}
    for name, help_text, value in (
        ("bytes", "Memory that tokenized text takes", cache.bytes_held),
        ("bytes_max", "Bound on that", cache.bytes_max),
    ):
        yield f"kvmesh_frontend_tokenizer_cache_{name}", help_text, "gauge", value, {}


def loop_readings(lag: LoopLag, prefix: str) -> Iterator[Reading]:
    """Yields how late the loop was.

    Args:
        prefix: what the reference product's names begin with.
    """
    yield (
        f"{prefix}_event_loop_delay_seconds",
        f"How late the loop came to what was due, looked at every {EVERY_S:g} s",
        "histogram",
        lag.late_s,
        {},
    )
    yield (
        f"{prefix}_event_loop_stall",
        f"Of these looks, those at which it was later than {STALL_S:g} s",
        "counter",
        lag.stalls,
        {},
    )


def _ranks(registry: Registry) -> Iterator[Reading]:
    for worker in registry.workers.values():
        for rank in worker.ranks:
            labels = {"worker_id": rank.worker_id, "dp_rank": str(rank.dp_rank)}
            feed = worker.feed(rank.dp_rank)
            yield (
                "kvmesh_router_rank_requests",
                "Unfinished requests on a rank",
                "gauge max",
                rank.requests,
                labels,
            )
            yield (
                "kvmesh_router_rank_blocks",
                "Cached blocks known of a rank",
                "gauge max",
                len(rank.blocks),
                labels,
            )
            if feed is not None:
                yield (
                    "kvmesh_kv_rank_current",
                    "1 while a rank's blocks are up to date",
                    "gauge min",
                    float(feed.current),
                    labels,
                )


def _relays(registry: Registry) -> Iterator[Reading]:
    for worker in registry.workers.values():
        if not worker.subscriptions:
            continue
        relay = worker.relay
        labels = {"worker_id": worker.worker_id}
        for name, help_text, value in (
            ("gaps", "Batches missing between an engine and its relay", relay.gaps),
            (
                "replays",
                "Times that an engine was asked for batches again, probes included",
                relay.replays,
            ),
            ("losses", "Times that an engine no longer had them", relay.losses),
            ("restarts", "Times that an engine began to count anew", relay.restarts),
            ("orphans", "Pages not taken since the page before them was not known", relay.orphans),
        ):
            yield f"kvmesh_relay_{name}", help_text, "counter max", value, labels


def refresh(metrics: FrontendMetrics, registry: Registry, drain: Drain[Any]) -> None:
    """Sets the gauges that nobody keeps; to be called at every scrape, on the loop."""
    metrics.workers.clear()
    for entry in registry.entries():
        metrics.workers.labels(entry.served.card.name).inc(len(entry.worker_of))
    metrics.queued_requests.clear()
    for entry in registry.entries():
        metrics.queued_requests.labels(entry.served.card.name).inc(len(entry.queue))
    metrics.open_requests.set(len(drain.open))
    metrics.answers.draining.set(drain.begun)
    metrics.answers.read_tasks()


def families_now(metrics: FrontendMetrics, registry: Registry, drain: Drain[Any]) -> list[Family]:
    """Returns this process's metrics as data."""
    refresh(metrics, registry, drain)
    return metrics.families()


async def families_in_turns(
    metrics: FrontendMetrics, registry: Registry, drain: Drain[Any]
) -> list[Family]:
    """Returns the same, with turns of the loop between what is told of one worker and another."""
    refresh(metrics, registry, drain)
    return await metrics.families_in_turns()
