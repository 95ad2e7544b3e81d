"""GET /v1/models lists what is served, adapters included, and GET /v1/models/NAME tells one of
them.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from frontend.drain import Drain
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import Registry
from frontend.http.exchange import Exchange
from frontend.models.services import use_of
from protocol.errors import ModelNotFound, RouteNotFound


def add_models(app: FastAPI, registry: Registry, drain: Drain[Exchange]) -> None:
    """Adds the pages that list the served models and tell one of them; adapters are models too."""

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return {
            "object": "list",
            "data": [
                listed for entry in registry.available() for listed in _listed(registry, entry)
            ],
        }

    @app.get("/v1/models/{model_id:path}/ready")
    async def model_ready(model_id: str) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        entry, _ = registry.find(model_id)
        if entry is None:
            raise ModelNotFound(
                f"The model {model_id[:256]!r} does not exist or is not served here.", param="model"
            )
        ready = entry.ready and not drain.begun
        return JSONResponse(
            {"id": model_id, "object": "model", "ready": ready}, status_code=200 if ready else 503
        )

    @app.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        entry, adapter = registry.find(model_id)
        if entry is None or not entry.workers:
            raise ModelNotFound(
                f"The model {model_id[:256]!r} does not exist or is not served here.", param="model"
            )
        return _model(entry) if adapter is None else _adapter(entry, adapter, model_id)

    async def load_adapter() -> None:
        raise RouteNotFound(
            "Adapters are loaded by the operator, on a worker's system port: POST "
            "/engine/load_lora_adapter and"
            " /engine/unload_lora_adapter. Clients name no files here."
        )

    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
        app.post(path, include_in_schema=False)(load_adapter)


def _model(entry: ModelEntry) -> dict[str, Any]:
    card, use = entry.served.card, use_of(entry.service)
    length = {} if use.makes_media else {"max_model_len": card.context_length}
    vectors = {"embedding_dimensions": card.embedding_dimensions} if use.makes_vectors else {}
    return vectors | {
        "id": card.name,
        "object": "model",
        "created": card.created_unix_s,
        "owned_by": "kvmesh",
        **length,
        "root": card.name,
        "parent": None,
        "aliases": card.aliases,
        "service": entry.service,
        "endpoints": use.endpoints,
    }


def _listed(registry: Registry, entry: ModelEntry) -> list[dict[str, Any]]:
    """Returns a model and its LoRA adapters; an adapter whose name means something else goes by
    that of its model too.
    """
    models = [_model(entry)]
    for adapter in sorted(entry.adapters):
        is_plain = registry.find(adapter) == (entry, adapter)
        models.append(
            _adapter(entry, adapter, adapter if is_plain else f"{entry.served.card.name}:{adapter}")
        )
    return models


def _adapter(entry: ModelEntry, adapter: str, model_id: str) -> dict[str, Any]:
    return _model(entry) | {
        "id": model_id,
        "root": adapter,
        "parent": entry.served.card.name,
        "aliases": [],
    }
