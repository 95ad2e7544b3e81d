"""FastAPI's routes answer everything that is not a hot path: models, health, metrics, and the
OpenAPI page.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from frontend.api.endpoints import Endpoint
from frontend.api.native.tokenizer_info import tokenizer_info
from frontend.api.openapi import document
from frontend.api.pages.health import health_page, ready_page
from frontend.api.pages.models import add_models
from frontend.api.pages.native import add_native_pages
from frontend.api.pages.status import add_status
from frontend.drain import Drain
from frontend.fleet.registry import Registry
from frontend.http.exchange import Exchange
from frontend.http.headers import error_headers
from frontend.observe.families import exposition
from frontend.observe.metrics import FrontendMetrics
from frontend.processes.siblings import Siblings
from frontend.readings import families_now
from frontend.settings import FrontendSettings
from frontend.status.board import Board
from protocol.error_answers import error_body, error_status
from protocol.errors import InternalFault, MeshError, MethodNotAllowed, ModelNotFound, RouteNotFound
from protocol.process.packaging import VERSION


def build_routes(
    registry: Registry,
    metrics: FrontendMetrics,
    drain: Drain[Exchange],
    settings: FrontendSettings,
    board: Board | None,
    *,
    endpoints: Mapping[str, Endpoint],
    siblings: Siblings | None = None,
) -> FastAPI:
    """Returns the FastAPI application behind the endpoints, which its OpenAPI document tells of
    too.
    """
    app = FastAPI(title="kvmesh", version=VERSION, redoc_url=None, redirect_slashes=False)
    app.openapi = lambda: document(app, endpoints)  # type: ignore[method-assign]
    _add_error_handlers(app)
    add_models(app, registry, drain)
    _add_unstored(app)
    _add_about(app, registry)
    add_native_pages(app, registry)
    _add_health(app, registry, drain, settings, siblings)
    if board is not None:
        add_status(app, board, drain)

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:  # pyright: ignore[reportUnusedFunction]
        whole = None if siblings is None else await siblings.metrics()
        families = families_now(metrics, registry, drain) if whole is None else whole
        # to write some 60 KB of text takes a loop's turn of 6 ms, and to collect it 2
        text = await asyncio.to_thread(exposition, families)
        return Response(text, media_type="text/plain; version=0.0.4")

    return app


def _add_unstored(app: FastAPI) -> None:
    async def no_response(response_id: str) -> None:
        raise RouteNotFound(
            f"Response with id {response_id[:256]!r} not found: nothing is stored here.",
            param="response_id",
        )

    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        app.add_api_route("/v1/responses/{response_id}" + path, no_response, methods=[method])


def _add_about(app: FastAPI, registry: Registry) -> None:
    @app.get("/version")
    async def version() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"version": VERSION}

    @app.get("/tokenizer_info")
    async def about_tokenizer(model: str = "") -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Tells the tokenizer's configuration of the model of that name, or without one of the
        first that is served.
        """
        entry = registry.entry(model) if model else next(iter(registry.available()), None)
        if entry is None:
            raise ModelNotFound(
                f"The model {model[:256]!r} does not exist or is not served here.", param="model"
            )
        return tokenizer_info(entry.served)


def _add_health(
    app: FastAPI,
    registry: Registry,
    drain: Drain[Exchange],
    settings: FrontendSettings,
    siblings: Siblings | None,
) -> None:
    @app.get(settings.http_svc_live_path)
    async def live() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "live"}

    @app.get("/ready")
    async def ready() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        status, page = ready_page(registry, draining=drain.begun, now=_now())
        return JSONResponse(page, status_code=status)

    @app.get(settings.http_svc_health_path)
    async def health() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        elsewhere = {} if siblings is None else await siblings.requests()
        status, page = health_page(registry, draining=drain.begun, now=_now(), elsewhere=elsewhere)
        return JSONResponse(page, status_code=status)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(MeshError)
    async def mesh_error(_: Request, error: MeshError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _error_response(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        headers = _allowing(dict(error.headers or {}))
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        known = {
            404: RouteNotFound(f"Unknown request URL: {request.method} {request.url.path[:200]}."),
            405: MethodNotAllowed(f"Not allowed to {request.method} on {request.url.path[:200]}."),
        }
        answer = _error_response(
            known.get(error.status_code)
            or InternalFault("The server had an error while processing your request.")
        )
        answer.headers.update(headers)
        return answer

    @app.exception_handler(Exception)
    async def defect(_: Request, __: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _error_response(
            InternalFault("The server had an error while processing your request.")
        )


def _allowing(headers: dict[str, str]) -> dict[str, str]:
    """Returns the headers with an Allow of a 405 that has the methods of every route too."""
    if "Allow" in headers:
        methods = {method.strip() for method in headers["Allow"].split(",")} | {"OPTIONS"}
        headers["Allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    return headers


def _error_response(error: MeshError) -> Response:
    return Response(
        error_body(error),
        status_code=error_status(error),
        headers={
            name.decode(): value.decode() for name, value in error_headers(error, closing=False)
        },
        media_type="application/json",
    )
