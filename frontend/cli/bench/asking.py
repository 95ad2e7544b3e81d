"""Who asks a server keeps a connection to it, opens another where that one ended, and waits for no
answer without an end.
"""

import asyncio
from typing import Any, Final

from frontend.cli.bench.connection import BrokenOff, Connection
from frontend.cli.bench.server import Server
from frontend.cli.bench.streamed import StreamedAnswer, said_of_error
from frontend.cli.bench.wishes import Wishes

PAGE_BYTES_MAX: Final = 16 * 2**20
"""Bounds an answer that is not streamed."""


class Refused(Exception):
    """A Refused says in one line why a server gives no answer that could be measured."""


class Asking:
    """An Asking is one user of a server, who asks one thing after the other.

    Args:
        answer_s_max: bounds the time from a question to the end of its answer.
    """

    def __init__(self, server: Server, answer_s_max: float) -> None:
        self._server = server
        self._answer_s_max = answer_s_max
        self._connection: Connection | None = None

    async def ready(self) -> None:
        """Opens a connection where there is none, so that none is opened while time is taken.

        Raises:
            OSError: nobody is there.
        """
        if self._connection is None or not self._connection.usable:
            async with asyncio.timeout(self._answer_s_max):
                self._connection = await Connection.to(self._server)

    async def stream(self, wishes: Wishes, prompt: str, answer: StreamedAnswer) -> None:
        """Asks for a streamed answer and has it read; what goes wrong is its error."""
        request = self._server.request(wishes.path, wishes.body(prompt, stream=True))
        await self.send(request, answer)

    async def send(self, request: bytes, answer: StreamedAnswer) -> None:
        """Sends a request for a stream and has its answer read; what goes wrong is its error."""
        try:
            await self.ready()
            assert self._connection is not None
            async with asyncio.timeout(self._answer_s_max):
                answer.end(await self._connection.ask(request, answer.take))
        except TimeoutError:
            answer.error = f"no whole answer within {self._answer_s_max:g} s"
        except OSError as error:
            answer.error = f"no connection: {error.strerror or error}"
        except BrokenOff as error:
            answer.error = str(error)

    async def get(self, path: str) -> bytes:
        """Returns the body of a page.

        Raises:
            Refused: it cannot be had.
        """
        return await self._whole(self._server.request(path))

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """Returns the body of an answer; raises as `get`."""
        return await self._whole(self._server.request(path, body))

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _whole(self, request: bytes) -> bytes:
        body = bytearray()

        def take(_: int, data: bytes) -> None:
            if len(body) <= PAGE_BYTES_MAX:
                body.extend(data)

        try:
            await self.ready()
            assert self._connection is not None
            async with asyncio.timeout(self._answer_s_max):
                status = await self._connection.ask(request, take)
        except TimeoutError:
            raise Refused(f"no answer within {self._answer_s_max:g} s") from None
        except OSError as error:
            raise Refused(f"nobody answers: {error.strerror or error}") from None
        except BrokenOff as error:
            raise Refused(str(error)) from None
        if status != 200:
            raise Refused(f"{status}: {said_of_error(bytes(body))}")
        return bytes(body)
