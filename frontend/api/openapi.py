"""The OpenAPI document is made of FastAPI's own routes and of the msgspec structs of the endpoints
that FastAPI never sees.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from frontend.api.anthropic.errors import ANTHROPIC_ERRORS
from frontend.api.endpoints import Endpoint, SchemaPage
from frontend.http.error_forms import OPENAI_ERRORS, ErrorForm

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


_ERROR_NAMES: Final[dict[ErrorForm, str]] = {
    OPENAI_ERRORS: "Error",
    ANTHROPIC_ERRORS: "AnthropicError",
}


def document(app: FastAPI, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """Returns the whole OpenAPI document, which is made once and kept by the application."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for operations in schema["paths"].values():
            for operation in operations.values():
                _document_errors(operation, OPENAI_ERRORS)
        pages = [
            (path, endpoint.page, endpoint.errors)
            for path, endpoint in endpoints.items()
            if endpoint.page is not None
        ]
        references, components = msgspec.json.schema_components(
            [page.body for _, page, _ in pages], ref_template="#/components/schemas/{name}"
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas.update(components | {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR})
        for (path, page, errors), reference in zip(pages, references, strict=True):
            operation = _operation(path, page, reference)
            _document_errors(operation, errors)
            schema["paths"][path] = {"post": operation}
        app.openapi_schema = schema
    return app.openapi_schema


def _operation(path: str, page: SchemaPage, reference: dict[str, Any]) -> dict[str, Any]:
    fields = page.answer.split()
    one: dict[str, Any] = {
        "type": "object",
        "required": fields,
        "properties": {field: {} for field in fields},
    }
    answer = {"oneOf": [one, {"type": "array", "items": one}]} if page.lists else one
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if page.streams:
        content["text/event-stream"] = {}
    return {
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {
            "200": {
                "description": "The answer, or its stream of events"
                if page.streams
                else "The answer",
                "content": content,
            }
        },
    }


def _document_errors(operation: dict[str, Any], errors: ErrorForm) -> None:
    """Documents every status but 200 as an error in the form of the path's own client; FastAPI's
    422 is never sent.
    """
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {
        "description": "Error",
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{_ERROR_NAMES[errors]}"}}
        },
    }
