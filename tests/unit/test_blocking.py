"""A test in which our packages block a loop fails; here is what is seen, in code that passes for
ours.
"""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import zmq
from blockbuster import BlockingError

from tests.kit.blocking import ROOT, Blocked

THIS = Path(__file__)


def _no_message() -> bytes:
    with zmq.Context() as context, context.socket(zmq.PULL) as messages:
        return messages.recv()


CALLS: dict[str, Callable[[], Any]] = {
    "time.sleep": lambda: time.sleep(0),
    "open": THIS.read_text,
    "os.listdir": lambda: os.listdir("/"),  # noqa: PTH208
    "os.stat": THIS.stat,
    "lock.acquire": lambda: Future[None]().result(0.01),
    "socket.getaddrinfo": lambda: socket.create_connection(("127.0.0.1", 9)),
    "zmq.Socket.recv": _no_message,
    "subprocess.Popen": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "asyncio.create_subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
}


def ours(call: Callable[[], Any]) -> Callable[[], Any]:
    """A function that calls it, as if it stood in a file of the frontend."""
    names: dict[str, Any] = {"call": call}
    exec(compile("def planted(): return call()", f"{ROOT}/frontend/planted.py", "exec"), names)
    return names["planted"]


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_blocks_raises_and_is_kept_with_the_way_to_it(
    blocked: Blocked, name: str
) -> None:
    with pytest.raises(BlockingError):
        ours(CALLS[name])()
    (found,) = blocked.take()
    assert name in found
    assert "frontend/planted.py:1 planted" in found


async def test_who_does_not_block_is_not_found(blocked: Blocked) -> None:
    await asyncio.to_thread(ours(CALLS["time.sleep"]))
    await asyncio.to_thread(ours(CALLS["open"]))
    CALLS["time.sleep"]()  # a test's own
    ours(lambda: threading.Lock().acquire())()  # a free one
    assert blocked.take() == []


def test_where_no_loop_runs_one_may_block(blocked: Blocked) -> None:
    ours(CALLS["open"])()
    assert blocked.take() == []
