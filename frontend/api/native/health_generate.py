"""GET /health_generate asks models for a token, as with SGLang: healthy is who makes one now."""

import asyncio
from typing import Final

import msgspec

from frontend.api.fields.schemas import CompletionRequest
from frontend.api.launching import Launcher
from frontend.fleet.model_entry import ModelEntry
from frontend.http.exchange import Exchange
from frontend.models.services import use_of
from frontend.routing.route import RouteRequest
from protocol.embedding import Embed
from protocol.errors import NoWorker
from protocol.tokens import pack_tokens

ANSWER_S_MAX: Final = 20.0
"""A model must make its token within so many seconds, as with SGLang."""

_PROMPT: Final = pack_tokens([0])
_encode = msgspec.json.Encoder().encode


async def health_generate(exchange: Exchange, launcher: Launcher) -> None:
    """Has each model that is idle answer a prompt of one token.

    One at work is asked nothing: a rank that makes no token for a second while it has requests is
    found out by its worker, and gets none.

    Raises:
        NoWorker: nothing is served, or a model did not answer in time.
        MeshError: what else it was answered.
    """
    await exchange.read_body()
    await exchange.run_until_client_leaves(_probe(exchange, launcher))


async def _probe(exchange: Exchange, launcher: Launcher) -> None:
    entries = launcher.models.serving()
    if not entries:
        raise NoWorker("No worker serves a model at the moment.")
    for entry in entries:
        if not any(rank.requests for rank in entry.ranks):
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await _one_token(exchange, launcher, entry)
            except TimeoutError:
                raise NoWorker(
                    f"The model {entry.served.card.name!r} gave no token within "
                    f"{ANSWER_S_MAX:g} seconds."
                ) from None
    await exchange.send_json(
        200, _encode({"status": "healthy", "models": [entry.served.card.name for entry in entries]})
    )


async def _one_token(exchange: Exchange, launcher: Launcher, entry: ModelEntry) -> None:
    name = entry.served.card.name
    if use_of(entry.service).makes_vectors:
        text = Embed(exchange.request_id, name, _PROMPT, exchange.deadline_unix_ms)
        await launcher.embeddings(entry).run([(text, RouteRequest(_PROMPT, cacheable=False))])
        return
    generation = await launcher.launch(
        exchange, entry, CompletionRequest(model=name, prompt=[0], max_tokens=1), [_PROMPT]
    )
    try:
        await generation.finish()
    finally:
        generation.close()
