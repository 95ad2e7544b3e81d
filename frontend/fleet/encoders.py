"""Keeps the workers that encode pictures for the workers of a model, and chooses one."""

from collections.abc import Collection
from hashlib import blake2b
from typing import Final

from frontend.fleet.worker import Worker
from protocol.media import MediaTaken
from protocol.membership import Hello, Stage

ENCODE: Final[Stage] = "encode"
"""Is the stage of workers that make vectors of pictures."""

PROCESS: Final[Stage] = "process"
"""Is the stage of workers that make pixels of pictures, for the model's own encoder."""

AHEAD_MAX: Final = 4
"""Bounds by how many requests the worker that may have a picture may be busier than the idlest:
fewer would have pictures encoded twice by chance, more would keep clients waiting for the sake of
a cache.
"""

UNREACHED_S: Final = 30.0
"""Is how long a worker that could not fetch from an encoder is given others: whoever tries it again
waits some seconds in vain, if there is still no way.
"""


def encodes(hello: Hello) -> bool:
    """Tells whether a worker makes something of pictures for others, and runs no prompts."""
    return hello.stage in (ENCODE, PROCESS)


def fits(worker: Worker, taken: MediaTaken | None) -> bool:
    """Tells whether a worker encodes pictures as a model takes them."""
    media = worker.hello.card.media
    return (
        taken is not None
        and bool(taken.encoder)
        and media is not None
        and media.encoder == taken.encoder
    )


class Encoders:
    """Encoders are the workers that encode pictures, whatever model they do it for.

    Attributes:
        workers: all of them; to be changed by `add` and `remove` alone.
    """

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self._unreached: dict[tuple[str, str], float] = {}
        """Maps an encoder and a worker that could not fetch from it, by their ids, to until when
        they are kept apart: at most all pairs.
        """

    def __contains__(self, worker: Worker) -> bool:
        return worker in self.workers

    def add(self, worker: Worker) -> None:
        """Takes a worker in."""
        self.workers.append(worker)
        for pair in [pair for pair in self._unreached if worker.worker_id in pair]:
            del self._unreached[pair]

    def remove(self, worker: Worker) -> None:
        """Drops a worker; one that is not here is ignored."""
        if worker in self.workers:
            self.workers.remove(worker)

    def awaited(self, request_id: str, helpers: Collection[Worker]) -> Worker | None:
        """Returns the one of a request's helpers that encodes its pictures and has not said that
        they are encoded.
        """
        return next((one for one in helpers if one in self and request_id in one.bookings), None)

    def note_unreached(self, encoder_id: str, worker_id: str, now: float) -> None:
        """Notes that a worker could not fetch from an encoder."""
        self._unreached[encoder_id, worker_id] = now + UNREACHED_S

    def unreached_by(self, worker_ids: Collection[str], now: float) -> set[str]:
        """Returns the ids of the encoders that one of these workers could not fetch from lately."""
        if not self._unreached:
            return set()
        for pair in [pair for pair, until in self._unreached.items() if until <= now]:
            del self._unreached[pair]
        return {encoder for encoder, worker in self._unreached if worker in worker_ids}

    def of_name(self, model: str) -> list[Worker]:
        """Returns the workers that encode for a model of that name, whichever its files are."""
        return [worker for worker in self.workers if worker.hello.card.name == model]

    def of(self, model: str, taken: MediaTaken | None, stage: Stage) -> list[Worker]:
        """Returns the workers of that stage that may get work, and whose encoder is the model's."""
        return [
            worker
            for worker in self.of_name(model)
            if worker.takes_work and worker.hello.stage == stage and fits(worker, taken)
        ]

    def able(self, model: str, taken: MediaTaken | None) -> list[Worker]:
        """Returns the workers that may get work and make anything of a model's pictures."""
        return [*self.of(model, taken, ENCODE), *self.of(model, taken, PROCESS)]

    def choose(
        self,
        model: str,
        taken: MediaTaken | None,
        digest: int,
        avoid: Collection[str],
        *,
        alone: bool = False,
    ) -> Worker | None:
        """Returns the worker that is to encode a request's pictures; None where the worker that
        runs it sees for itself.

        It is the same one for the same first picture, in all frontends, as long as it is not much
        busier than another, and one that makes vectors before one that makes pixels.

        Args:
            digest: of the first picture.
            avoid: ids of workers that have refused the request.
            alone: a worker may have died of it, so it does not meet others of its kind.
        """
        for stage in (ENCODE, PROCESS):
            able = [
                worker
                for worker in self.of(model, taken, stage)
                if worker.worker_id not in avoid and worker.has_room(alone=alone)
            ]
            if able:
                idlest = min(worker.ranks[0].requests for worker in able)
                near = [worker for worker in able if worker.ranks[0].requests <= idlest + AHEAD_MAX]
                return max(near, key=lambda worker: _affinity(digest, worker.worker_id))
        return None


def _affinity(digest: int, worker_id: str) -> bytes:
    """Returns what orders workers differently for each picture (rendezvous hashing: Thaler and
    Ravishankar, 1998): when one comes or goes, no picture changes between the others.
    """
    return blake2b(worker_id.encode(), digest_size=8, key=digest.to_bytes(8, "big")).digest()
