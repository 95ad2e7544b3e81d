"""POST /v1/embeddings answers with the vectors of texts."""

import asyncio
import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import orjson

from frontend.api.fields.listed import listed
from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.vectors.inputs import Vector, tokenize, vectors_of
from frontend.api.vectors.schemas import INPUTS_MAX, EmbeddingRequest
from frontend.http.body_counts import TOKEN_IDS_MAX
from frontend.http.exchange import Exchange
from protocol.errors import InvalidRequest
from protocol.membership import ModelCard

_parser = BodyParser(EmbeddingRequest, items_max=TOKEN_IDS_MAX)
_encode = msgspec.json.Encoder().encode

SLICE_NUMBERS: Final = 32_768
"""So many numbers are written in one turn of the loop: 0.6 ms of decimals. 2,048 vectors of 4,096
take 150 ms in all.
"""


async def embeddings(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/embeddings."""
    request = await _parser.read(exchange)
    exchange.model = request.model
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request))


async def _answer(exchange: Exchange, launcher: Launcher, request: EmbeddingRequest) -> None:
    entry = launcher.models.of(exchange, request)
    _check_dimensions(request, entry.served.card)
    asked = listed(request.input, "input", INPUTS_MAX)
    texts = await tokenize(request, entry.served, asked, "input")
    vectors, tokens = await vectors_of(exchange, launcher, entry, request, texts)
    if request.dimensions is not None:
        vectors = [shortened(vector, request.dimensions) for vector in vectors]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    await _send(exchange, request, vectors, usage)


def _check_dimensions(request: EmbeddingRequest, card: ModelCard) -> None:
    if card.cross_encoder:
        raise InvalidRequest(
            (
                f"The model {card.name!r} compares two texts and makes no vectors of them; use "
                "/v1/rerank or /v1/score."
            ),
            param="model",
        )
    if request.dimensions is not None and request.dimensions > card.embedding_dimensions:
        raise InvalidRequest(
            (
                f"dimensions is {request.dimensions}, but the vectors of this model have "
                f"{card.embedding_dimensions}."
            ),
            param="dimensions",
        )


def shortened(vector: Vector, dimensions: int) -> Vector:
    """Returns the first `dimensions` numbers of a vector, scaled to length one."""
    import numpy as np  # noqa: PLC0415 - costs frontends of text nothing

    head = vector[:dimensions]
    length = np.linalg.norm(head)
    return (head / length).astype(np.float32) if length else head


async def _send(
    exchange: Exchange, request: EmbeddingRequest, vectors: Sequence[Vector], usage: dict[str, Any]
) -> None:
    slices = list_slices(vectors, base64_wanted=request.encoding_format == "base64")
    last = b"],%b" % _encode({"model": request.model, "usage": usage})[1:]
    if len(vectors) * len(vectors[0]) <= SLICE_NUMBERS:
        await exchange.send_json(200, b"".join(slices) + last)
        return
    for piece in slices:
        await exchange.send_slice(piece)
        await asyncio.sleep(0)
    await exchange.send_slice(last, more=False)


def list_slices(vectors: Sequence[Vector], *, base64_wanted: bool) -> Iterator[bytes]:
    """Yields the JSON of an embeddings answer from its beginning up to its last vector,
    SLICE_NUMBERS or a little more at a time.
    """
    piece, numbers = bytearray(b'{"object":"list","data":['), 0
    for index, vector in enumerate(vectors):
        # Decimals as short as float32 needs them.
        written = (
            b'"%b"' % base64.b64encode(vector.tobytes())
            if base64_wanted
            else orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
        )
        piece += b'%b{"object":"embedding","index":%d,"embedding":%b}' % (
            b"," if index else b"",
            index,
            written,
        )
        numbers += len(vector)
        if numbers >= SLICE_NUMBERS:
            yield bytes(piece)
            piece, numbers = bytearray(), 0
    yield bytes(piece)
