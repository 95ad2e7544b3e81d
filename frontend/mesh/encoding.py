"""The pictures of a request are encoded by another worker than the one that runs it, which fetches
what was made of them.

The encode leg bears the request's id, as all legs do, and ends when the pictures are encoded. If it
fails, the others end too, and the choice moves.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from frontend.fleet.encoders import Encoders
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.stream import RequestStream
from frontend.fleet.worker import Worker
from frontend.mesh.offer import Offer
from protocol.encoding import Encode, Encoded
from protocol.errors import MeshError
from protocol.generation import Generate
from protocol.requests import Asked

AskedT = TypeVar("AskedT", bound=Asked)


def encoder_for(
    encoders: Encoders, entry: ModelEntry, offer: Offer, workers: Sequence[Worker], now: float
) -> Worker | None:
    """Returns the worker that is to encode an offer's pictures for these workers; None where there
    are none, or the workers see for themselves.
    """
    request = offer.request
    if offer.sees or not encodable(request):
        return None
    assert isinstance(request, Generate), "nothing else has pictures"
    fetching = [worker.worker_id for worker in workers if worker.hello.fetches_encodings]
    if not fetching:
        return None
    card = entry.served.card
    avoid = offer.avoid | encoders.unreached_by(fetching, now)
    digest = request.media[0].digest
    return encoders.choose(card.name, card.media, digest, avoid, alone=offer.alone)


def encodable(request: Asked) -> bool:
    """Tells whether a request has pictures that may be encoded apart."""
    # of other media nobody knows beforehand how many tokens they take
    return (
        isinstance(request, Generate)
        and bool(request.media)
        and all(each.modality == "image" and each.tokens for each in request.media)
    )


def encode_leg(request: Asked, workers: Sequence[Worker]) -> Encode:
    """Returns what the worker that encodes a request's pictures for these workers is sent."""
    assert isinstance(request, Generate), "nothing else has pictures"
    return Encode(
        request.request_id,
        request.model,
        request.media,
        request.deadline_unix_ms,
        fetches=sum(worker.hello.fetches_encodings for worker in workers),
        priority=request.priority,
        traceparent=request.traceparent,
        tracestate=request.tracestate,
    )


def without_pictures(request: AskedT, worker: Worker, encoder: Worker | None) -> AskedT:
    """Returns what a worker that runs the request is sent: where to fetch in the place of pictures,
    if it fetches.
    """
    if encoder is None or not worker.hello.fetches_encodings or not isinstance(request, Generate):
        return request
    media = [replace(each, data=b"") for each in request.media]
    return replace(request, media=media, encoded_at=encoder.hello.encodings)


class EncodeLeg:
    """An EncodeLeg is told of what befalls the encoding of a request's pictures.

    Args:
        answer: the stream of the leg that generates.
        give_up: stops that leg, for a reason, on account of a worker.
        on_encoded: counts what was made.
    """

    __slots__ = ("_answer", "_give_up", "_on_encoded", "stream")

    def __init__(
        self,
        answer: RequestStream,
        give_up: Callable[[RequestStream, MeshError, str], None],
        on_encoded: Callable[[Encoded], None],
    ) -> None:
        self.stream: RequestStream | None = None
        self._answer = answer
        self._give_up = give_up
        self._on_encoded = on_encoded

    def notify(self) -> None:
        """Takes note that something arrived in the encode leg."""
        stream = self.stream
        if stream is None:
            return
        if stream.error is not None:
            self._give_up(self._answer, stream.error, stream.worker_id)
        elif stream.encoded is not None:
            self._on_encoded(stream.encoded)
