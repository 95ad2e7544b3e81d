"""kvmesh's requests are turned into SGLang's inputs.

Import it after `workers.sglang.cpu.activate_if_cpu_host`: it imports SGLang.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from protocol.embedding import Embed
from protocol.generation import Generate, Grammar, GrammarKind
from protocol.media import PromptMedia
from protocol.requests import Work
from protocol.tokens import count_tokens
from protocol.trace_context import TraceContext
from workers.engine import CANARY_PREFIX
from workers.sglang.media import engine_media, engine_prompt
from workers.sglang.pooling import CROSS_ENCODERS
from workers.sglang.reading import Plan
from workers.sglang.requests.prompt_limits import PromptLimits
from workers.sglang.seam.media import digests_of
from workers.sglang.seam.steps import Output, SteppedInput, TextInput
from workers.sglang.text_diffusion import WHOLE_BLOCKS_INTERVAL, refuse_unheard
from workers.sglang.translation import input_ids, sampling_params

UNREAD_INTERVAL_TOKENS: Final = 50
"""An answer that nobody reads as it comes is told this many tokens at a time.

Its first token comes at once nevertheless, since whoever sent it must know when its prompt is
computed, and then so many at a time, for it to go on from if this worker is lost (SGLang's own
SGLANG_FORCE_STREAM_INTERVAL).
"""

_UNRECORDED: Final = TraceContext(1, 1, sampled=False).traceparent


def generate_input(
    request: Generate,
    grammar: Grammar | None,
    output: Output,
    plan: Plan | None,
    manager: Any,
    *,
    limits: PromptLimits,
    log_metrics: bool,
    encoded: Any = None,
) -> Any:
    """Returns SGLang's input of a generation whose output goes to `output`.

    Args:
        grammar: that of `grammar_of`.
        plan: what the engine's parsers need of it; None where nothing is parsed.
        encoded: what stands for the pictures that another worker encoded; None where they are to be
        encoded here.
    Raises:
        InvalidRequest: something that would end the scheduler.
        ContextOverflow: the prompt is too long.
    """
    limits.check_length(count_tokens(request.token_ids))
    params = sampling_params(request.sampling, grammar, limits.vocab_size)
    if plan is not None and request.grammar is None:
        beside = dict(plan.beside_grammar)
        custom = {**params.get("custom_params", {}), **beside.pop("custom_params", {})}
        params |= beside | ({"custom_params": custom} if custom else {})
    if manager.diffuses:
        refuse_unheard(request, grammar)
        params["stream_interval"] = WHOLE_BLOCKS_INTERVAL
    if not request.stream:
        params["stream_interval"] = UNREAD_INTERVAL_TOKENS
    wanted, bootstrap = request.logprobs, request.bootstrap
    obj = SteppedInput(
        **_common(request, manager),
        **_prompt(request.token_ids, request.media, manager, limits.vocab_size, encoded),
        routed_dp_rank=request.routed_dp_rank,
        sampling_params=params,
        stream=True,
        cache_salt=request.cache_salt,
        return_logprob=wanted is not None,
        top_logprobs_num=wanted.top if wanted is not None else 0,
        logprob_start_len=0 if wanted is not None and wanted.of_prompt else -1,
        require_reasoning=plan is not None and plan.require_reasoning,
        log_metrics=log_metrics,
    )
    if bootstrap is not None:
        obj.bootstrap_host, obj.bootstrap_port = bootstrap.host, bootstrap.port
        obj.bootstrap_room = bootstrap.room
        obj.disagg_prefill_dp_rank = bootstrap.prefill_dp_rank
    obj.output, obj.digests = output, digests_of(request.media)
    obj.encoded = encoded is not None
    obj.grows = not all(each.tokens for each in request.media)
    return obj


def grammar_of(request: Generate, plan: Plan | None) -> Grammar | None:
    """Returns the grammar that the output must conform to: the client's, or that of its tools,
    which has the client's in it where both are allowed.
    """
    if (
        plan is None
        or plan.grammar is None
        or (request.grammar is not None and request.grammar.kind != "json_schema")
    ):
        return request.grammar
    kind, text = plan.grammar
    assert request.reading is not None
    field = "tools" if request.grammar is None else request.grammar.field
    return Grammar(
        cast("GrammarKind", kind),
        text,
        field=field,
        replayed_tokens=request.reading.replayed_tokens,
    )


def embedding_input(
    request: Embed, manager: Any, *, limits: PromptLimits, log_metrics: bool
) -> Any:
    """Returns SGLang's input of an embedding of one text.

    Raises:
        InvalidRequest: there are no ids, or one that is not in the vocabulary.
    """
    obj = TextInput(
        **_common(request, manager),
        **_prompt(request.token_ids, (), manager, limits.vocab_size),
        dimensions=request.dimensions,
        log_metrics=log_metrics,
    )
    obj.routed_dp_rank = request.routed_dp_rank
    obj.token_type_ids = (
        _token_types(request)
        if not CROSS_ENCODERS.isdisjoint(manager.model_config.hf_config.architectures)
        else None
    )
    return obj


def _token_types(request: Embed) -> list[int]:
    """Returns BERT's marks on the tokens of a text: 0, and 1 for those of a second text.

    A batch in which only some requests have any ends SGLang's scheduler: all get them.
    """
    tokens = count_tokens(request.token_ids)
    first = min(request.second_text_at or tokens, tokens)
    return [0] * first + [1] * (tokens - first)


def _prompt(
    token_ids: bytes,
    media: Sequence[PromptMedia],
    manager: Any,
    vocab_size: int,
    encoded: Any = None,
) -> dict[str, Any]:
    """Returns the prompt and its media; SGLang takes ids beside media, and writes any down, as a
    list alone.
    """
    if not media:
        ids = input_ids(token_ids, vocab_size)
        return {"input_ids": ids.tolist() if manager.writes_prompts else ids}
    if encoded is not None:  # SGLang expands nothing then
        return {"input_ids": input_ids(token_ids, vocab_size).tolist(), "image_data": [encoded]}
    ids = input_ids(engine_prompt(token_ids, media), vocab_size)
    return {"input_ids": ids.tolist(), **engine_media(media)}


def _common(request: Work, manager: Any) -> dict[str, Any]:
    return {
        "rid": request.request_id,
        # Without priority scheduling SGLang ignores a priority or, if so configured, refuses the
        # request for it.
        "priority": request.priority if manager.enable_priority_scheduling else None,
        "lora_path": request.lora_name,
        "external_trace_header": _trace_header(request),
    }


def _trace_header(request: Work) -> dict[str, str] | None:
    """Returns the span that SGLang's are below; for a canary one of a trace that is not recorded,
    since SGLang would begin one for each.
    """
    if request.request_id.startswith(CANARY_PREFIX):
        return {"traceparent": _UNRECORDED}
    if not request.traceparent:
        return None
    state = {"tracestate": request.tracestate} if request.tracestate else {}
    return {"traceparent": request.traceparent} | state
