"""The frontend's HTTP protocol under uvicorn's own server, for measuring it without the rest of a
frontend.
"""

from typing import Any

from frontend.http.connections import Connections
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol


class GuardedAlone(GuardedHttpToolsProtocol):
    """Its connections share what a draining server would tell them; uvicorn's own server never
    drains.
    """

    def __init__(
        self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        shared = Connections()
        shared.connections, shared.tasks, shared.default_headers = (
            server_state.connections,
            server_state.tasks,
            server_state.default_headers,
        )
        super().__init__(config, shared, app_state, _loop)
