"""What probes and Prometheus ask every few seconds is answered without FastAPI."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from frontend.api.pages.health import health_page, ready_page
from frontend.drain import Drain
from frontend.fleet.registry import Registry
from frontend.http.exchange import Exchange
from frontend.observe.families import exposition
from frontend.observe.metrics import FrontendMetrics
from frontend.processes.siblings import Siblings
from frontend.readings import families_in_turns
from frontend.settings import FrontendSettings

METRICS_PATH = "/metrics"

Probe = Callable[[], Awaitable[Response | dict[str, Any]]]
"""A Probe makes the answer to GET; its name and what it returns are told by the OpenAPI page."""


def probes_of(
    registry: Registry,
    metrics: FrontendMetrics,
    drain: Drain[Exchange],
    settings: FrontendSettings,
    siblings: Siblings | None,
) -> Mapping[str, Probe]:
    """Returns the probes by their paths."""

    async def live() -> dict[str, str]:
        return {"status": "live"}

    async def ready() -> JSONResponse:
        status, page = ready_page(registry, draining=drain.begun, now=_now())
        return JSONResponse(page, status_code=status)

    async def health() -> JSONResponse:
        elsewhere = {} if siblings is None else await siblings.requests()
        status, page = health_page(registry, draining=drain.begun, now=_now(), elsewhere=elsewhere)
        return JSONResponse(page, status_code=status)

    async def prometheus() -> Response:
        whole = None if siblings is None else await siblings.metrics()
        families = await families_in_turns(metrics, registry, drain) if whole is None else whole
        # to write some 60 KB of text takes a loop's turn of 6 ms
        text = await asyncio.to_thread(exposition, families)
        return Response(text, media_type="text/plain; version=0.0.4")

    return {
        settings.http_svc_live_path: live,
        "/ready": ready,
        settings.http_svc_health_path: health,
        METRICS_PATH: prometheus,
    }


def _now() -> float:
    return asyncio.get_running_loop().time()
