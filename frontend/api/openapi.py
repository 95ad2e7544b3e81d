"""The OpenAPI document: FastAPI's own routes, plus the hot paths that FastAPI never sees, from their msgspec structs."""

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from frontend.api.anthropic.schemas import CountTokensRequest, MessagesRequest
from frontend.api.native.schemas import GenerateRequest
from frontend.api.responses.schemas import ResponsesRequest
from frontend.api.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.tokenizing import DetokenizeRequest, TokenizeRequest
from frontend.api.vector_schemas import EmbeddingRequest, RerankRequest, ScoreRequest

_REQUESTS: dict[str, type[msgspec.Struct]] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/rerank": RerankRequest,
    "/v1/score": ScoreRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountTokensRequest,
    "/generate": GenerateRequest,
    "/tokenize": TokenizeRequest,
    "/v1/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
    "/v1/detokenize": DetokenizeRequest,
}

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(app: FastAPI, hot_paths: Iterable[str]) -> dict[str, Any]:
    """The whole document; made once and kept by the application."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        requests = [_REQUESTS[path] for path in hot_paths]
        references, components = msgspec.json.schema_components(requests, ref_template="#/components/schemas/{name}")
        schema.setdefault("components", {}).setdefault("schemas", {}).update(components | {"Error": _ERROR})
        for path, reference in zip(hot_paths, references, strict=True):
            schema["paths"][path] = {"post": _operation(path, reference)}
        app.openapi_schema = schema
    return app.openapi_schema


def _operation(path: str, reference: dict[str, Any]) -> dict[str, Any]:
    error = {"description": "Error", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    answer = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    return {
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {"200": {"description": "The answer, or its stream of events", "content": answer}, "default": error},
    }
