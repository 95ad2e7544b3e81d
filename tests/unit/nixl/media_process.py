"""Run as a program: one side of the media plane, which does what each line says and answers with
one line of JSON.

    python -m tests.unit.nixl.media_process door|client USE [VARIABLE=VALUE ...]

A door makes a picture's numbers by `make NUMBER SIZE` and forgets them by `drop`, says its
`address` and `state`, and lets readers on by `help` if `hinder` had it not. A client says its
`state`, and how `fetch ADDRESS NUMBER SIZE` went. Both say at `ready` whether they have an agent.
"""

import asyncio
import ctypes
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import zmq

from protocol.media import Encoding
from protocol.media_plane import Encodings, FetchEncodings
from protocol.transport.curve import MeshKey
from starter.responder import Responder
from workers.mesh.media_plane import MediaClient, MediaDoor
from workers.nixl import agent, offers, reads
from workers.nixl.memory import Memory, NixlUse, open_memory

ANSWER_S_MAX = 30.0
COLUMNS: Final = 2_048


def numbers(number: int, size_bytes: int) -> bytes:
    """What is made of picture so-and-so."""
    block = b"".join(blake2b(b"%d %d" % (number, at)).digest() for at in range(64))
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


def named(number: int, size_bytes: int) -> str:
    """The request about picture so-and-so."""
    return f"{number:016x}{size_bytes:016x}"


class Door:
    """Has made all pictures already."""

    def __init__(self, memory: Memory | None, key: MeshKey | None) -> None:
        self._memory = memory
        self._made: dict[str, Encoding] = {}
        self.door = MediaDoor(
            zmq.Context(),
            self._on_fetch,
            frontends=["tcp://127.0.0.1:1"],
            host=None,
            port=0,
            key=key,
            memory=memory,
        )

    def _on_fetch(self, fetch: FetchEncodings, reply: Callable[[Encodings], bool]) -> None:
        reply(Encodings(fetch.request_id, [self._made[fetch.request_id]]))

    async def do(self, line: list[str]) -> Any:
        match line:
            case ["make", number, size]:
                data = numbers(int(number), int(size))
                made = Encoding("vectors", (1, 1, 4), COLUMNS, "bfloat16", data)
                self._made[named(int(number), int(size))] = made
            case ["drop", number, size]:
                del self._made[named(int(number), int(size))]
            case ["address"]:
                return self.door.address()
            case ["state"]:
                lent = 0 if self._memory is None else self._memory.arena.lent_bytes
                return {
                    "cpu_s": time.process_time(),
                    "lent": lent,
                    "being_read": self.door.being_read,
                }
            case ["hinder"]:
                assert self._memory is not None
                assert self._memory.agent is not None
                self._helps = self._memory.agent.go_on
                self._memory.agent.go_on = lambda: None
            case ["help"]:
                assert self._memory is not None
                assert self._memory.agent is not None
                self._memory.agent.go_on = self._helps
        return await _ready(self._memory)


class Client:
    """Fetches one thing after the other."""

    def __init__(self, memory: Memory | None, key: MeshKey | None) -> None:
        self._memory = memory
        self._answers: asyncio.Queue[Encodings] = asyncio.Queue()
        self._client = MediaClient(zmq.Context(), self._answers.put_nowait, key, memory)

    async def do(self, line: list[str]) -> Any:
        match line:
            case ["fetch", address, number, size]:
                return await self._fetch(address, int(number), int(size))
            case ["state"]:
                return {"lent": 0 if self._memory is None else self._memory.arena.lent_bytes}
            case _:
                return await _ready(self._memory)

    async def _fetch(self, address: str, number: int, size: int) -> Any:
        cpu_s, began = time.process_time(), time.perf_counter()
        self._client.ask(address, FetchEncodings(named(number, size)))
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                while (answer := await self._answers.get()).request_id != named(number, size):
                    pass
        except TimeoutError:
            return {"failure": "no answer"}
        if answer.failure:
            return {"failure": answer.failure}
        told = {
            "wall_ms": 1_000 * (time.perf_counter() - began),
            "cpu_ms": 1_000 * (time.process_time() - cpu_s),
        }
        [made] = answer.encodings
        told |= {"right": made.data == numbers(number, size), "read": self._lies_here(made.data)}
        return told

    def _lies_here(self, data: Any) -> bool:
        """Whether data was read into this process's registered memory."""
        if self._memory is None or isinstance(data, bytes) or memoryview(data).readonly:
            return False
        at = ctypes.addressof(ctypes.c_char.from_buffer(data))
        arena = self._memory.arena
        return arena.address <= at < arena.address + arena.size_bytes


def asked(side: Responder, *words: object) -> Any:
    """What a side that runs elsewhere answers to a line."""
    return json.loads(side.ask(" ".join(map(str, words))))


async def _ready(memory: Memory | None) -> bool:
    """Whether there is an agent, once it can be told."""
    while memory is not None and not memory.place and not memory.opening.done():
        await asyncio.sleep(0.01)
    return memory is not None and bool(memory.place)


async def serve(role: str, use: NixlUse, key_file: str | None) -> None:
    loop = asyncio.get_running_loop()
    key = MeshKey.from_file(key_file)
    side = (Door if role == "door" else Client)(open_memory(use), key)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await side.do(line.decode().split())), flush=True)


def main() -> None:
    role, use, *variables = sys.argv[1:]
    given = dict(each.split("=", 1) for each in variables)
    if "UCX_TLS" in given:
        agent._UCX = {"host": ("none", {"UCX_TLS": given["UCX_TLS"]})}
    if "READ_S_MAX" in given:
        reads.READ_S_MAX = float(given["READ_S_MAX"])
    if "OFFERED_BYTES_MIN" in given:
        offers.OFFERED_BYTES_MIN = dict.fromkeys((False, True), int(given["OFFERED_BYTES_MIN"]))
    if "LEASE_S_MAX" in given:
        offers.LEASE_S_MAX = float(given["LEASE_S_MAX"])
    if "ANSWER_S_MAX" in given:
        globals()["ANSWER_S_MAX"] = float(given["ANSWER_S_MAX"])
    asyncio.run(serve(role, use, given.get("KEY")))


if __name__ == "__main__":
    main()
