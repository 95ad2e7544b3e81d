"""A worker tells of itself by Hello to frontends that do not know it, and by Heartbeat to the
others.
"""

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from msgspec.structs import replace

from protocol.limits import CREDIT_REQUESTS_MAX, MESSAGE_CHARS_MAX, PATH_CHARS_MAX
from protocol.membership import Capacity, Heartbeat, Hello, RankLoad, RelayHello, Service, Stage
from protocol.operated import Operated
from protocol.process.log_floods import Complaint
from workers.engine import EngineFacts
from workers.mesh.addresses import ADDRESSES_MAX
from workers.mesh.kv_plane import KvPlane
from workers.mesh.own_host import reached_from

log = logging.getLogger(__name__)

CREDIT_REQUESTS_MIN = 64
"""Each frontend may have this many requests even on an engine that runs fewer: a queue of its own
hides the way to the frontend and back.
"""


def credit_of(capacity: Capacity) -> int:
    """Returns how many unfinished requests each frontend may have on an engine of this capacity.

    What runs and as much again: when all that runs ends in one step, the next batch is there.
    """
    batch = 2 * capacity.requests_running_max * capacity.dp_size
    return min(max(CREDIT_REQUESTS_MIN, batch), CREDIT_REQUESTS_MAX)


def hello_of(
    facts: EngineFacts,
    capacity: Capacity,
    *,
    worker_id: str,
    epoch: int,
    service: Service,
    stage: Stage,
    endpoint: str,
    credit_requests: int,
    fetches_encodings: bool = False,
) -> Hello:
    """Returns the Hello of a started engine, but for what differs from frontend to frontend."""
    return Hello(
        worker_id=worker_id,
        epoch=epoch,
        service=service,
        stage=stage,
        endpoint=endpoint,
        card=facts.card,
        capacity=capacity,
        credit_requests=credit_requests,
        engine=facts.version,
        model_path=facts.model_path[:PATH_CHARS_MAX],
        tokenizer_path=facts.tokenizer_path[:PATH_CHARS_MAX],
        bootstrap=facts.bootstrap,
        fetches_encodings=fetches_encodings,
    )


class Door(Protocol):
    """A Door is where other workers ask this one."""

    def address(self) -> str:
        """Returns where they find it.

        Raises:
            OSError: there is no way to them at the moment.
        """
        ...

    @property
    def being_read(self) -> int:
        """Returns how many answers others are still reading, who will say so."""
        ...

    def close(self) -> None:
        """Closes it."""


class Condition(Protocol):
    """A Condition tells how an engine is, as far as frontends are told."""

    @property
    def reason(self) -> str:
        """Returns why the engine gets no work, in words; empty if it does."""
        ...

    def loads(self) -> list[RankLoad]:
        """Returns the load of each rank, by dp_rank."""
        ...


class Introduction:
    """An Introduction makes the messages by which frontends know a worker and its state.

    Args:
        hello: as of `hello_of`; None on a node that only relays KV events, whose leader introduces
        the engine.
        adapters: names of those that requests may name.
        kv: None where no KV events are relayed.
        door: where other workers fetch encodings; None where nothing is made for them.
        operated: what an operator did to the engine; None while nobody did anything.
    Attributes:
        withdrawn: nobody new should count on the worker, so no Hello is made any more.
    """

    def __init__(
        self,
        worker_id: str,
        epoch: int,
        *,
        hello: Hello | None,
        engine: Condition,
        adapters: Callable[[], Sequence[str]],
        kv: KvPlane | None,
        door: Door | None = None,
        operated: Callable[[], Operated | None] = lambda: None,
    ) -> None:
        self.withdrawn = False
        self._worker_id = worker_id
        self._epoch = epoch
        self._hello = hello
        self._engine = engine
        self._adapters = adapters
        self._kv = kv
        self._door = door
        self._operated = operated
        self._complaints: dict[str, Complaint] = {}
        """Holds one for each address, since every beat would complain; those of addresses that a
        name stands for no more make room.
        """

    @property
    def takes_requests(self) -> bool:
        """Tells whether the node takes requests; False where another node takes them."""
        return self._hello is not None

    def hello_to(self, address: str, way: int) -> Hello | RelayHello | None:
        """Returns the Hello for the frontend at an address; None if there is none to be said now.

        Args:
            way: number of the connection over which it is said.
        """
        if self.withdrawn:
            return None
        try:
            source = None if self._kv is None else self._kv.source_for(address)
            bootstrap = self._hello and reached_from(address, self._hello.bootstrap)
            encodings = "" if self._door is None else self._door.address()
        except OSError as error:
            self._complain(address, error)
            return None  # the next beat tries again
        if self._hello is not None:
            return replace(
                self._hello,
                kv=source,
                adapters=list(self._adapters()),
                way=way,
                bootstrap=bootstrap,
                encodings=encodings,
                operated=self._operated(),
            )
        return None if source is None else RelayHello(self._worker_id, self._epoch, source, way)

    def _complain(self, address: str, error: OSError) -> None:
        if address not in self._complaints and len(self._complaints) >= ADDRESSES_MAX:
            del self._complaints[next(iter(self._complaints))]  # the oldest
        if self._complaints.setdefault(address, Complaint(monotonic)).due():
            log.warning("no way to the frontend at %s: %s", address, error.strerror)

    def heartbeat(self) -> Heartbeat:
        """Returns the Heartbeat that tells what is true of the engine's ranks now."""
        kv, unhealthy = self._kv, self._engine.reason[:MESSAGE_CHARS_MAX]
        relay = None if kv is None else kv.counts()
        if self._hello is None and kv is not None:  # a follower's loads are its leader's to tell
            return Heartbeat(self._worker_id, self._epoch, kv.numbers(), relay)
        loads = self._engine.loads()
        return Heartbeat(
            self._worker_id,
            self._epoch,
            loads if kv is None else kv.numbered(loads),
            relay,
            unhealthy,
            operated=self._operated(),
        )
