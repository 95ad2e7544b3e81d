"""Turns the frames of the frontend's ROUTER into messages and back, numbered per connection.

A message that is none is counted and dropped; the socket lives on.
"""

import asyncio
import logging
from collections.abc import Callable

from frontend.fleet.worker import Worker
from protocol.codec import ToFrontend, decode_to_frontend, encode
from protocol.errors import ProtocolViolation
from protocol.limits import WIRE_VERSION
from protocol.numbering import numbers_of
from protocol.process.log_floods import Complaint
from protocol.requests import Abort, ToWorker
from protocol.transport.pump import OpenRouter, Pump
from protocol.transport.salvage import step_in

log = logging.getLogger(__name__)

OnMessage = Callable[[bytes, ToFrontend, tuple[int, int]], None]
"""Gets identity, message and its numbers (session, number)."""


class MeshWire:
    """A MeshWire sends to workers, and hands on what they send once it is open.

    Args:
        open_router: opens the socket that workers connect to.
        on_malformed: called for every message that is none.
    """

    _pump: Pump
    _on_message: OnMessage

    def __init__(self, open_router: OpenRouter, on_malformed: Callable[[], None]) -> None:
        self._open_router = open_router
        self._on_malformed = on_malformed
        self._complaint = Complaint(asyncio.get_running_loop().time)

    def open(self, on_message: OnMessage, on_gone: Callable[[bytes], None]) -> None:
        """Opens the socket; to be called once, before anything is sent.

        Args:
            on_gone: gets the identity of a connection that is no more.
        """
        self._on_message = on_message
        self._pump = self._open_router(self._on_frames, on_gone)

    def send(self, worker: Worker, message: ToWorker) -> bool:
        """Sends the next message of a worker's session; returns False when there is no room or
        nobody there.
        """
        sent = self._pump.send([worker.identity, *encode(message, worker.numbering.head())])
        if sent:
            worker.numbering.note_sent()
        return sent

    def send_abort(self, worker: Worker, request_id: str) -> None:
        """Stops a request on a worker, as soon as there is room for the word."""
        if not self.send(worker, Abort(request_id)):
            worker.aborts_owed.add(request_id)

    def send_owed_aborts(self, worker: Worker) -> None:
        """Sends a worker those aborts that found no room before."""
        for request_id in sorted(worker.aborts_owed):
            if self.send(worker, Abort(request_id)):
                worker.aborts_owed.discard(request_id)

    def tell(self, identity: bytes, message: ToWorker) -> bool:
        """Sends a message outside of any session; returns False when there is no room or nobody
        there.
        """
        return self._pump.send([identity, *encode(message, WIRE_VERSION)])

    def close(self) -> None:
        """Closes the socket; what was sent leaves within the linger time."""
        self._pump.close()

    def _on_frames(self, frames: list[bytes]) -> None:
        try:
            message = decode_to_frontend(frames[1:])
            numbers = numbers_of(frames[1])
        except ProtocolViolation as violation:
            self._complain(violation)
            # One request's output that is none must not cost the others of its step theirs, nor a
            # gap in the numbers the worker.
            step = step_in(frames[1:])
            if step is not None:
                self._on_message(frames[0], step, numbers_of(frames[1]))
            return
        self._on_message(frames[0], message, numbers)

    def _complain(self, violation: ProtocolViolation) -> None:
        self._on_malformed()
        if self._complaint.due():
            log.warning("dropped a malformed message: %s", violation.message[:200])
