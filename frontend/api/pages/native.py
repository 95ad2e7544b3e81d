"""GET /model_info and /server_info, under both names that SGLang has for each, tell its own tools
what they ask a server before they begin.
"""

from typing import Any

from fastapi import FastAPI

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import Registry
from frontend.models.services import use_of
from protocol.errors import NoWorker


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
        return {
            "model_path": card.name,
            "tokenizer_path": card.name,
            "served_model_name": card.name,
            "is_generation": use_of(entry.service).generates,
            "preferred_sampling_params": None,
            "reasoning_parser": card.reasoning_parser or None,
            "tool_call_parser": card.tool_call_parser or None,
        }

    async def server_info() -> dict[str, Any]:
        entry = first()
        card = entry.served.card
        workers = sorted(entry.workers, key=lambda worker: worker.worker_id)
        return {
            "model_path": card.name,
            "served_model_name": card.name,
            "context_length": card.context_length,
            "dp_size": sum(worker.hello.capacity.dp_size for worker in workers),
            "max_total_num_tokens": sum(
                worker.hello.capacity.kv_tokens * worker.hello.capacity.dp_size
                for worker in workers
            ),
            "max_running_requests": sum(
                worker.hello.capacity.requests_running_max * worker.hello.capacity.dp_size
                for worker in workers
            ),
            "engines": [worker.hello.engine for worker in workers],
            "internal_states": [],
        }

    for path, page in (("model_info", model_info), ("server_info", server_info)):
        app.add_api_route(f"/{path}", page, methods=["GET"])
        app.add_api_route(f"/get_{path}", page, methods=["GET"], include_in_schema=False)
