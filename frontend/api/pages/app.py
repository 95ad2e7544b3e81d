"""FastAPI's routes answer what is neither a hot path nor a probe: models, the status page, and the
OpenAPI page.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from frontend.api.endpoints import Endpoint
from frontend.api.native.tokenizer_info import tokenizer_info
from frontend.api.openapi import document
from frontend.api.pages.errors import defect_response, error_response
from frontend.api.pages.models import add_models
from frontend.api.pages.native import add_native_pages
from frontend.api.pages.probes import METRICS_PATH, Probe
from frontend.api.pages.status import add_status
from frontend.drain import Drain
from frontend.fleet.registry import Registry
from frontend.http.exchange import Exchange
from frontend.status.board import Board
from protocol.errors import MeshError, MethodNotAllowed, ModelNotFound, RouteNotFound
from protocol.process.packaging import VERSION


def build_routes(
    registry: Registry,
    drain: Drain[Exchange],
    board: Board | None,
    *,
    endpoints: Mapping[str, Endpoint],
    probes: Mapping[str, Probe],
) -> FastAPI:
    """Returns the FastAPI application behind the endpoints and the probes, which its OpenAPI
    document tells of too.
    """
    app = FastAPI(title="kvmesh", version=VERSION, redoc_url=None, redirect_slashes=False)
    app.openapi = lambda: document(app, endpoints)  # type: ignore[method-assign]
    _add_error_handlers(app)
    add_models(app, registry, drain)
    _add_unstored(app)
    _add_about(app, registry)
    add_native_pages(app, registry)
    for path, probe in probes.items():
        kind = Response if path == METRICS_PATH else JSONResponse
        app.add_api_route(path, probe, methods=["GET"], response_class=kind)
    if board is not None:
        add_status(app, board, drain)
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


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(MeshError)
    async def mesh_error(_: Request, error: MeshError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        headers = _allowing(dict(error.headers or {}))
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        known = {
            404: RouteNotFound(f"Unknown request URL: {request.method} {request.url.path[:200]}."),
            405: MethodNotAllowed(f"Not allowed to {request.method} on {request.url.path[:200]}."),
        }
        failed = known.get(error.status_code)
        answer = defect_response() if failed is None else error_response(failed)
        answer.headers.update(headers)
        return answer

    @app.exception_handler(Exception)
    async def defect(_: Request, __: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        return defect_response()


def _allowing(headers: dict[str, str]) -> dict[str, str]:
    """Returns the headers with an Allow of a 405 that has the methods of every route too."""
    if "Allow" in headers:
        methods = {method.strip() for method in headers["Allow"].split(",")} | {"OPTIONS"}
        headers["Allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    return headers
