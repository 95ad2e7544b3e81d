"""One connected worker as this frontend sees it: what it serves, how loaded it is, what runs on it."""

from enum import Enum

from frontend.mesh.stream import RequestStream
from protocol.membership import Hello, RankLoad


class Phase(Enum):
    """Where a connection stands."""

    JOINING = "joining"  # said Hello; its model files are being fetched or loaded
    READY = "ready"
    DRAINING = "draining"  # finishes what runs, takes nothing new


class Rank:
    """Load of one data-parallel rank: the engine's last word plus what we booked since."""

    __slots__ = ("booked_since_report", "dp_rank", "in_flight", "reported", "worker")

    def __init__(self, worker: "Worker", dp_rank: int) -> None:
        self.worker = worker
        self.dp_rank = dp_rank
        self.in_flight = 0
        """Our own unfinished requests on this rank."""
        self.booked_since_report = 0
        self.reported: RankLoad | None = None

    @property
    def requests(self) -> int:
        """Unfinished requests of all frontends, as far as we know: never fewer than our own."""
        if self.reported is None:
            return self.in_flight
        return max(self.in_flight, self.reported.requests_running + self.reported.requests_waiting + self.booked_since_report)


class Worker:
    """A connection that said Hello.

    Lives until Goodbye, silence (its next heartbeat makes it join anew) or a newer connection under the same id.
    """

    def __init__(self, identity: bytes, hello: Hello, now: float) -> None:
        self.identity = identity
        self.hello = hello
        self.phase = Phase.JOINING
        self.heard_at = now
        self.streams: dict[str, tuple[RequestStream, Rank]] = {}
        """Unfinished requests of ours, at most `hello.credit_requests`."""
        self.ranks = [Rank(self, dp_rank) for dp_rank in range(hello.capacity.dp_size)]

    @property
    def worker_id(self) -> str:
        return self.hello.worker_id

    @property
    def has_credit(self) -> bool:
        """Whether the worker granted us room for one more request."""
        return len(self.streams) < self.hello.credit_requests

    def report(self, loads: list[RankLoad]) -> None:
        """Take over the load of a heartbeat; ranks we do not know are ignored."""
        for load in loads:
            if 0 <= load.dp_rank < len(self.ranks):
                rank = self.ranks[load.dp_rank]
                rank.reported = load
                rank.booked_since_report = 0

    def book(self, stream: RequestStream, rank: Rank) -> None:
        """Count a request from the moment it is sent."""
        self.streams[stream.request_id] = (stream, rank)
        rank.in_flight += 1
        rank.booked_since_report += 1

    def release(self, request_id: str) -> RequestStream | None:
        """Forget a request that ended; None when it had been forgotten already."""
        entry = self.streams.pop(request_id, None)
        if entry is None:
            return None
        stream, rank = entry
        rank.in_flight -= 1
        if rank.booked_since_report:
            rank.booked_since_report -= 1
        return stream
