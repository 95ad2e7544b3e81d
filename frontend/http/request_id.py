"""Names requests: with our own id in the mesh, with the client's own, echoed in `x-request-id`."""

import os
import re
from collections.abc import MutableMapping
from typing import Any, Final

from frontend.http.asgi import Scope, Send

HEADER: Final = b"x-request-id"

is_echoable: Final = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
"""Matches what of a client's x-request-id is echoed; anything else is replaced, so that it cannot
split headers or fill logs.
"""


def new_request_id() -> str:
    """Returns a new id of 32 random hex digits."""
    return os.urandom(16).hex()


def with_request_id(scope: Scope, send: Send) -> Send:
    """Returns `send` with the header put on the answer, for the routes; an Exchange does it by
    itself.
    """
    given = next(
        (value for name, value in scope["headers"] if name == HEADER and is_echoable(value)), None
    )
    header = (HEADER, given or new_request_id().encode())

    async def send_named(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return send_named
