"""From prompts to a running generation: what chat and completions share."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from frontend.api.answers.chunks import ChunkWriter, Last, Usage
from frontend.api.answers.logprobs import logprobs_wanted
from frontend.api.fields.nvext import NvExt, told, wishes
from frontend.api.fields.price import check_price
from frontend.api.fields.promises import promise_of
from frontend.api.fields.reading import answer_grammar, reading_of
from frontend.api.fields.sampling import (
    output_rules,
    priority_of,
    sampling_for,
    sampling_of_choice,
    shortened,
    tokens_asked,
)
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.vectors.schemas import VectorFields
from frontend.conforming.validator import Validator
from frontend.fleet.model_entry import ModelEntry
from frontend.http.exchange import Exchange
from frontend.http.json_pieces import PIECE_BYTES
from frontend.http.request_id import new_request_id
from frontend.inflight.choice import Choice
from frontend.inflight.embeddings import Embeddings
from frontend.inflight.generation import Generation
from frontend.inflight.recovery import Recovery
from frontend.mesh.dispatch import Dispatch
from frontend.models.served import ServedModel
from frontend.models.services import GENERATION, VECTORS, use_of
from frontend.routing.route import RouteRequest, Weights
from frontend.text.output.choice_text import OutputRules
from frontend.text.output.gain import Gain
from protocol.errors import InvalidRequest, ModelNotFound, NoWorker
from protocol.generation import Generate, Sampling
from protocol.membership import Service
from protocol.tokens import count_tokens

CHOICES_PER_EXCHANGE_MAX = 1_024
"""Prompts times n of one request: each is a request to a worker."""


class Launcher:
    """Starts generations for the HTTP handlers."""

    def __init__(
        self, dispatch: Dispatch, recovery: Recovery, validator: Validator, *, weights: Weights
    ) -> None:
        self._dispatch = dispatch
        self._recovery = recovery
        self._validator = validator
        self._weights = weights

    def model_for(
        self, exchange: Exchange, request: ChatCompletionRequest | CompletionRequest | VectorFields
    ) -> ModelEntry:
        """The model that a request names; of several generations one with the adapter and the
        worker that it wishes.

        Raises:
            MeshError: as `model`, or a header's value is not one.
        """
        nvext, service = (
            (None, VECTORS) if isinstance(request, VectorFields) else (request.nvext, GENERATION)
        )
        wished = wishes(nvext, exchange.routing_headers).backend_instance_id
        return self.model(
            request.model,
            service,
            priority=priority_of(request.priority),
            worker_id=wished,
            lora_path=request.lora_path,
        )

    def model(
        self,
        name: str,
        service: Service = GENERATION,
        *,
        priority: int = 0,
        worker_id: str | None = None,
        lora_path: str | None = None,
    ) -> ModelEntry:
        """The model of that name, which must be served as `service`.

        Raises:
            ModelNotFound: never heard of it.
            NoWorker: it is known but nobody serves it now, or no worker has come yet at all.
            InvalidRequest: it is served, but for something else.
            Overloaded: so many wait for it that nothing need be done to know the answer.
        """
        registry = self._dispatch.registry
        entry = registry.entry(name, worker_id, lora_path)
        if entry is not None and (
            entry.ranks or registry.may_be_back(entry, asyncio.get_running_loop().time())
        ):
            if entry.service != service:
                raise InvalidRequest(
                    f"The model {name!r} {use_of(entry.service).does}.", param="model"
                )
            entry.queue.turn_away(priority)
            return entry
        if entry is not None or not registry.available():
            raise NoWorker(
                f"No worker serves the model {name!r} at the moment. Please retry shortly."
            )
        raise ModelNotFound(
            f"The model {name!r} does not exist or is not served here.", param="model"
        )

    def serving(self) -> list[ModelEntry]:
        """The models that have a worker now."""
        return [entry for entry in self._dispatch.registry.available() if entry.ranks]

    def only_model(self) -> str:
        """The name of the model that generates text here, for requests that need not name it.

        Raises:
            NoWorker: there is none.
            InvalidRequest: there are several.
        """
        names = [
            entry.served.card.name
            for entry in self._dispatch.registry.available()
            if use_of(entry.service).generates
        ]
        if len(names) > 1:
            raise InvalidRequest(
                "Several models are served here; name one of them in the field model.",
                param="model",
            )
        if not names:
            raise NoWorker("No worker serves a model at the moment. Please retry shortly.")
        return names[0]

    def adapter(self, model: str, lora_path: str | None, entry: ModelEntry) -> str | None:
        """The LoRA adapter that a request asks for, by the model's name or by lora_path; None for
        the model itself.

        Raises:
            ModelNotFound: no worker of the model has it.
            InvalidRequest: two are asked for.
        """
        found, named = self._dispatch.registry.find(model)
        if found is None:  # it was unloaded while the prompt was made
            raise ModelNotFound(
                f"The LoRA adapter {model!r} is not loaded here any more.", param="model"
            )
        if lora_path is None:
            return named
        if named not in (None, lora_path):
            raise InvalidRequest(
                f"model asks for the adapter {named!r}, and lora_path for another.",
                param="lora_path",
            )
        if lora_path not in entry.adapters:
            raise ModelNotFound(
                f"The LoRA adapter {lora_path!r} does not exist or is not loaded here.",
                param="lora_path",
            )
        return lora_path

    def served(self, name: str) -> ServedModel:
        """The model of that name, whatever it is served for and however many wait for it.

        Raises:
            ModelNotFound, NoWorker: as `model`.
        """
        entry = self._dispatch.registry.entry(name)
        return entry.served if entry is not None and entry.ranks else self.model(name).served

    def embeddings(self, entry: ModelEntry) -> Embeddings:
        """What runs a batch of texts of that model."""
        return Embeddings(self._dispatch, entry, self._recovery)

    async def launch(
        self,
        exchange: Exchange,
        entry: ModelEntry,
        request: ChatCompletionRequest | CompletionRequest,
        prompts: Sequence[bytes],
        rules: OutputRules | None = None,
        *,
        repeats: bool = False,
    ) -> Generation:
        """Dispatch n choices of every prompt (packed u32), prompt after prompt; a request's seed is
        that of the first choice of each.

        Args:
            rules: instead of those that the request implies.
            repeats: as `check_price`.
        Raises:
            InvalidRequest: too many choices, too dear, or the sampling fields do not fit the
            prompt.
            PoisonRequest, NoWorker, Overloaded: as Generation.start.
        """
        adapter = self.adapter(request.model, request.lora_path, entry)
        make = partial(self._requests, exchange, entry, adapter, request, prompts)
        requests = await exchange.in_proportion(make) if exchange.is_large else make()
        most = check_price(
            [each for each, _ in requests],
            open_ended=tokens_asked(request) is None,
            repeats=repeats,
        )
        if most is not None:
            requests = [(shortened(each, most), route) for each, route in requests]
        promise = promise_of(request, requests[0][0].grammar, self._validator, exchange.request_id)
        generation = Generation(self._dispatch, entry, self._recovery, promise)
        exchange.abort_work, exchange.generation = generation.abort, generation
        try:
            await generation.start(requests, rules or output_rules(request))
        except BaseException:
            generation.close()
            raise
        return generation

    def _requests(
        self,
        exchange: Exchange,
        entry: ModelEntry,
        adapter: str | None,
        request: ChatCompletionRequest | CompletionRequest,
        prompts: Sequence[bytes],
    ) -> list[tuple[Generate, RouteRequest]]:
        """One for each choice.

        May be called in a thread: nothing of the mesh that changes is looked at.
        """
        n = request.n or 1
        if n * len(prompts) > CHOICES_PER_EXCHANGE_MAX:
            raise InvalidRequest(
                (
                    f"n times the number of prompts is {n * len(prompts)}; at most "
                    f"{CHOICES_PER_EXCHANGE_MAX} is allowed."
                ),
                param="n",
            )
        # The first request of an exchange bears its id, so that one name finds a plain request in
        # every log.
        request_ids = itertools.chain([exchange.request_id], iter(new_request_id, None))
        asked = wishes(request.nvext, exchange.routing_headers)
        salt = request.salt
        card = entry.served.card
        grammar = answer_grammar(request)
        plain = Generate(
            request_id=exchange.request_id,
            model=card.name,
            token_ids=b"",
            sampling=Sampling(0),
            deadline_unix_ms=exchange.deadline_unix_ms,
            # Whoever watches for stop strings must see the tokens as they are made.
            stream=bool(request.stream or request.stop or request.stop_regex),
            priority=priority_of(request.priority),
            lora_name=adapter,
            cache_salt=salt,
            traceparent=exchange.traceparent,
            grammar=grammar,
            logprobs=logprobs_wanted(request),
            reading=reading_of(request, card, grammar),
        )
        requests: list[tuple[Generate, RouteRequest]] = []
        for prompt in prompts:
            route = self._route(prompt, adapter, salt, asked)
            sampling = sampling_for(request, card, count_tokens(prompt))
            requests += [
                (
                    replace(
                        plain,
                        request_id=request_id,
                        token_ids=prompt,
                        sampling=sampling_of_choice(sampling, index),
                    ),
                    route,
                )
                for index, request_id in enumerate(itertools.islice(request_ids, n))
            ]
        return requests

    def _route(
        self, prompt: bytes, lora_name: str | None, cache_salt: str | None, asked: NvExt
    ) -> RouteRequest:
        return RouteRequest(
            prompt,
            lora_name=lora_name,
            cache_salt=cache_salt,
            worker_id=asked.backend_instance_id,
            dp_rank=asked.dp_rank,
            session_id=asked.session_id,
            weights=None if asked.router is None else asked.router.over(self._weights),
        )


async def stream_chunks(
    exchange: Exchange,
    generation: Generation,
    writer: ChunkWriter,
    chunk: Callable[[Choice, Gain, Last | None], bytes],
    usage: Callable[[], Usage],
    *,
    request: ChatCompletionRequest | CompletionRequest,
) -> None:
    """Send what every turn of the generation gained as one write, then the end.

    Nothing is sent before the first token.

    Args:
        chunk: one chunk of a choice, and what it says if it is the last one.
    """
    counting = request.wants_usage_always
    while True:
        moved = await generation.advance()
        if counting:
            writer.count(usage())
        if moved[0][1].token_ids:
            chunks = await _portioned(
                exchange,
                ((choice, part) for choice, gain in moved for part in gain.portions()),
                chunk,
                request,
            )
        else:
            chunks = b"".join(
                [chunk(choice, gain, last_of(choice, request)) for choice, gain in moved]
            )
        if not generation.running:
            await exchange.end_events(chunks + writer.last(usage()))
            return
        await exchange.send_events(chunks)


async def _portioned(
    exchange: Exchange,
    gains: Iterable[tuple[Choice, Gain]],
    chunk: Callable[[Choice, Gain, Last | None], bytes],
    request: ChatCompletionRequest | CompletionRequest,
) -> bytes:
    """Chunks with log probabilities, of which a choice may have gained many: sent as soon as they
    are large. Returns the rest.
    """
    chunks = bytearray()
    for choice, gain in gains:
        chunks += chunk(choice, gain, None if gain.more else last_of(choice, request))
        if len(chunks) >= PIECE_BYTES:
            await exchange.send_events(bytes(chunks))
            chunks.clear()
            await asyncio.sleep(0)
    return bytes(chunks)


def last_of(choice: Choice, request: ChatCompletionRequest | CompletionRequest) -> Last | None:
    """What a choice's chunk says if it is the last one."""
    return (
        None
        if choice.finish_reason is None
        else Last(choice.finish_reason, ended_by(choice), told(request.wants_told, choice))
    )


def ended_by(choice: Choice) -> dict[str, Any]:
    """The stop string or token that ended a choice, as SGLang tells it (`matched_stop`) and as vLLM
    does (`stop_reason`, which does not name the model's own end); null where something else did.
    """
    if choice.finish_reason not in ("stop", "tool_calls"):
        return {"matched_stop": None, "stop_reason": None}
    if choice.matched_stop is not None:
        return {"matched_stop": choice.matched_stop, "stop_reason": choice.matched_stop}
    finished = choice.stream.finished
    token_id = None if finished is None else finished.matched_token_id
    asked = token_id is not None and token_id in choice.request.sampling.stop_token_ids
    return {"matched_stop": token_id, "stop_reason": token_id if asked else None}


def usage_of(generation: Generation, prompt_tokens: int, n: int) -> Usage:
    """Token counts of a generation with n choices a prompt, so far; `prompt_tokens` is the sum over
    its prompts.

    Of each prompt only the first choice tells the cached tokens, as a prompt's tokens are counted
    once too.
    """
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=sum(choice.completion_tokens for choice in generation.choices),
        cached_tokens=sum(
            choice.cached_tokens for choice in generation.choices if choice.index % n == 0
        ),
        reasoning_tokens=sum(choice.reasoning_tokens for choice in generation.choices),
    )


def whole(
    choices: list[dict[str, Any]],
    usage: dict[str, Any],
    request: ChatCompletionRequest | CompletionRequest,
    generation: Generation,
) -> dict[str, Any]:
    """What an answer in one piece has behind its head. `nvext` speaks of the first choice."""
    body: dict[str, Any] = {"choices": choices, "usage": usage}
    nvext = told(request.wants_told, generation.choices[0])
    return body if nvext is None else body | {"nvext": nvext}
