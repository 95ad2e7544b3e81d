"""POST /generate answers as SGLang's own endpoint does."""

import time
from functools import partial
from typing import Final

import msgspec
from msgspec.structs import replace

from frontend.api.answers.logprobs import TokenTexts
from frontend.api.answers.streaming import stream_events
from frontend.api.fields.param_names import params_named
from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.native.conversion import PARAM_NAMES, completion_of, new_tokens_of, sampling_of
from frontend.api.native.outputs import OutputWriter
from frontend.api.native.pictures import with_pictures
from frontend.api.native.schemas import REFUSED_FIELDS, GenerateRequest
from frontend.api.openai.completions import listed_prompts, prompt_tokens
from frontend.fleet.model_entry import ModelEntry
from frontend.http.body_counts import TOKEN_IDS_MAX
from frontend.http.exchange import Exchange
from frontend.http.json_slices import send_in_slices
from frontend.inflight.choice import Choice
from frontend.inflight.generation import Generation
from frontend.text.output.gain import Gain
from protocol.errors import InvalidRequest

_parser = BodyParser(GenerateRequest, REFUSED_FIELDS, items_max=TOKEN_IDS_MAX)
_encode = msgspec.json.Encoder().encode

_UNNAMED: Final = "default"
"""Is SGLang's name of weights to which nobody gave one."""


async def generate(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /generate, a batch or not, as a whole or streamed."""
    request = await _parser.read(exchange)
    exchange.model, exchange.streams = request.model or launcher.models.only(), request.stream
    exchange.takes_comments = False  # SGLang's own tools take every line of a stream for JSON
    exchange.rids = [request.rid] if isinstance(request.rid, str) else request.rid or ()
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request))


async def _answer(exchange: Exchange, launcher: Launcher, request: GenerateRequest) -> None:
    started_s = time.monotonic()
    completion = completion_of(request, exchange.model)
    prompt_name = "text" if request.input_ids is None else "input_ids"
    with params_named({**PARAM_NAMES, "prompt": prompt_name, "messages": prompt_name}):
        entry = launcher.models.of(exchange, completion)
        served = entry.served
        prompts = [
            await prompt_tokens(prompt, served)
            for prompt in await exchange.in_proportion(partial(listed_prompts, completion))
        ]
        prompts, media = await with_pictures(exchange, launcher.media, served, request, prompts)
        completion = replace(
            completion,
            max_tokens=new_tokens_of(sampling_of(request), served.card.context_length, prompts),
        )
        n = completion.n or 1
        rids = _rids(request, len(prompts) * n)
        generation = await launcher.launch(
            exchange, entry, completion, prompts, media=media, repeats=request.stream
        )
    texts = TokenTexts(served, as_ids=False) if request.return_text_in_logprobs else None
    writers = [
        OutputWriter(
            request,
            rids[at] if rids else exchange.request_id + (f"_{at}" if at else ""),
            prompts[at // n],
            texts,
            weights_of=partial(_weights_of, entry),
            started_s=started_s,
        )
        for at in range(len(prompts) * n)
    ]
    is_batch = (
        len(writers) > 1
        or isinstance(request.text, list)
        or any(isinstance(part, list) for part in request.input_ids or ())
    )
    try:
        if exchange.is_large:
            pictures = request.image_data if isinstance(request.image_data, list) else []
            media_bytes = sum(len(each.data) for each in media)
            await exchange.keep_only(request, pictures, beside_bytes=media_bytes)
        if request.stream:
            await stream_events(exchange, generation, _OutputEvents(writers, is_batch=is_batch))
        else:
            await _whole(exchange, generation, writers, is_batch=is_batch)
    finally:
        generation.close()


def _weights_of(entry: ModelEntry, choice: Choice) -> str | None:
    """Returns the name of the weights that its worker has now, None where it has left."""
    worker = entry.worker_of.get(choice.stream.placement.rank.worker_id)
    return None if worker is None else worker.operated.weight_version or _UNNAMED


def _rids(request: GenerateRequest, count: int) -> list[str]:
    """Returns the names of the outputs, if the client gives any.

    Raises:
        InvalidRequest: it gives another number of them.
    """
    if request.rid is None:
        return []
    if isinstance(request.rid, str):
        return [request.rid] if count == 1 else [f"{request.rid}_{at}" for at in range(count)]
    if len(request.rid) != count:
        raise InvalidRequest(f"rid has {len(request.rid)} names for {count} outputs.", param="rid")
    return request.rid


async def _whole(
    exchange: Exchange, generation: Generation, writers: list[OutputWriter], *, is_batch: bool
) -> None:
    while generation.running:
        for choice, gain in await generation.advance():
            writers[choice.index].add(gain)
    outputs = [
        writer.output(choice) for writer, choice in zip(writers, generation.choices, strict=True)
    ]
    await send_in_slices(exchange, outputs if is_batch else outputs[0])


class _OutputEvents:
    """Tells SGLang's outputs; each event repeats all of its choice so far."""

    def __init__(self, writers: list[OutputWriter], *, is_batch: bool) -> None:
        self._writers = writers
        self._is_batch = is_batch

    async def begin(self) -> bytes:
        return b""

    def turn(self, moved: list[tuple[Choice, Gain]]) -> list[tuple[Choice, Gain]]:
        return moved

    def event(self, choice: Choice, gain: Gain) -> bytes:
        writer = self._writers[choice.index]
        writer.add(gain)
        output = writer.output(choice, choice.index if self._is_batch else None)
        return b"data: " + _encode(output) + b"\n\n"

    async def end(self) -> bytes:
        return b"data: [DONE]\n\n"
