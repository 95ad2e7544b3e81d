"""What boards that are made for the reference product ask Prometheus, by what each asks for."""

from typing import Final

_FRONTEND: Final = "dynamo_frontend_"
_LATENCIES: Final = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "request_duration_seconds",
)
_LENGTHS: Final = ("input_sequence_tokens", "output_sequence_tokens", "cached_tokens")
_GENERATE: Final = 'dynamo_component="backend",dynamo_endpoint="generate"'


def _quantiles(name: str, by: str = "le", labels: str = "") -> list[str]:
    chosen = f"{{{labels}}}" if labels else ""
    return [
        f"histogram_quantile({share}, sum by ({by}) (rate({name}_bucket{chosen}[30s])))"
        for share in ("0.5", "0.9", "0.99", "1.0")
    ]


def _mean(name: str, labels: str = "") -> str:
    chosen = f"{{{labels}}}" if labels else ""
    return f"rate({name}_sum{chosen}[30s]) / rate({name}_count{chosen}[30s])"


def frontend_queries(model: str) -> list[str]:
    """Of the frontend's requests, for one model."""
    of = f'model="{model}"'
    total = f"{_FRONTEND}requests_total"
    queries = [
        (
            f"(sum(increase({total}{{{of}}}[30s])) - (sum(increase({total}"
            f'{{{of},error_type="internal"}}[30s])))) / sum(increase({total}{{{of}}}[30s])) * 100'
        ),
        f"sum by (model) (rate({total}{{{of}}}[30s]))",
        f'sum(rate({total}{{{of},status="success"}}[30s]))',
        f"rate({_FRONTEND}requests_started_total[30s])",
        f"rate({_FRONTEND}output_tokens_total{{{of}}}[30s])",
        f"rate({_FRONTEND}failures_total[30s])",
        f"rate({_FRONTEND}model_cancellation_total{{{of}}}[30s])",
        f"rate({_FRONTEND}model_migration_total{{{of}}}[30s])",
        f"sum({_FRONTEND}active_requests{{{of}}})",
        f"{_FRONTEND}inflight_requests{{{of}}}",
        f"{_FRONTEND}queued_requests{{{of}}}",
        f"{_FRONTEND}disconnected_clients",
    ]
    queries += [
        f'sum(rate({total}{{status="error",error_type="{kind}"}}[30s]))'
        for kind in ("cancelled", "validation", "not_found", "internal", "unavailable")
    ]
    for name in (*_LATENCIES, *_LENGTHS):
        queries.append(f"sum(increase({_FRONTEND}{name}_sum{{{of}}}[30s]))")
        queries.append(f"1000 * ({_mean(_FRONTEND + name, of)})")
        queries += _quantiles(_FRONTEND + name, labels=of)
    return queries


def router_queries() -> list[str]:
    """Of the router, and of workers as it sees them."""
    queries = [
        "dynamo_frontend_worker_active_decode_blocks",
        "dynamo_frontend_worker_active_prefill_tokens",
        "dynamo_frontend_worker_last_time_to_first_token_seconds",
        "dynamo_frontend_worker_last_inter_token_latency_seconds",
        "dynamo_frontend_worker_last_input_sequence_tokens",
        "rate(dynamo_component_router_requests_total[30s])",
        *_quantiles("dynamo_component_router_kv_hit_rate"),
        *_quantiles("dynamo_component_router_time_to_first_token_seconds"),
        *_quantiles("dynamo_component_router_inter_token_latency_seconds"),
        *_quantiles("dynamo_router_overhead_total_ms"),
    ]
    queries += [
        f'sum(rate(dynamo_component_kv_cache_events_applied{{event_type="{kind}",status="ok"}}[30s]))'
        for kind in ("stored", "removed", "cleared")
    ]
    return queries


def worker_queries(model: str) -> list[str]:
    """Of workers' own pages."""
    of = f'model="{model}"'
    start = "dynamo_component_"
    return [
        f"sum by (instance) (rate({start}requests_total{{{of}}}[30s]))",
        f"sum by (instance) (rate({start}cancellation_total{{{of}}}[30s]))",
        f"sum by (instance, error_type) (rate({start}errors_total{{{of}}}[30s]))",
        f"rate({start}requests_total{{{_GENERATE}}}[30s])",
        _mean(f"{start}request_duration_seconds", _GENERATE),
        *_quantiles(f"{start}request_duration_seconds", "instance, le", of),
        f"{start}inflight_requests",
        f"{start}gpu_cache_usage_percent",
        f"{start}kv_cache_hit_rate",
        f"{start}total_blocks",
        f"{start}uptime_seconds",
        f"{start}model_load_time_seconds",
        f"rate({start}request_bytes_total[30s])",
        f"rate({start}response_bytes_total[30s])",
        "dynamo_work_handler_queue_depth",
        "dynamo_work_handler_pool_active_tasks",
        "dynamo_work_handler_pool_capacity",
        *_quantiles("dynamo_work_handler_time_to_first_response_seconds"),
    ]


def engine_queries() -> list[str]:
    """Of SGLang."""
    queries = [
        "sglang:gen_throughput",
        "sglang:num_running_reqs",
        "sglang:num_queue_reqs",
        "sglang:token_usage",
        "sglang:cache_hit_rate",
    ]
    for name in (
        "e2e_request_latency_seconds",
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
    ):
        queries += _quantiles(f"sglang:{name}")
        queries.append(f"avg({_mean(f'sglang:{name}')})")
    return queries
