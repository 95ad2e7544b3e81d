"""Sends those who share what another request has yet to compute when that one has computed it."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.worker import Worker
from frontend.mesh.offer import Offer
from frontend.mesh.wire import MeshWire
from frontend.routing.leaders import HELD_S_MAX, Leaders
from frontend.routing.route import Placement
from protocol.errors import MeshError, Overloaded
from protocol.requests import Asked


class Held(Struct, frozen=True):
    """A Held is a request that is booked and not sent yet."""

    worker: Worker
    leg: Asked
    stream: RequestStream


class Following:
    """A Following keeps requests back that follow another one, and sends them behind it.

    Args:
        on: False where nobody counts on what was routed.
        give_up: ends a request, for a reason, on account of the worker of that id.
    """

    def __init__(
        self,
        wire: MeshWire,
        give_up: Callable[[RequestStream, MeshError, str], None],
        *,
        on: bool,
    ) -> None:
        self._wire = wire
        self._give_up = give_up
        self._on = on
        self._leaders = Leaders[Held]()
        self._loop = asyncio.get_running_loop()

    def leader_of(self, offer: Offer, placement: Placement[Rank]) -> str | None:
        """Returns whom a request is to wait for, placed as it is; None if it is to be sent."""
        if not self._on or offer.alone:  # who may kill its worker meets nobody there
            return None
        return self._leaders.find(placement, offer.route, offer.request.priority)

    def note(
        self,
        leader: str | None,
        worker: Worker,
        offer: Offer,
        leg: Asked,
        stream: RequestStream,
    ) -> None:
        """Takes a request that is booked: to be sent behind its leader, or sent, for others to
        follow if its first token is told when it is made.
        """
        if leader is not None:
            if self._leaders.follow(leader, stream.request_id, Held(worker, leg, stream)):
                self._loop.call_later(HELD_S_MAX, self.let_go, leader)
        elif (
            self._on
            and stream.told_at_once
            and not offer.alone
            and stream.placement.rank.reuses_prefixes
        ):
            self._leaders.lead(
                stream.request_id, stream.placement, offer.route, offer.request.priority
            )

    def let_go(self, request_id: str) -> None:
        """Sends who waited for a request: its prompt is computed, or it is over, or takes too
        long.
        """
        for held in self._leaders.computed(request_id):
            held.stream.sent_at = self._loop.time()
            if not self._wire.send(held.worker, held.leg):
                full = Overloaded("A worker's connection is full or gone.")
                self._give_up(held.stream, full, held.worker.worker_id)

    def note_end(self, request_id: str) -> None:
        """Takes note that a request is over, whether it was sent or not."""
        if not self._leaders.drop(request_id):
            self.let_go(request_id)

    def forget(self, worker: Worker) -> set[str]:
        """Forgets those who were kept back from a worker that is lost, and returns their ids."""
        return {request_id for request_id in worker.bookings if self._leaders.drop(request_id)}
