import asyncio
from typing import Any

import pytest

from frontend.http.rebound_pages import without_rebound_pages


def status_of(host: str, *, origins: tuple[str, ...], this_host_only: bool) -> int:
    """What a page of that host is answered."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def collect(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()), (b"origin", f"http://{host}".encode())]
    asyncio.run(
        without_rebound_pages(app, origins, this_host_only=this_host_only)(
            {"path": "/v1/models", "headers": headers}, collect, collect
        )
    )  # type: ignore[arg-type]
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("origins", "this_host_only", "status"),
    [
        ((), True, 403),
        (("https://other.example",), True, 403),
        (("https://Chat.example:8443",), True, 200),
        (("*",), True, 200),
        ((), False, 200),
    ],
)
def test_names_are_the_operators_where_only_this_host_gets_in(
    origins: tuple[str, ...], *, this_host_only: bool, status: int
) -> None:
    assert status_of("chat.example:8443", origins=origins, this_host_only=this_host_only) == status
