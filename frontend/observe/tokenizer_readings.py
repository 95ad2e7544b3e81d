"""What the cache of tokenized text counts, as metrics."""

from collections.abc import Iterator

from frontend.observe.router_metrics import Reading
from frontend.text.tokenizing.segment_cache import SegmentCache


def tokenizer_readings(cache: SegmentCache) -> Iterator[Reading]:
    """Gauges and counters of this moment. Texts too short for a lookup are not counted."""
    for name, help_text, kind, value in (
        ("hits", "Texts of which a part had been tokenized before", "counter", cache.hits),
        ("misses", "Texts of which nothing had been", "counter", cache.misses),
        ("cached_tokens", "Tokens of these texts that were found", "counter", cache.cached_tokens),
        (
            "uncached_tokens",
            "Tokens of these texts that were not",
            "counter",
            cache.uncached_tokens,
        ),
        ("bytes", "Memory that tokenized text takes", "gauge", cache.bytes_held),
        ("bytes_max", "Bound on that", "gauge", cache.bytes_max),
    ):
        yield f"kvmesh_frontend_tokenizer_cache_{name}", help_text, kind, value, {}
