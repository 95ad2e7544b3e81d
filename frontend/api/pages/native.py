"""GET /model_info and /server_info, under both names that SGLang has for each, tell its own tools
what they ask a server before they begin; what they would do to its engine is not done here.
"""

from typing import Any, Final

from fastapi import FastAPI, Request

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.models.services import use_of
from protocol.errors import NoWorker, RouteNotFound

RANKS_TOLD_MAX: Final = 1_024
"""Bounds the ranks that the page of the server lists: a tool reads the first, and sums a few."""

OPERATED: Final = ("flush_cache", "start_profile", "stop_profile")
"""Names what SGLang's tools ask of an engine itself, which is its operator's to ask."""


def add_native_pages(app: FastAPI, registry: Registry) -> None:
    """Adds SGLang's pages about the model and the server, which speak of the first model that is
    served.
    """

    def first() -> ModelEntry:
        entry = next(iter(registry.available()), None)
        if entry is None:
            raise NoWorker("No worker serves a model at the moment. Please retry shortly.")
        return entry

    async def model_info() -> dict[str, Any]:
        entry = first()
        card = entry.served.card
        return _paths(entry) | {
            "served_model_name": card.name,
            "is_generation": use_of(entry.service).generates,
            "preferred_sampling_params": None,
            "reasoning_parser": card.reasoning_parser or None,
            "tool_call_parser": card.tool_call_parser or None,
        }

    async def server_info() -> dict[str, Any]:
        entry = first()
        card = entry.served.card
        workers = _workers(entry)
        capacities = [worker.hello.capacity for worker in workers]
        ranks = [capacity for capacity in capacities for _ in range(capacity.dp_size)]
        return _paths(entry) | {
            "served_model_name": card.name,
            "context_length": card.context_length,
            "dp_size": len(ranks),
            "max_total_num_tokens": sum(rank.kv_tokens for rank in ranks),
            "max_running_requests": sum(rank.requests_running_max for rank in ranks),
            "engines": [worker.hello.engine for worker in workers],
            "internal_states": [
                {
                    "dp_size": len(ranks),
                    "effective_max_running_requests_per_dp": rank.requests_running_max,
                    "memory_usage": {"token_capacity": rank.kv_tokens},
                }
                for rank in ranks[:RANKS_TOLD_MAX]
            ],
        }

    for path, page in (("model_info", model_info), ("server_info", server_info)):
        app.add_api_route(f"/{path}", page, methods=["GET"])
        app.add_api_route(f"/get_{path}", page, methods=["GET"], include_in_schema=False)

    async def operated(request: Request) -> None:
        raise RouteNotFound(
            "What is done to an engine is asked by the operator, on a worker's system port: POST "
            f"/engine{request.url.path}. Clients empty no caches here."
        )

    for name in OPERATED:
        app.add_api_route(f"/{name}", operated, methods=["GET", "POST"], include_in_schema=False)


def _paths(entry: ModelEntry) -> dict[str, str]:
    """Where the first worker has its model and tokenizer from: SGLang's tools read them there."""
    hello = _workers(entry)[0].hello
    name = entry.served.card.name
    return {
        "model_path": hello.model_path or name,
        "tokenizer_path": hello.tokenizer_path or name,
    }


def _workers(entry: ModelEntry) -> list[Worker]:
    """Returns the model's workers, in the same order each time."""
    return sorted(entry.workers, key=lambda worker: worker.worker_id)
