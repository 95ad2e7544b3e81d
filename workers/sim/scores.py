"""A simulation's log probability is a function of the token alone, so that it is the same wherever
it is made.
"""

from array import array
from collections.abc import Sequence

from msgspec.structs import replace

from protocol.generation import Extras, Generate, Logprobs
from protocol.replies import Delta
from protocol.tokens import pack_tokens, unpack_tokens


def logprob_of(token_id: int) -> float:
    """Returns the log probability that the sim engine gives a token; exact in float32."""
    return -(token_id % 1_024) / 128


class SimScores:
    """SimScores adds log probabilities to the deltas of requests that want them.

    Holds those requests until they end.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, Generate] = {}
        self._prompt_owed: set[str] = set()

    def note(self, request: Generate) -> None:
        """Notes a request that was submitted."""
        if request.logprobs is not None:
            self._wanted[request.request_id] = request
            if request.logprobs.of_prompt:
                self._prompt_owed.add(request.request_id)

    def add_to(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """Returns the deltas with the log probabilities that their requests want."""
        return [self._scored(delta) for delta in deltas] if self._wanted else deltas

    def _scored(self, delta: Delta) -> Delta:
        request = self._wanted.get(delta.request_id)
        if request is None or request.logprobs is None:
            return delta
        if delta.end is not None:
            del self._wanted[delta.request_id]
        of_prompt = None
        if delta.token_ids and delta.request_id in self._prompt_owed:
            self._prompt_owed.discard(delta.request_id)
            of_prompt = _scores(request.token_ids, request.logprobs.top, first=float("nan"))
        of_output = _scores(delta.token_ids, request.logprobs.top) if delta.token_ids else None
        if delta.end is not None:
            self._prompt_owed.discard(delta.request_id)
        return replace(
            delta,
            extras=replace(delta.extras or Extras(), logprobs=of_output, prompt_logprobs=of_prompt),
        )


def _scores(packed: bytes, top: int, first: float | None = None) -> Logprobs:
    """Returns the scores of tokens: each is the likeliest itself; those that follow it in the
    vocabulary come next.
    """
    token_ids = unpack_tokens(packed)
    values = array("f", map(logprob_of, token_ids))
    if first is not None:
        values[0] = first
    others = [
        (token_id + step) % 1_024 if step else token_id
        for token_id in token_ids
        for step in range(top)
    ]
    alternatives = array(
        "f", [logprob_of(token_id) - step for token_id in token_ids for step in range(top)]
    )
    return Logprobs(values.tobytes(), top, pack_tokens(others), alternatives.tobytes())
