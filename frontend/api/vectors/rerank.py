"""POST /v1/rerank and /v1/score tell how well texts match.

Of embedding models that is the cosine of their vectors, from -1 to 1; a cross-encoder reads both
texts together, and its number is passed on as SGLang gives it.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.vectors.inputs import Vector, tokenize, tokenize_pairs, vectors_of
from frontend.api.vectors.schemas import Document, RerankRequest, ScoreRequest
from frontend.fleet.model_entry import ModelEntry
from frontend.http.exchange import Exchange
from protocol.errors import InvalidRequest

_rerank_parser = BodyParser(RerankRequest)
_score_parser = BodyParser(ScoreRequest)
_encode = msgspec.json.Encoder().encode


async def rerank(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/rerank with the documents, best first."""
    request = await _rerank_parser.read(exchange)
    exchange.model = request.model
    await exchange.run_until_client_leaves(_answer_rerank(exchange, launcher, request))


async def score(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/score with a number for each pair of texts, in order."""
    request = await _score_parser.read(exchange)
    exchange.model = request.model
    await exchange.run_until_client_leaves(_answer_score(exchange, launcher, request))


async def _answer_rerank(exchange: Exchange, launcher: Launcher, request: RerankRequest) -> None:
    entry = launcher.models.of(exchange, request)
    documents = [
        document.text if isinstance(document, Document) else document
        for document in request.documents
    ]
    scores, tokens = await _scores(
        exchange,
        launcher,
        entry,
        request,
        first=([request.query], "query"),
        second=(documents, "documents"),
    )
    # Equal ones stay in the client's order.
    order = sorted(range(len(documents)), key=lambda index: -scores[index])[: request.top_n]
    results = [
        _result(
            index, scores[index], None if request.return_documents is False else documents[index]
        )
        for index in order
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    await exchange.send_json(
        200,
        _encode(
            {
                "id": "rerank-" + exchange.request_id,
                "model": request.model,
                "results": results,
                "usage": usage,
            }
        ),
    )


def _result(index: int, relevance: float, document: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {"index": index, "relevance_score": relevance}
    return result if document is None else result | {"document": {"text": document}}


async def _answer_score(exchange: Exchange, launcher: Launcher, request: ScoreRequest) -> None:
    entry = launcher.models.of(exchange, request)
    first = [request.text_1] if isinstance(request.text_1, str) else request.text_1
    second = [request.text_2] if isinstance(request.text_2, str) else request.text_2
    if len(first) not in (1, len(second)):
        raise InvalidRequest(
            (
                f"text_1 must be one text or as many as text_2; they are {len(first)} and "
                f"{len(second)}."
            ),
            param="text_1",
        )
    scores, tokens = await _scores(
        exchange, launcher, entry, request, first=(first, "text_1"), second=(second, "text_2")
    )
    body: dict[str, Any] = {
        "id": "score-" + exchange.request_id,
        "object": "list",
        "created": int(time.time()),
        "model": request.model,
        "data": [
            {"index": index, "object": "score", "score": value}
            for index, value in enumerate(scores)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    await exchange.send_json(200, _encode(body))


async def _scores(
    exchange: Exchange,
    launcher: Launcher,
    entry: ModelEntry,
    request: RerankRequest | ScoreRequest,
    *,
    first: tuple[Sequence[str], str],
    second: tuple[Sequence[str], str],
) -> tuple[list[float], int]:
    """Returns a score for each of the second texts with its first one, or with the only one; and
    the tokens that were computed.

    Args:
        first, second: texts and the name of their field.
    """
    if entry.served.card.cross_encoder:
        texts = await tokenize_pairs(request, entry.served, first, second)
        numbers, tokens = await vectors_of(exchange, launcher, entry, request, texts)
        if any(len(number) != 1 for number in numbers):
            raise InvalidRequest(
                (
                    f"The model {entry.served.card.name!r} gives a pair several numbers, so it "
                    "cannot rank."
                ),
                param="model",
            )
        return [float(number[0]) for number in numbers], tokens
    texts = [
        *await tokenize(request, entry.served, *first),
        *await tokenize(request, entry.served, *second),
    ]
    vectors, tokens = await vectors_of(exchange, launcher, entry, request, texts)
    of_first, of_second = vectors[: len(first[0])], vectors[len(first[0]) :]
    if len(of_first) == 1:
        of_first *= len(of_second)
    return [cosine(one, other) for one, other in zip(of_first, of_second, strict=True)], tokens


def cosine(one: Vector, other: Vector) -> float:
    """Returns the cosine of the angle between two vectors, -1 to 1; 0 if one has no direction."""
    import numpy as np  # noqa: PLC0415 - costs frontends of text nothing

    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.dot(one, other)) / lengths if lengths else 0.0
