"""Requests with pictures wait in the queue while all workers that encode have as many as they take;
only where that would take too long, whoever runs the prompt sees for itself.

It would do so at once without this, at the cost of all texts beside it: nobody's next token comes
while an engine encodes.
"""

import asyncio
from collections import Counter, deque
from typing import Final

from msgspec.structs import replace

from frontend.fleet.encoders import Encoders
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.worker import Worker
from frontend.mesh.encoding import encodable
from frontend.mesh.offer import Offer

WAIT_S_MAX: Final = 30.0
"""Bounds how long pictures may have to wait for their encoding, as far as can be told when their
request comes. Of 256 pictures at once the worker beside an encoder sees 28 itself then; with 10 s
it was 180, and for as long as that took hardly a text went on (decision 44).
"""

PACED_OVER: Final = 64
"""Counts the requests over which an encoder's pace is taken: a few of its batches."""


class EncoderRoom:
    """An EncoderRoom knows how fast encoders are, and who waits for them."""

    def __init__(self, encoders: Encoders) -> None:
        self._encoders = encoders
        self._waiting: Counter[str] = Counter()
        """Counts by model the requests that wait for anything and have pictures to be encoded."""
        self._took_s: dict[str, deque[float]] = {}
        """Maps an encoder's id to what each of its last requests took, beside others."""
        self._last_s: dict[str, float] = {}
        """Maps an encoder's id to when it was through with the latest."""

    def note_encoded(self, worker: Worker, sent_at: float, now: float) -> None:
        """Notes that a worker is through with the pictures of a request."""
        begun = max(sent_at, self._last_s.get(worker.worker_id, 0.0))
        took = self._took_s.setdefault(worker.worker_id, deque(maxlen=PACED_OVER))
        took.append(now - begun)
        self._last_s[worker.worker_id] = now

    def forget(self, worker: Worker) -> None:
        """Forgets a worker that is lost."""
        self._took_s.pop(worker.worker_id, None)
        self._last_s.pop(worker.worker_id, None)

    def enter(self, entry: ModelEntry, offer: Offer) -> tuple[Offer, bool]:
        """Returns the offer, and whether it is counted as one whose pictures are to be encoded; if
        encoders would take too long, as one to be seen by whoever runs it.

        One that is counted waits in a lane of its own: texts need no encoder, and pass.
        """
        able = self._able(entry, offer)
        if not able:
            return offer, False
        model = entry.served.card.name
        ahead = self._waiting[model] + sum(worker.ranks[0].requests for worker in able)
        per_s = [1 / pace if (pace := self._pace(worker)) else None for worker in able]
        if None not in per_s and ahead / sum(filter(None, per_s)) > WAIT_S_MAX:
            return replace(offer, sees=True), False
        self._waiting[model] += 1
        return offer, True

    def is_full(self, entry: ModelEntry, offer: Offer) -> bool:
        """Tells whether there are workers for an offer's pictures, and none has room for them."""
        able = self._able(entry, offer)
        return bool(able) and not any(worker.has_room(alone=False) for worker in able)

    def leave(self, entry: ModelEntry) -> None:
        """Counts an offer no longer that was counted."""
        self._waiting[entry.served.card.name] -= 1
        self._waiting += Counter()  # which keeps no zeros

    def _able(self, entry: ModelEntry, offer: Offer) -> list[Worker]:
        """Returns the workers that may encode an offer's pictures, were it not for their room; none
        where somebody who sees for himself may run it, or a worker may have died of it.
        """
        if not self._encoders.workers or offer.sees or offer.alone or not encodable(offer.request):
            return []
        fetching = [worker.worker_id for worker in entry.workers if worker.hello.fetches_encodings]
        if len(fetching) < len(entry.workers):
            return []
        now = asyncio.get_running_loop().time()
        avoid = offer.avoid | self._encoders.unreached_by(fetching, now)
        card = entry.served.card
        able = self._encoders.able(card.name, card.media)
        return [worker for worker in able if worker.worker_id not in avoid]

    def _pace(self, worker: Worker) -> float:
        """Returns the seconds that a worker takes for a request's pictures, 0 if that is not known
        yet.
        """
        took = self._took_s.get(worker.worker_id)
        return sum(took) / len(took) if took else 0.0
