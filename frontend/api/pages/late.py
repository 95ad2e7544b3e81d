"""FastAPI is loaded when the first page is asked for that is no probe: it takes 20 MiB and a third
of a start, and most frontends are only asked for answers and for how they are.
"""

import asyncio
from collections.abc import Callable, Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from frontend.api.pages.errors import defect_response, error_response
from frontend.api.pages.probes import Probe
from frontend.http.asgi import Receive, Scope, Send
from protocol.errors import MeshError


class LatePages:
    """A LatePages is an ASGI application that answers probes itself, and makes what answers all
    else when it is needed.

    Args:
        build: makes the rest; it may take a second, and is called in a thread.
    """

    def __init__(self, probes: Mapping[str, Probe], build: Callable[[], ASGIApp]) -> None:
        self._probes = probes
        self._build = build
        self._built: ASGIApp | None = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        probe = self._probes.get(scope["path"]) if scope.get("method") == "GET" else None
        if probe is None:
            await (await self._rest())(scope, receive, send)
            return
        try:
            answer = await probe()
            response = answer if not isinstance(answer, dict) else JSONResponse(answer)
        except MeshError as error:
            response = error_response(error)
        except Exception:
            await defect_response()(scope, receive, send)
            raise  # for the server's log
        await response(scope, receive, send)

    async def _rest(self) -> ASGIApp:
        async with self._building:
            if self._built is None:
                self._built = await asyncio.to_thread(self._build)
        return self._built
