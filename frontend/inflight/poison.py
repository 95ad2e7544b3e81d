"""Remembers requests that engines died of, so that their twins are refused for a while. Bounded;
pure.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from protocol.diffusion import Diffuse
from protocol.errors import PoisonRequest
from protocol.generation import Generate
from protocol.requests import Asked

REFUSED_S: Final = 60.0
"""Is how long twins are refused: a client that repeats its request every few seconds meets this
instead of one worker after the other; whoever has mended theirs does not wait long.
"""

PROVEN_MAX: Final = 1_024
"""Bounds the requests remembered at once, oldest forgotten first.

Each has cost two workers, so a fleet does not live to see many.
"""

_encode = msgspec.msgpack.Encoder().encode


class PoisonList:
    """A PoisonList keeps fingerprints of requests that were proven to kill engines.

    Costs nothing while it is empty.

    Attributes:
        on_proven: told of each fingerprint that is added here.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self.on_proven: Callable[[bytes], None] = lambda _: None

    def add(self, request: Asked, now: float) -> None:
        """Remembers a request as the client asked for it."""
        fingerprint = _fingerprint(request)
        self.note(fingerprint, now)
        self.on_proven(fingerprint)

    def note(self, fingerprint: bytes, now: float) -> None:
        """Remembers a request that was proven elsewhere, by its fingerprint."""
        self._until[fingerprint] = now + REFUSED_S
        self._until.move_to_end(fingerprint)
        while len(self._until) > PROVEN_MAX:
            self._until.popitem(last=False)

    def check(self, request: Asked, now: float) -> None:
        """Refuses the twin of a request on the list.

        Raises:
            PoisonRequest: it is one.
        """
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if self._until and _fingerprint(request) in self._until:
            raise PoisonRequest(
                "A request like this one has ended several workers a moment ago, so it is "
                "refused for a while."
            )


def _fingerprint(request: Asked) -> bytes:
    """Returns the hash of all that decides what an engine computes, but for the seed and how long
    it goes on: a client varies those between attempts.

    Cryptographic, so that nobody can make a request whose twin is somebody else's.
    """
    if isinstance(request, Diffuse):
        alike = msgspec.structs.replace(
            request,
            request_id="",
            job_id="",
            job_begun_unix_s=0,
            deadline_unix_ms=0,
            seed=None,
            priority=0,
            routed_dp_rank=None,
            traceparent=None,
            tracestate="",
        )
        return blake2b(_encode(alike), digest_size=16).digest()
    asked = (request.model, request.token_ids, request.lora_name)
    if isinstance(request, Generate):
        sampling = msgspec.structs.replace(request.sampling, seed=None, max_new_tokens=0)
        media = [each.digest for each in request.media]
        return blake2b(
            _encode((*asked, sampling, request.grammar, request.logprobs, media)), digest_size=16
        ).digest()
    return blake2b(_encode((*asked, request.dimensions)), digest_size=16).digest()
