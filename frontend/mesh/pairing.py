"""A request in two legs: a prefill rank computes its prompt, a decode rank takes the KV cache over
and generates. Both end together.

The legs are sent at once and bear the request's id, each on its own worker; they find each other
under a room, a number that no other request has. What the decode leg gives is the answer. The
prefill leg makes the first token too, which comes with the cache; its own word of it is dropped.

Source: the hand-over of SGLang (srt/disaggregation at 0.5.23).
"""

from collections.abc import Callable

from msgspec.structs import replace

from frontend.fleet.partings import Pair
from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.worker import Worker
from protocol.disaggregation import Bootstrap
from protocol.errors import MeshError
from protocol.generation import Extras, Generate

ROOM_BITS = 62
"""Of chance in a room: SGLang keeps it in 64 bits, and adding a rank must not overflow 63."""


def room_of(chance: int, dp_rank: int, dp_size: int) -> int:
    """Returns a room number that is congruent to the prefill rank modulo the ranks of its worker,
    by which SGLang finds the rank too, and never 0, which to SGLang is none.

    Args:
        chance: a random number of `ROOM_BITS` bits.
    """
    room = chance - chance % dp_size + dp_rank
    return room if room > 0 else dp_size


def legs_of(
    request: Generate, prefill: Worker, prefill_rank: Rank, chance: int
) -> tuple[Generate, Generate]:
    """Returns what the prefill worker and the decode worker are sent of a request."""
    server, dp_size = prefill.hello.bootstrap, len(prefill.ranks)
    assert server is not None, "checked when it introduced itself"
    room = room_of(chance, prefill_rank.dp_rank, dp_size)
    bootstrap = Bootstrap(server.host, server.port, room, prefill_rank.dp_rank)
    one_token = replace(
        request.sampling,
        max_new_tokens=1,
        min_new_tokens=min(1, request.sampling.min_new_tokens),
    )
    scores = request.logprobs
    return (
        replace(request, sampling=one_token, bootstrap=bootstrap),
        replace(
            request,
            bootstrap=bootstrap,
            logprobs=None if scores is None else replace(scores, of_prompt=False),
        ),
    )


class Partner:
    """A Partner is told of what befalls a prefill leg: its failure ends the decode leg too, and the
    scores of the prompt, where they are wanted, go before the answer.

    Args:
        decode: holds its deltas back until those scores have come.
        give_up: stops the decode leg, for a reason, on account of a worker.
        resume: takes the deltas that were held back.
        came_over: told between which workers a cache was handed over.
    """

    __slots__ = ("_came_over", "_give_up", "_resume", "decode", "prefill")

    def __init__(
        self,
        decode: RequestStream,
        give_up: Callable[[RequestStream, MeshError, str], None],
        resume: Callable[[RequestStream], None],
        came_over: Callable[[Pair], None],
    ) -> None:
        self.decode = decode
        self.prefill: RequestStream | None = None
        self._give_up = give_up
        self._resume = resume
        self._came_over = came_over

    def notify(self) -> None:
        """Takes note that something arrived in the prefill leg."""
        prefill = self.prefill
        if prefill is None:
            return
        if prefill.error is not None:
            self._give_up(self.decode, prefill.error, prefill.lost_on)
        elif prefill.finished is not None:
            self._came_over(self.decode.pair)
            if self.decode.held is None:
                return
            scores = [extras.prompt_logprobs for extras in prefill.take_extras()]
            for of_prompt in filter(None, scores):
                self.decode.add(Extras(prompt_logprobs=of_prompt))
            self._resume(self.decode)
