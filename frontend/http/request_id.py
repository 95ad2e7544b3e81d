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


_HEX_DIGITS: Final = 32
_DRAWN_TOGETHER: Final = 64
"""Counts the ids whose random bits are drawn in one system call, which takes as long for one."""


class RequestIds:
    """RequestIds are random: no two of a process are alike, nor of two processes.

    May be asked by several threads.
    """

    def __init__(self) -> None:
        self._drawn: list[str] = []
        os.register_at_fork(after_in_child=self._drawn.clear)

    def new(self) -> str:
        """Returns a new id of 32 random hex digits."""
        try:
            return self._drawn.pop()
        except IndexError:
            digits = os.urandom(_DRAWN_TOGETHER * _HEX_DIGITS // 2).hex()
            first, *others = (
                digits[at : at + _HEX_DIGITS] for at in range(0, len(digits), _HEX_DIGITS)
            )
            self._drawn += others
            return first


new_request_id: Final = RequestIds().new
"""Returns a new id of 32 random hex digits."""


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
