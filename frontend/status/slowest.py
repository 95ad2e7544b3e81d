"""Remembers which requests took longest lately."""

from heapq import heappush, heappushpop, nlargest
from typing import Final

from frontend.observe.request_record import RequestRecord
from frontend.status.snapshot import RequestStatus

SHOWN_MAX: Final = 12
"""Bounds the requests shown: a screenful."""

SLICE_S: Final = 30.0
"""Is the time of which the slowest are kept apart, so that they are forgotten in their turn."""

SLICES_MAX: Final = 10
"""Bounds the slices: five minutes, as many as a page shows of everything else."""

Kept = tuple[float, str, RequestRecord]
"""Holds how long a request took, its name (no two are compared by their records) and its record."""


class Slowest:
    """Slowest keeps of each slice of time the requests that took longest; of most others it costs
    one comparison.
    """

    def __init__(self) -> None:
        self._slices: dict[int, list[Kept]] = {}
        """Maps the number of a slice to its slowest, as a heap."""

    def note(self, record: RequestRecord) -> None:
        """Takes a request that ended."""
        if not record.runs_model:
            return
        number = _slice_of(record.came_unix_s + record.took_s)
        kept = self._slices.get(number)
        if kept is None:
            kept = self._slices[number] = []
            while len(self._slices) > SLICES_MAX:
                del self._slices[min(self._slices)]
        if len(kept) < SHOWN_MAX:
            heappush(kept, (record.took_s, record.mesh_id, record))
        elif record.took_s > kept[0][0]:
            heappushpop(kept, (record.took_s, record.mesh_id, record))

    def shown(self, unix_s: float) -> list[RequestStatus]:
        """Returns the slowest of the last minutes, the slowest first."""
        first = _slice_of(unix_s) - SLICES_MAX
        all_kept = (
            each for number, kept in self._slices.items() if number > first for each in kept
        )
        return [request_shown(record) for _, _, record in nlargest(SHOWN_MAX, all_kept)]


def request_shown(record: RequestRecord) -> RequestStatus:
    """Describes a request that ended as people are told of it."""
    return RequestStatus(
        request_id=record.mesh_id,
        endpoint=record.path,
        model=record.model,
        worker=", ".join(record.workers),
        moves=record.moves,
        prompt_tokens=record.prompt_tokens,
        cached_tokens=record.cached_tokens,
        output_tokens=record.output_tokens,
        prepared_s=_rounded(record.prepared_s),
        queue_s=round(record.queued_s, 4),
        sent_s=_rounded(record.sent_s),
        ttft_s=_rounded(record.first_token_s),
        last_token_s=_rounded(record.last_token_s),
        took_s=round(record.took_s, 4),
        outcome=record.outcome,
        ended_unix_s=round(record.came_unix_s + record.took_s, 1),
    )


def _slice_of(unix_s: float) -> int:
    return int(unix_s // SLICE_S)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
