"""Notices the client's leaving while its request is worked on."""

import asyncio
from collections.abc import Awaitable

from frontend.http.asgi import Receive
from protocol.errors import ClientGone


async def until_client_leaves(receive: Receive, work: Awaitable[None]) -> None:
    """Awaits `work`, cancelling it as soon as the client disconnects.

    No ASGI server cancels a handler that is not sending; a client that only closes its sending
    half counts as gone.

    Raises:
        ClientGone: the client left first.
    """
    task = asyncio.current_task()
    assert task is not None
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    watcher = asyncio.get_running_loop().create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise ClientGone("The client left.") from None
        raise
    finally:
        watcher.cancel()
