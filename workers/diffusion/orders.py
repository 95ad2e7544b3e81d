"""What waits to be made stands in line: by priority, and in the order of arrival among equals."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from protocol.diffusion import Diffuse
from protocol.errors import Overloaded
from protocol.replies import Failed

ORDERS_WAITING_MAX: Final = 64
"""Bounds the orders that wait, of all frontends together: at ten seconds each the last would be
begun after ten minutes, which is when hardly anybody waits any more.
"""

REFERENCE_BYTES_WAITING_MAX: Final = 512 * 1024 * 1024
"""Bounds the bytes of the pictures that waiting orders bring along, which lie in memory meanwhile:
of one order at most 64 MiB, a message's bound.
"""

STEPS_TAKEN: Final = 30
"""Is how many steps are taken to be made where an order leaves them to the model, as its cost has
them.
"""

PERCENT_RUNNING_MAX: Final = 99
"""Is the most that is told of an order before all of it is made."""


@dataclass(eq=False)
class Order:
    """An Order is a Diffuse from its arrival to its end.

    Attributes:
        ended: its end is told, or about to be.
        percent: of its steps that are made.
        timer: runs out with its deadline.
    """

    request: Diffuse
    ended: bool = False
    percent: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def request_id(self) -> str:
        """Returns the id under which its end is told."""
        return self.request.request_id

    @property
    def job_id(self) -> str:
        """Returns the name of the job that it is; empty if it is none."""
        return self.request.job_id

    @property
    def cost_left(self) -> int:
        """Returns how much of its cost is still to be worked off."""
        return self.request.cost * (100 - self.percent) // 100

    @property
    def step_cost(self) -> float:
        """Returns how much of its cost each of its steps is, as far as the request says."""
        return self.request.cost / ((self.request.steps or STEPS_TAKEN) * self.request.count)

    @property
    def previews_max(self) -> int:
        """Returns how many pictures it has shown on the way."""
        return self.request.previews * self.request.count

    @property
    def reference_bytes(self) -> int:
        """Returns how many bytes the pictures have that it brings along."""
        return sum(map(len, self.request.references)) + len(self.request.mask)

    def stop_timer(self) -> None:
        """Has its deadline pass without effect."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def end(self) -> None:
        """Notes that its end is told, or about to be."""
        self.ended = True
        self.stop_timer()


class Line:
    """A Line holds the orders that wait, in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: list[Order] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._waiting)

    @property
    def cost(self) -> int:
        """Returns the cost of all that waits."""
        return sum(order.cost_left for order in self._waiting)

    def refusal(self, order: Order) -> Failed | None:
        """Returns why an order cannot wait here; None if it can."""
        if len(self._waiting) >= ORDERS_WAITING_MAX:
            return Failed(Overloaded.code, "Too many pictures or videos wait here to be made.")
        waiting_bytes = sum(each.reference_bytes for each in self._waiting)
        if self._waiting and waiting_bytes + order.reference_bytes > REFERENCE_BYTES_WAITING_MAX:
            return Failed(Overloaded.code, "Too much waits here to be changed or continued.")
        return None

    def add(self, order: Order) -> None:
        """Lets an order wait."""
        self._waiting.append(order)

    def drop(self, order: Order) -> bool:
        """Takes an order out; tells whether it waited."""
        if order not in self._waiting:
            return False
        self._waiting.remove(order)
        return True

    def next(self) -> Order | None:
        """Takes the order out that is to be made next; None if nothing waits."""
        if not self._waiting:
            return None
        # the first of several that are equal, which came first
        first = max(self._waiting, key=lambda order: order.request.priority)
        self._waiting.remove(first)
        return first

    def clear(self) -> list[Order]:
        """Takes all orders out."""
        waiting, self._waiting = self._waiting, []
        return waiting
