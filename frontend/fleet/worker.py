"""Keeps one connected worker as this frontend sees it: what it serves, its ranks, what runs on
it.
"""

from collections.abc import Sequence
from enum import Enum

from frontend.fleet.booking import Booking
from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.observe.worker_tally import WorkerTally
from kv_events.index import BlockBudget
from kv_events.rank_feed import RankFeed
from kv_events.subscriber import Subscription
from protocol.membership import Heartbeat, Hello, RankLoad, RelayCounts
from protocol.numbering import Numbering
from protocol.operated import UNTOUCHED, Operated

CLEARED_AFTER_TOKENS = 4
"""Counts the tokens of one leg after which a request is no suspect: what kills an engine does so
when it is computed, and a moved request is computed anew up to where it stood.
"""

OTHER_WAYS_MAX = 8
"""Bounds the connections kept beside the one that serves: addresses that one host has, for which
one or two is much.
"""

BUSY_S_MAX = 10.0
"""Bounds how long an engine that does not answer counts as busy, beyond what its worker tolerates;
then new clients are told.
"""


class Phase(Enum):
    """A Phase says where a worker's connection stands."""

    JOINING = "joining"  # said Hello; its model files are being fetched or loaded
    READY = "ready"
    DRAINING = "draining"  # finishes what runs, takes nothing new


class Worker:
    """A Worker is a connection that said Hello, with its ranks and what runs on them.

    Lives until Goodbye, silence (its next heartbeat makes it join anew) or a newer connection under
    the same id.
    """

    def __init__(
        self,
        identity: bytes,
        hello: Hello,
        now: float,
        budget: BlockBudget,
        numbering: Numbering | None = None,
    ) -> None:
        self.identity = identity
        self.hello = hello
        self.digest = hello.card.digest
        self.numbering = numbering or Numbering()
        self.phase = Phase.JOINING
        self.unhealthy = ""
        """Says why the worker gets no work although it beats; empty while its engine answers."""
        self.unhealthy_since = 0.0
        self.operated = hello.operated or UNTOUCHED
        """Says what an operator did to the engine; whose cache the blocks know by `flushes`."""
        self.withdrawn_since = now
        self.heard_at = now
        self.bookings: dict[str, Booking] = {}
        """Maps the ids of our unfinished requests to their bookings, at most
        `hello.credit_requests`.
        """
        self.suspects: set[str] = set()
        """Holds the ids of our unfinished requests that a worker may have died of before: at most
        one.
        """
        self._full: set[str] = set()
        """Holds the ids of workers whose credit is used up, among them this one's: kept as it
        changes, since every request asks it of all of them.
        """
        self.aborts_owed: set[str] = set()
        """Holds the ids of aborts that found no room in the socket.

        Whoever has no room for these has none for requests either, so they are no more than the
        credit.
        """
        self.adapters = frozenset(hello.adapters)
        """Names the LoRA adapters that requests to the worker may name."""
        self.ranks = [Rank(hello, dp_rank, budget) for dp_rank in range(hello.capacity.dp_size)]
        self.subscriptions: list[Subscription] = []
        """Lists the worker's KV event streams, one of each node of its engine; none if it publishes
        none, or none are wanted.
        """
        self.relay = RelayCounts()
        self.tally = WorkerTally()
        self.has_double = False
        """Says that it was logged that another worker goes by this one's name; that one asks again
        every few seconds.
        """
        self.other_ways: list[bytes] = []
        """Lists the worker's further connections, the last few that said Hello."""

    @property
    def worker_id(self) -> str:
        return self.hello.worker_id

    @property
    def takes_work(self) -> bool:
        """Tells whether the worker may be given requests at all."""
        return self.phase is Phase.READY and not self.unhealthy and not self.operated.state

    def is_silent_for_a_moment(self, now: float, *, patient: bool) -> bool:
        """Returns whether the worker's engine does not answer and may be only busy; to who is
        `patient`, for however long it has been so.
        """
        return (
            self.phase is Phase.READY
            and bool(self.unhealthy)
            and (patient or now - self.unhealthy_since <= BUSY_S_MAX)
        )

    def is_back_soon(self, now: float, *, patient: bool) -> bool:
        """Returns whether an operator has withdrawn the worker for a while; to who is not `patient`
        only a short one.
        """
        return (
            self.phase is Phase.READY
            and bool(self.operated.state)
            and not self.unhealthy
            and (patient or self.operated.soon or now - self.withdrawn_since <= BUSY_S_MAX)
        )

    def note_operated(self, operated: Operated, now: float) -> bool:
        """Takes over what an operator did to the engine; returns whether the worker takes requests
        again, or does not any more, on account of it.
        """
        before, self.operated = self.operated, operated
        if operated.flushes != before.flushes:
            for rank in self.ranks:
                rank.blocks.clear()
        turned = bool(operated.state) != bool(before.state)
        if turned:
            self.withdrawn_since = now
        return turned

    def note_other_way(self, identity: bytes) -> None:
        """Notes that the worker's process is connected once more."""
        if identity not in self.other_ways:
            self.other_ways = [*self.other_ways[1 - OTHER_WAYS_MAX :], identity]

    def be_listed_in(self, full: set[str]) -> None:
        """Keeps the worker's id in `full` from now on for as long as its credit is used up."""
        self._full = full
        if not self.has_room(alone=False):
            full.add(self.worker_id)

    def has_room(self, *, alone: bool) -> bool:
        """Returns whether the worker granted us room for one more request, which is not to meet
        others of its kind if it goes `alone`.
        """
        return len(self.bookings) < self.hello.credit_requests and not (alone and self.suspects)

    def report(self, heartbeat: Heartbeat, now: float) -> None:
        """Takes over the load of a heartbeat; ranks we do not know are ignored."""
        for load in heartbeat.ranks:
            if 0 <= load.dp_rank < len(self.ranks):
                self.ranks[load.dp_rank].report(load, heartbeat.others_share)
        self.note_numbers(heartbeat.ranks, now)
        if heartbeat.relay is not None:
            self.relay = heartbeat.relay

    def note_numbers(self, loads: Sequence[RankLoad], now: float) -> None:
        """Takes over where the streams of these ranks stand, by the node that publishes them;
        others tell 0.
        """
        for load in loads:
            feed = self.feed(load.dp_rank)
            if feed is not None:
                feed.on_number(load.kv_number, now)

    def on_time(self, now: float) -> None:
        """Expires predictions, and treats a rank whose events do not arrive as one without events;
        to be called every fraction of a second.
        """
        for rank in self.ranks:
            rank.blocks.expire(now)
            feed = self.feed(rank.dp_rank)
            rank.follow_events(feed is not None and feed.current)

    def feed(self, dp_rank: int) -> RankFeed | None:
        """Returns what keeps the rank's blocks up to date; None if nothing does."""
        return next(
            (
                feed
                for subscription in self.subscriptions
                if (feed := subscription.feeds.get(dp_rank))
            ),
            None,
        )

    def book(
        self,
        stream: RequestStream,
        rank: Rank,
        prefill_tokens: int,
        kv_tokens: int | None = None,
        *,
        priority: int = 0,
        suspect: bool = False,
    ) -> None:
        """Counts a request from the moment it is sent."""
        self.tally.started += 1
        self.bookings[stream.request_id] = Booking(
            stream, rank, prefill_tokens, kv_tokens, priority=priority
        )
        if not self.has_room(alone=False):
            self._full.add(self.worker_id)
        if suspect:
            self.suspects.add(stream.request_id)

    def clear_suspect(self, stream: RequestStream) -> bool:
        """Returns whether this request was a suspect until it had come so far, and clears it."""
        if stream.tokens_received < CLEARED_AFTER_TOKENS or stream.request_id not in self.suspects:
            return False
        self.suspects.discard(stream.request_id)
        return True

    def release(self, request_id: str) -> RequestStream | None:
        """Forgets a request that ended and returns its stream; None when it had been forgotten
        already.
        """
        self.suspects.discard(request_id)
        booking = self.bookings.pop(request_id, None)
        if booking is None:
            return None
        self._full.discard(self.worker_id)
        booking.release()
        return booking.stream
