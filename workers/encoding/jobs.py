"""Pictures wait to be encoded, each once however many requests need it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from protocol.media import PromptMedia
from workers.encoding.orders import Order

BATCH_TOKENS_MAX: Final = 1_024
"""Bounds the tokens of a batch of several pictures: beyond them nothing is gained by encoding
together, and the first waits for the last. On an H200 a picture of 64 tokens takes 21 ms alone and
5 among sixteen, one of 1,024 takes 133 ms alone and 122 among eight (bench/results/media.json).
"""


@dataclass(eq=False)
class Job:
    """A Job is a picture that some orders wait for."""

    picture: PromptMedia
    orders: list[Order] = field(default_factory=list[Order])


class Jobs:
    """Jobs are the pictures that wait, in the order in which they came, and those of the batch that
    is being encoded.

    Attributes:
        batch_max: pictures of a batch.
        batch: what is being encoded now.
    """

    def __init__(self) -> None:
        self.batch_max = 1
        self.batch: Sequence[Job] = ()
        self._waiting: dict[int, Job] = {}
        """Maps a picture's digest to its job. Bounded by the credit granted to frontends times the
        pictures of a request.
        """

    @property
    def waiting(self) -> Sequence[Job]:
        """Returns what waits for the next batch or a later one."""
        return [*self._waiting.values()]

    def add(self, picture: PromptMedia, order: Order) -> bool:
        """Has a picture encoded for an order; tells whether it was nobody's before."""
        known = self._waiting.get(picture.digest) or next(
            (job for job in self.batch if job.picture.digest == picture.digest), None
        )
        if known is None:
            self._waiting[picture.digest] = Job(picture, [order])
            return True
        if order not in known.orders:
            known.orders.append(order)
        return False

    def leave(self, order: Order) -> None:
        """Takes an order out; a picture that nobody else waits for is not encoded, unless it is
        already being.
        """
        for picture in order.request.media:
            job = self._waiting.get(picture.digest)
            if job is not None and order in job.orders:
                job.orders.remove(order)
                if not job.orders:
                    del self._waiting[picture.digest]

    def orders(self) -> list[Order]:
        """Returns the orders that wait for the next batch or a later one."""
        return list(dict.fromkeys(order for job in self._waiting.values() for order in job.orders))

    def begin(self) -> Sequence[Job]:
        """Makes the next batch of what has waited longest, and returns it; empty if nothing does.

        More urgent requests come first (`priority`).
        """
        jobs = sorted(self._waiting.values(), key=_urgency, reverse=True)
        batch: list[Job] = []
        tokens = 0
        for job in jobs[: self.batch_max]:
            tokens += job.picture.tokens
            if batch and tokens > BATCH_TOKENS_MAX:
                break
            batch.append(job)
        for job in batch:
            del self._waiting[job.picture.digest]
        self.batch = batch
        return batch


def _urgency(job: Job) -> int:
    return max(order.request.priority for order in job.orders)
