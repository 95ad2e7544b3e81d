"""The OpenAPI document: FastAPI's own routes, plus the hot paths that FastAPI never sees, from
their msgspec structs.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from frontend.api.anthropic.schemas import CountTokensRequest, MessagesRequest
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.native.abort_request import AbortRequest
from frontend.api.native.schemas import GenerateRequest
from frontend.api.native.tokenizing import DetokenizeRequest, TokenizeRequest
from frontend.api.responses.schemas import ResponsesRequest
from frontend.api.vectors.schemas import EmbeddingRequest, RerankRequest, ScoreRequest


class _Path(NamedTuple):
    """A hot path's request, the fields that each of its answers has, and whether it streams."""

    request: type[msgspec.Struct]
    answer: str
    streams: bool = False


_PATHS: Final = {
    "/v1/chat/completions": _Path(
        ChatCompletionRequest, "id object created model choices usage", streams=True
    ),
    "/v1/completions": _Path(
        CompletionRequest, "id object created model choices usage", streams=True
    ),
    "/v1/embeddings": _Path(EmbeddingRequest, "object data model usage"),
    "/v1/rerank": _Path(RerankRequest, "id model results usage"),
    "/v1/score": _Path(ScoreRequest, "id object created model data usage"),
    "/rerank": _Path(RerankRequest, "id model results usage"),
    "/score": _Path(ScoreRequest, "id object created model data usage"),
    "/v1/responses": _Path(
        ResponsesRequest, "id object created_at status model output usage", streams=True
    ),
    "/v1/messages": _Path(
        MessagesRequest, "id type role model content stop_reason usage", streams=True
    ),
    "/v1/messages/count_tokens": _Path(CountTokensRequest, "input_tokens"),
    "/generate": _Path(GenerateRequest, "text output_ids meta_info", streams=True),
    "/tokenize": _Path(TokenizeRequest, "tokens count max_model_len"),
    "/v1/tokenize": _Path(TokenizeRequest, "tokens count max_model_len"),
    "/detokenize": _Path(DetokenizeRequest, "text"),
    "/v1/detokenize": _Path(DetokenizeRequest, "text"),
    "/abort_request": _Path(AbortRequest, "aborted"),
}

_LISTS: Final = ("/generate",)
"""Paths that answer a list of prompts with a list."""

_ANTHROPIC: Final = "/v1/messages"
"""Paths that begin so have errors in Anthropic's form."""

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


_ANTHROPIC_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}


def document(app: FastAPI, hot_paths: Iterable[str]) -> dict[str, Any]:
    """The whole document; made once and kept by the application."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                _document_errors(path, operation)
        paths = {path: _PATHS[path] for path in hot_paths}
        references, components = msgspec.json.schema_components(
            [path.request for path in paths.values()], ref_template="#/components/schemas/{name}"
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas.update(components | {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR})
        for (path, spoken), reference in zip(paths.items(), references, strict=True):
            schema["paths"][path] = {"post": _operation(path, spoken, reference)}
        app.openapi_schema = schema
    return app.openapi_schema


def _operation(path: str, spoken: _Path, reference: dict[str, Any]) -> dict[str, Any]:
    fields = spoken.answer.split()
    one: dict[str, Any] = {
        "type": "object",
        "required": fields,
        "properties": {field: {} for field in fields},
    }
    answer = {"oneOf": [one, {"type": "array", "items": one}]} if path in _LISTS else one
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if spoken.streams:
        content["text/event-stream"] = {}
    operation = {
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {
            "200": {
                "description": "The answer, or its stream of events"
                if spoken.streams
                else "The answer",
                "content": content,
            }
        },
    }
    _document_errors(path, operation)
    return operation


def _document_errors(path: str, operation: dict[str, Any]) -> None:
    """Every status but 200 is an error in the form of the path's own client; FastAPI's 422 is never
    sent.
    """
    name = "AnthropicError" if path.startswith(_ANTHROPIC) else "Error"
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {
        "description": "Error",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }
