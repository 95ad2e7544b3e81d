"""Shows what the models that are served can do, as metrics, under the reference product's names."""

from collections.abc import Iterator

from frontend.fleet.registry import Registry
from frontend.observe.read_families import Reading
from frontend.settings import FrontendSettings


def model_readings(registry: Registry, settings: FrontendSettings) -> Iterator[Reading]:
    """Yields gauges of each model that has workers, as one of these says."""
    for entry in registry.available():
        labels = {"model": entry.served.card.name}
        capacity = entry.workers[0].hello.capacity
        blocks = capacity.kv_tokens // capacity.block_size_tokens * capacity.dp_size
        for name, help_text, value in (
            ("model_ready", "1 while somebody takes requests for the model", entry.ready),
            (
                "model_context_length",
                "Most tokens of prompt and answer together",
                entry.served.card.context_length,
            ),
            (
                "model_kv_cache_block_size",
                "Tokens of a block, by which cached prefixes are told",
                capacity.block_size_tokens,
            ),
            ("model_total_kv_blocks", "Blocks of such a worker's KV cache", blocks),
            (
                "model_max_num_seqs",
                "Requests that such a worker runs at once",
                capacity.requests_running_max * capacity.dp_size,
            ),
            (
                "model_max_num_batched_tokens",
                "Prompt tokens that one of its ranks computes in a step",
                capacity.prefill_step_tokens,
            ),
            (
                "model_migration_limit",
                "Times that a request is moved whose worker is lost",
                settings.migration_limit,
            ),
        ):
            yield f"{settings.metrics_prefix}_{name}", help_text, "gauge max", float(value), labels
