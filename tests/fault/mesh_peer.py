"""A frontend written by hand, to see each message of a worker and to send what a real frontend
would not.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import zmq

from protocol.codec import ToFrontend, decode_to_frontend, encode
from protocol.generation import Generate, Sampling
from protocol.membership import Heartbeat, Hello
from protocol.numbering import Numbering, numbers_of
from protocol.replies import Delta, StepBatch
from protocol.requests import FrontendHeartbeat, ToWorker, Welcome
from protocol.tokens import pack_tokens

WAIT_S_MAX = 100.0
"""A real engine writes 500 tokens in seconds, and in a minute where others have the machine."""

_FAR_UNIX_MS = 4_000_000_000_000


class FrontendPeer:
    """Binds the mesh address of a fleet and accepts one worker.

    Attributes:
        heard: all messages of the worker, in order.
    """

    def __init__(self, address: str) -> None:
        self.heard: list[ToFrontend] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(address)
        self._identity = b""
        self._numbering = Numbering()

    def __enter__(self) -> "FrontendPeer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.destroy(linger=0)

    def send(self, message: ToWorker) -> None:
        self._socket.send_multipart([self._identity, *encode(message, self._numbering.head())])
        self._numbering.note_sent()

    def generate(self, number: int, *, max_new_tokens: int) -> str:
        """Ask for tokens; returns the request's id."""
        request_id = f"{number:032x}"
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=0.0, ignore_eos=True)
        self.send(
            Generate(
                request_id, "demo", pack_tokens([5, 6, 7]), sampling, _FAR_UNIX_MS, routed_dp_rank=0
            )
        )
        return request_id

    def wait_for(
        self,
        kind: type[Any],
        condition: Callable[[Any], bool] = lambda _: True,
        *,
        wait_s_max: float = WAIT_S_MAX,
    ) -> Any:
        """The first message of this kind from now on that fulfils the condition."""
        deadline = time.monotonic() + wait_s_max
        while time.monotonic() < deadline:
            message = self._read()
            if isinstance(message, kind) and condition(message):
                return message
        raise AssertionError(f"no such {kind.__name__}; heard {self.heard[-5:]}")

    def end_of(self, request_id: str) -> Delta:
        """The delta that ends a request."""
        batch = self.wait_for(
            StepBatch,
            lambda step: any(delta.request_id == request_id and delta.end for delta in step.deltas),
        )
        return next(delta for delta in batch.deltas if delta.request_id == request_id)

    def tokens_of(self, request_id: str) -> int:
        """How many tokens of a request have come."""
        deltas = (
            delta
            for message in self.heard
            if isinstance(message, StepBatch)
            for delta in message.deltas
        )
        return sum(len(delta.token_ids) // 4 for delta in deltas if delta.request_id == request_id)

    def _read(self) -> ToFrontend | None:
        if not self._socket.poll(250):
            return None
        identity, *frames = self._socket.recv_multipart()
        message = decode_to_frontend(frames)
        self.heard.append(message)
        if isinstance(message, Hello):
            self._identity, self._numbering = identity, Numbering(numbers_of(frames[0])[0])
            self.send(Welcome("peer"))
        elif isinstance(message, Heartbeat) and self._identity:
            self.send(FrontendHeartbeat())  # or the worker takes us for gone
        return message
