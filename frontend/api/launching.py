"""A Launcher makes running generations of prompts, for every endpoint that generates text."""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from msgspec.structs import replace

from frontend.api.answers.logprobs import logprobs_wanted
from frontend.api.fields.nvext import NvExt, wishes
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
from frontend.api.named_models import NamedModels
from frontend.api.prompts.media import padded_runs
from frontend.conforming.validator import Validator
from frontend.fleet.model_entry import ModelEntry
from frontend.http.exchange import Exchange
from frontend.http.request_id import new_request_id
from frontend.inflight.diffusion import Diffusion
from frontend.inflight.embeddings import Embeddings
from frontend.inflight.generation import Generation
from frontend.inflight.jobs import Jobs
from frontend.inflight.recovery import Recovery
from frontend.media.reader import MediaReader
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.outputs import Outputs
from frontend.routing.route import RouteRequest, Weights
from frontend.text.output.choice_text import OutputRules
from protocol.diffusion import Diffuse, Diffused
from protocol.errors import InvalidRequest
from protocol.generation import Generate
from protocol.media import PromptMedia
from protocol.tokens import count_tokens

CHOICES_PER_EXCHANGE_MAX = 1_024
"""One exchange may have so many choices, over all of its prompts: each is a request to a worker."""


def _note_nothing(_model: str, _made: Diffused) -> None:
    pass


class Launcher:
    """A Launcher starts the work that HTTP handlers ask for: generations, batches of texts to be
    embedded, pictures and videos.

    Args:
        note_made: told of the pictures and videos that were made, with their model.
    Attributes:
        models: those that requests may name.
        media: reads what prompts have beside text.
        outputs: what workers made.
        jobs: what they make while nobody waits for it.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        recovery: Recovery,
        validator: Validator,
        media: MediaReader,
        outputs: Outputs,
        *,
        jobs: Jobs,
        weights: Weights,
        note_made: Callable[[str, Diffused], None] = _note_nothing,
    ) -> None:
        self.media = media
        self.note_made = note_made
        self.outputs = outputs
        self.jobs = jobs
        self.models = NamedModels(dispatch.registry)
        self._dispatch = dispatch
        self._recovery = recovery
        self._validator = validator
        self._weights = weights

    def embeddings(self, entry: ModelEntry) -> Embeddings:
        """Returns what runs a batch of texts with the model of that entry."""
        return Embeddings(self._dispatch, entry, self._recovery)

    def diffusion(self, entry: ModelEntry, request: Diffuse, asked: NvExt) -> Diffusion:
        """Returns what has the model of that entry make pictures or a video, not started.

        Args:
            asked: of the router.
        """
        route = RouteRequest(
            b"",
            lora_name=request.lora_name,
            worker_id=asked.worker_id,
            dp_rank=asked.dp_rank,
            cacheable=False,
            cost_tokens=request.cost,
        )
        return Diffusion(
            self._dispatch, entry, self._recovery, request, route, outputs=self.outputs
        )

    async def launch(
        self,
        exchange: Exchange,
        entry: ModelEntry,
        request: ChatCompletionRequest | CompletionRequest,
        prompts: Sequence[bytes],
        rules: OutputRules | None = None,
        *,
        media: Sequence[PromptMedia] = (),
        repeats: bool = False,
    ) -> Generation:
        """Dispatches n choices of every prompt (packed u32), prompt after prompt, and returns the
        running generation. A request's seed is that of the first choice of each prompt.

        Args:
            rules: instead of those that the request implies.
            media: of the prompt, where there is one alone.
            repeats: as `check_price`.
        Raises:
            InvalidRequest: too many choices, too dear, or the sampling fields do not fit the
            prompt.
            PoisonRequest, NoWorker, Overloaded: as Generation.start.
        """
        exchange.prepared_at = perf_counter()
        adapter = self.models.adapter(request.model, request.lora_path, entry)
        make = partial(self._requests, exchange, entry, adapter, request, prompts, media=media)
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
        exchange.work = generation
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
        *,
        media: Sequence[PromptMedia],
    ) -> list[tuple[Generate, RouteRequest]]:
        """Returns the request and the wishes for its route, for each choice.

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
        asked = wishes(request.nvext, exchange.routing_headers)
        salt = request.salt
        card = entry.served.card
        grammar = answer_grammar(request)
        first, route = prompts[0], self._route(prompts[0], adapter, salt, asked, media)
        sampling = sampling_for(request, card, count_tokens(first))
        plain = Generate(
            # so that one name finds a plain request in every log
            request_id=exchange.request_id,
            model=card.name,
            token_ids=first,
            sampling=sampling,
            deadline_unix_ms=exchange.deadline_unix_ms,
            # Whoever watches for stop strings must see the tokens as they are made.
            stream=bool(request.stream or request.stop or request.stop_regex),
            priority=priority_of(request.priority),
            lora_name=adapter,
            cache_salt=salt,
            traceparent=exchange.traceparent,
            tracestate=exchange.tracestate,
            grammar=grammar,
            logprobs=logprobs_wanted(request),
            reading=reading_of(request, card, grammar),
            media=list(media),
        )
        requests = [(plain, route)]
        for at, prompt in enumerate(prompts):
            if at:
                route = self._route(prompt, adapter, salt, asked, media)
                sampling = sampling_for(request, card, count_tokens(prompt))
            requests += [
                (
                    replace(
                        plain,
                        request_id=new_request_id(),
                        token_ids=prompt,
                        sampling=sampling_of_choice(sampling, index),
                    ),
                    route,
                )
                for index in range(0 if at else 1, n)
            ]
        return requests

    def _route(
        self,
        prompt: bytes,
        lora_name: str | None,
        cache_salt: str | None,
        asked: NvExt,
        media: Sequence[PromptMedia],
    ) -> RouteRequest:
        return RouteRequest(
            prompt,
            lora_name=lora_name,
            cache_salt=cache_salt,
            worker_id=asked.worker_id,
            dp_rank=asked.dp_rank,
            prefill_worker_id=asked.prefill_worker_id,
            prefill_dp_rank=asked.prefill_dp_rank,
            session_id=asked.session_id,
            weights=None if asked.router is None else asked.router.over(self._weights),
            media=padded_runs(media) if media else (),
        )
