"""The system server's thread asks the worker's loop for things through controls."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from protocol.errors import InvalidJson, InvalidRequest, NoWorker, RouteNotFound

NEWER_PREFIX: Final = "control/"
"""The reference product has its routes under this name too."""


@dataclass(frozen=True, slots=True)
class Control:
    """A Control is one thing that the worker's loop may be asked.

    Attributes:
        body: struct that it takes.
        act: called on the worker's loop; what it returns is the answer. It bounds its own time.
    """

    body: type[msgspec.Struct]
    act: Callable[[Any], Awaitable[Any]]


class Controls:
    """Controls answers what is asked of the worker's loop. Nothing can be asked before `open` and
    after `close`, both called on the worker's loop.
    """

    def __init__(self) -> None:
        self._open: tuple[asyncio.AbstractEventLoop, Mapping[str, Control]] | None = None
        """The loop and its controls are one tuple, replaced as a whole: another thread reads it."""

    def open(self, loop: asyncio.AbstractEventLoop, controls: Mapping[str, Control]) -> None:
        """Lets `controls` be asked from here on, by name."""
        self._open = (loop, controls)

    def close(self) -> None:
        """Lets nothing be asked any more, since the loop is about to end."""
        self._open = None

    async def ask(self, name: str, body: bytes) -> Any:
        """Returns the answer of the control of that name. Called on another thread's loop.

        Raises:
            NoWorker: the worker does not serve.
            RouteNotFound: there is no such control.
            InvalidJson, InvalidRequest: of the body.
            MeshError: as the control.
        """
        if self._open is None:
            raise NoWorker("The worker is loading or leaving.")
        loop, controls = self._open
        name = name.removeprefix(NEWER_PREFIX)
        control = controls.get(name)
        if control is None:
            raise RouteNotFound(
                f"There is no /engine/{name[:80]} here. There are {', '.join(controls)}."
            )
        try:
            asked = msgspec.json.decode(body or b"{}", type=control.body)
        except msgspec.ValidationError as error:
            fields = ", ".join(control.body.__struct_encode_fields__)
            known = f" It has {fields or 'no fields'}." if "unknown field" in str(error) else ""
            raise InvalidRequest(f"Invalid request: {error}.{known}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidJson("The body is no JSON object in UTF-8.") from None
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(_run(control.act, asked), loop)
        )


async def _run(act: Callable[[Any], Awaitable[Any]], asked: Any) -> Any:
    return await act(asked)
