"""Workers fetch from each other what was made of pictures, over sockets of their own; the numbers
themselves go by NIXL where both have it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import zmq
from msgspec.structs import replace

from protocol.errors import ProtocolViolation
from protocol.limits import FRAME_BYTES_MAX
from protocol.media_plane import (
    Encodings,
    FetchEncodings,
    Taken,
    decode_encodings,
    decode_question,
    encode_encodings,
    encode_question,
)
from protocol.process.log_floods import Complaint
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.pump import Pump, SocketPump
from protocol.transport.sockets import (
    Socket,
    asking_dealer,
    bound_router,
    endpoint_of,
    is_local,
    reached_at,
)
from workers.mesh.own_host import bind_near, own_host_towards
from workers.nixl.memory import Memory
from workers.nixl.offers import Offers
from workers.nixl.reads import Reads

log = logging.getLogger(__name__)

ENCODERS_MAX: Final = 64
"""Bounds the workers that one fetches from at a time: more encoders than one language model needs;
the one asked longest ago is forgotten.
"""

_IDENTITY_FRAMES: Final = 1

_FRAME_MS_MAX: Final = 30_000
"""Bounds how long a frame of encodings may take to arrive, after which the connection counts as
lost: 32 MB on a hundredth of common Ethernet.
"""

_LINGER_MS: Final = 5_000
"""Bounds how long what was handed out takes to leave when the worker does: a gigabyte over common
Ethernet takes longer, of which the rest is asked for elsewhere.
"""

OnFetch = Callable[[FetchEncodings, Callable[[Encodings], bool]], None]
"""Takes a question, and what sends the answers to it and tells whether it could: equal to another
one that sends over the same connection.
"""


@dataclass(frozen=True, slots=True)
class AnswersTo:
    """An AnswersTo sends answers over one connection of a ROUTER, whose identity ends with it.

    Attributes:
        offers: has answers read instead, by who reads in a place where it can.
    """

    pump: Pump
    identity: bytes
    offers: Offers | None = field(default=None, compare=False)
    reads_in: str = field(default="", compare=False)

    def __call__(self, answer: Encodings) -> bool:
        if self.offers is not None and self.offers.offer(answer, self.reads_in, self.in_frames):
            return True
        return self.in_frames(answer)

    def in_frames(self, answer: Encodings) -> bool:
        """Sends an answer and all of its data."""
        return self.pump.send([self.identity, *encode_encodings(answer)])


class MediaDoor:
    """A MediaDoor is where other workers fetch what this one makes of pictures.

    Args:
        frontends: the addresses that the worker dials. If all are on this host, so are the workers
        that fetch.
        host: under which other hosts find this one; found out if not given.
        port: 0 for any.
        memory: is read by who can; None where all goes in frames. Closed with the door.
        on_read: called whenever `being_read` is less.
    Raises:
        StartError: the port is taken, or frontends are on other hosts and there is no key.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        on_fetch: OnFetch,
        *,
        frontends: Sequence[str],
        host: str | None,
        port: int,
        key: MeshKey | None,
        memory: Memory | None = None,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_fetch = on_fetch
        self._host = host
        self._distant = next((each for each in frontends if not is_local(each)), None)
        bind = bind_near(frontends, port, "encodings")
        try:
            router = bound_router(context, bind, key)
        except zmq.ZMQError as error:
            raise StartError(f"cannot hand encodings out on {bind}: {error}") from None
        self._endpoint = endpoint_of(router)
        router.setsockopt(zmq.LINGER, _LINGER_MS)
        self._router = SocketPump(router, self._on_question, copies=False)
        self._memory = memory
        self._offers = None
        if memory is not None:
            self._offers = Offers(memory, on_read, keyed=key is not None)
        self._complaint = Complaint(asyncio.get_running_loop().time)

    def address(self) -> str:
        """Returns where workers find it, those of this host and of others alike.

        Raises:
            OSError: there is no way to other hosts at the moment, and no host was given.
        """
        if self._distant is None:
            return self._endpoint
        return reached_at(self._host or own_host_towards(self._distant), self._endpoint)

    @property
    def being_read(self) -> int:
        """Returns how many answers others read at the moment, out of this worker's memory."""
        return 0 if self._offers is None else len(self._offers)

    def close(self) -> None:
        """Closes the socket; what was sent leaves within the linger time."""
        if self._offers is not None:
            self._offers.close()
        if self._memory is not None:
            self._memory.close()
        self._router.close()

    def _on_question(self, frames: list[bytes]) -> None:
        try:
            question = decode_question(frames[_IDENTITY_FRAMES:])
        except ProtocolViolation as violation:
            if self._complaint.due():
                log.warning("dropped a malformed question: %s", violation.message[:200])
            return
        if isinstance(question, FetchEncodings):
            answers = AnswersTo(self._router, frames[0], self._offers, question.reads_in)
            self._on_fetch(replace(question, reads_in=""), answers)
        elif self._offers is not None:
            self._offers.take(question, AnswersTo(self._router, frames[0]))


class MediaClient:
    """A MediaClient asks workers that encode, at whatever addresses frontends name.

    Args:
        on_answer: takes what they answer.
        memory: for what can be read out of theirs; None where all comes in frames. Closed with the
        client.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        on_answer: Callable[[Encodings], None],
        key: MeshKey | None,
        memory: Memory | None = None,
    ) -> None:
        self._context = context
        self._memory = memory
        self._reads = None if memory is None else Reads(memory, on_answer)
        self._on_answer = on_answer
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._pumps: OrderedDict[str, SocketPump] = OrderedDict()
        self._heard_at: dict[str, float] = {}
        """Maps the addresses of pumps that have brought anything to when they last did."""
        self._complaint = Complaint(self._loop.time)

    def ask(self, address: str, fetch: FetchEncodings) -> None:
        """Asks the worker at an address; what cannot be sent is lost."""
        pump = self._pumps.get(address)
        if pump is None:
            try:
                socket = asking_dealer(
                    self._context, address, self._key, silence_ms_max=_FRAME_MS_MAX
                )
            except (StartError, zmq.ZMQError) as error:
                log.warning("cannot fetch encodings at %s: %s", address, error)
                return
            take, receive = partial(self._take, address), partial(_received, socket)
            pump = self._pumps[address] = SocketPump(socket, take, receive=receive)
            if len(self._pumps) > ENCODERS_MAX:
                forgotten, oldest = self._pumps.popitem(last=False)
                oldest.close()
                self._heard_at.pop(forgotten, None)
        self._pumps.move_to_end(address)
        if self._reads is not None and not fetch.grids_only:
            fetch = replace(fetch, reads_in=self._reads.place_for(address))
        pump.send(encode_question(fetch))

    def heard_at(self, address: str) -> float:
        """Returns when anything came from an address, as MediaPlane says."""
        return self._heard_at.get(address, 0.0)

    def close(self) -> None:
        """Closes all connections."""
        if self._reads is not None:
            self._reads.close()
        if self._memory is not None:
            self._memory.close()
        for pump in self._pumps.values():
            pump.close()
        self._pumps.clear()

    def _take(self, address: str, frames: list[bytes]) -> None:
        self._heard_at[address] = self._loop.time()
        try:
            answer = decode_encodings(frames)
        except ProtocolViolation as violation:
            if self._complaint.due():
                log.warning("dropped malformed encodings: %s", violation.message[:200])
            return
        if answer.offer is None and not answer.granted:
            self._on_answer(answer)
        elif self._reads is not None:
            self._reads.take(address, answer, partial(self._tell, address))

    def _tell(self, address: str, taken: Taken) -> None:
        pump = self._pumps.get(address)
        if pump is not None:
            pump.send(encode_question(taken))


def _received(socket: Socket, flags: int) -> list[bytes]:
    """Returns the next message; its large frames as views of what ZMQ received, since copying one
    takes longer than all else that is done with it.
    """
    frames = socket.recv_multipart(flags, copy=False)
    return [
        each.bytes if len(each) < FRAME_BYTES_MAX else cast("bytes", each.buffer) for each in frames
    ]
