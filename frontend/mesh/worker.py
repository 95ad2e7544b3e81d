"""One connected worker as this frontend sees it: what it serves, its ranks, what runs on it."""

from enum import Enum

from frontend.mesh.rank import Booking, Rank
from frontend.mesh.stream import RequestStream
from kv_events.index import BlockBudget
from kv_events.subscriber import Subscription
from protocol.membership import Heartbeat, Hello, RelayCounts


class Phase(Enum):
    """Where a connection stands."""

    JOINING = "joining"  # said Hello; its model files are being fetched or loaded
    READY = "ready"
    DRAINING = "draining"  # finishes what runs, takes nothing new


class Worker:
    """A connection that said Hello.

    Lives until Goodbye, silence (its next heartbeat makes it join anew) or a newer connection under the same id.
    """

    def __init__(self, identity: bytes, hello: Hello, now: float, budget: BlockBudget) -> None:
        self.identity = identity
        self.hello = hello
        self.phase = Phase.JOINING
        self.heard_at = now
        self.bookings: dict[str, Booking] = {}
        """Unfinished requests of ours, at most `hello.credit_requests`."""
        self.ranks = [Rank(hello, dp_rank, budget) for dp_rank in range(hello.capacity.dp_size)]
        self.subscription: Subscription | None = None
        """Its KV events; None if it publishes none, or none are wanted."""
        self.relay = RelayCounts()

    @property
    def worker_id(self) -> str:
        return self.hello.worker_id

    @property
    def has_credit(self) -> bool:
        """Whether the worker granted us room for one more request."""
        return len(self.bookings) < self.hello.credit_requests

    def report(self, heartbeat: Heartbeat, now: float) -> None:
        """Take over the load of a heartbeat; ranks we do not know are ignored."""
        for load in heartbeat.ranks:
            if not 0 <= load.dp_rank < len(self.ranks):
                continue
            self.ranks[load.dp_rank].report(load)
            feed = None if self.subscription is None else self.subscription.feeds.get(load.dp_rank)
            if feed is not None:
                feed.on_number(load.kv_number, now)
        if heartbeat.relay is not None:
            self.relay = heartbeat.relay

    def book(self, stream: RequestStream, rank: Rank, uncached_tokens: int) -> None:
        """Count a request from the moment it is sent."""
        self.bookings[stream.request_id] = Booking(stream, rank, uncached_tokens)

    def release(self, request_id: str) -> RequestStream | None:
        """Forget a request that ended; None when it had been forgotten already."""
        booking = self.bookings.pop(request_id, None)
        if booking is None:
            return None
        booking.release()
        return booking.stream
