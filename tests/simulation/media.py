"""Workers of a world fetch encodings from each other over connections of a network of their own:
nothing is lost on it but with its connection, or for want of room.
"""

from collections.abc import Callable
from functools import partial

from protocol.errors import ProtocolViolation
from protocol.media_plane import (
    Encodings,
    FetchEncodings,
    decode_encodings,
    decode_question,
    encode_question,
)
from tests.simulation.loop import Process
from tests.simulation.meetings import Patient
from tests.simulation.network import Network
from workers.mesh.media_plane import AnswersTo, OnFetch


class SimulatedDoor:
    """The Door of an encoder at an address."""

    def __init__(self, network: Network, process: Process, address: str, on_fetch: OnFetch) -> None:
        self._address = address
        self._on_fetch = on_fetch
        self._router = network.router(address, process)(self._on_question, lambda _: None)

    def address(self) -> str:
        """As Door."""
        return self._address

    @property
    def being_read(self) -> int:
        """As Door: nothing, since all goes in frames."""
        return 0

    def close(self) -> None:
        """What was sent arrives."""
        self._router.close()

    def _on_question(self, frames: list[bytes]) -> None:
        question = decode_question(frames[1:])
        assert isinstance(question, FetchEncodings), "nothing is offered"
        self._on_fetch(question, AnswersTo(self._router, frames[0]))


class SimulatedMediaClient:
    """The MediaPlane of a worker that fetches."""

    def __init__(
        self, network: Network, process: Process, on_answer: Callable[[Encodings], None]
    ) -> None:
        self._network = network
        self._process = process
        self._on_answer = on_answer
        self._pumps: dict[str, Patient] = {}
        self._heard_at: dict[str, float] = {}

    def ask(self, address: str, fetch: FetchEncodings) -> None:
        """As MediaPlane."""
        pump = self._pumps.get(address)
        if pump is None:
            pump = self._pumps[address] = Patient(
                self._network, address, self._process, partial(self._take, address)
            )
        pump.send(encode_question(fetch))

    def heard_at(self, address: str) -> float:
        """As MediaPlane."""
        return self._heard_at.get(address, 0.0)

    def close(self) -> None:
        """As MediaPlane."""
        for pump in self._pumps.values():
            pump.close()

    def _take(self, address: str, frames: list[bytes]) -> None:
        self._heard_at[address] = self._network.loop.time()
        self._on_answer(decode_encodings(frames))


def told(frames: list[bytes]) -> str:
    """A question or an answer in one line."""
    try:
        return str(decode_question(frames))
    except ProtocolViolation:
        answer = decode_encodings(frames)
    if answer.encodings:
        return f"Encodings {answer.request_id}: {[each.holds for each in answer.encodings]}"
    return str(answer)
