"""The OpenAPI document is made of FastAPI's own routes and of the msgspec structs of the endpoints
that FastAPI never sees.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from frontend.api.anthropic.errors import ANTHROPIC_ERRORS
from frontend.api.endpoints import Endpoint, SchemaPage
from frontend.http.error_forms import OPENAI_ERRORS, ErrorForm

_PART: Final = re.compile(r"\{(\w+)\}")

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
            (path, method, page, endpoint.errors)
            for path, endpoint in endpoints.items()
            for method, page in _pages(endpoint)
        ]
        bodies = list(dict.fromkeys(page.body for _, _, page, _ in pages if page.body is not None))
        references, components = msgspec.json.schema_components(
            bodies, ref_template="#/components/schemas/{name}"
        )
        reference_of = dict(zip(bodies, references, strict=True))
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas.update(components | {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR})
        for path, method, page, errors in pages:
            operation = _operation(path, method, page)
            if page.body is not None:
                reference = reference_of[page.body]
                content = {"application/json": {"schema": reference}}
                if page.files:
                    form = _form(components[page.body.__name__], page.files)
                    content["multipart/form-data"] = {"schema": form}
                operation["requestBody"] = {"required": True, "content": content}
            _document_errors(operation, errors)
            schema["paths"].setdefault(path, {})[method] = operation
        app.openapi_schema = schema
    return app.openapi_schema


def _pages(endpoint: Endpoint) -> Iterator[tuple[str, SchemaPage]]:
    """Yields the methods of an endpoint that are told, with what is said of each."""
    if endpoint.page is not None:
        yield "get" if endpoint.page.body is None else "post", endpoint.page
    yield from endpoint.pages.items()


def _operation(path: str, method: str, page: SchemaPage) -> dict[str, Any]:
    """Returns what is said of an endpoint but for its body and its errors."""
    fields = page.answer.split()
    one: dict[str, Any] = {
        "type": "object",
        "required": fields,
        "properties": {field: {} for field in fields},
    }
    answer = {"oneOf": [one, {"type": "array", "items": one}]} if page.lists else one
    content: dict[str, Any] = {"application/json": {"schema": answer}} if fields else {}
    content |= {kind: {} for kind in page.types}
    if page.streams:
        content["text/event-stream"] = {}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PART.findall(path)
    ] + [{"name": name, "in": "query", "schema": {"type": "string"}} for name in page.query]
    name = _PART.sub(r"\1", path).strip("/").replace("/", "_")
    return {
        "operationId": name if method in ("get", "post") and page.body else f"{name}_{method}",
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            "200": {
                "description": "The answer, or its stream of events"
                if page.streams
                else "The answer",
                "content": content,
            }
        },
    }


def _form(body: dict[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Returns the schema of a form: that of the body, where some fields may be files."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    fields = {field: {"anyOf": [file, {"type": "array", "items": file}]} for field in files}
    return {
        "type": "object",
        "required": body.get("required", []),
        "properties": body["properties"] | fields,
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
