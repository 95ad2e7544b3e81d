"""SGLang makes text by diffusion where --dllm-algorithm asks for it: what it is told then, what it
turns out to do, and what must not reach it.

Imports SGLang where it is asked for.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from msgspec.structs import replace

from protocol.errors import UnsupportedParameter
from protocol.generation import Generate, Grammar, Sampling
from protocol.membership import ModelCard, RankLoad, SamplingDefaults
from protocol.process.start_error import StartError
from protocol.requests import Work
from protocol.text_diffusion import TextDiffusion

log = logging.getLogger(__name__)

WHOLE_BLOCKS_INTERVAL: Final = 2
"""SGLang tells of a request whenever it has so many new tokens, or its first: of blocks, and not of
the steps between them in which it has none. With an interval of 1 it tells of every step.
"""

_GREEDY: Final = frozenset({"LowConfidence", "JointThreshold", "JointThresholdInDel"})
"""These algorithms give a place its likeliest token; Gemma4Renoise draws one by a schedule of its
own, and a newer one may do anything.
"""

_EXCLUDED: Final[dict[str, tuple[Any, ...]]] = {
    "enable_lora": (None, False),
    "lora_paths": (None, []),
    "disaggregation_mode": ("null",),
    "pp_size": (1,),
    "speculative_algorithm": (None,),
    "is_embedding": (False,),
}
"""Maps arguments for what SGLang's diffusion does without, which it switches off with a line in its
log or fails on, to the values with which nothing is asked for.
"""


def prepare_diffusion(namespace: argparse.Namespace) -> None:
    """Checks SGLang's arguments where text is made by diffusion, and says what SGLang would assume.

    Raises:
        StartError: an unknown algorithm, or an argument that has no effect beside one.
    """
    algorithm = namespace.dllm_algorithm
    if algorithm is None:
        return
    from sglang.srt.dllm import algorithm as algorithms  # noqa: PLC0415

    known = cast("dict[str, Any]", algorithms.algo_name_to_cls)
    if algorithm not in known:
        raise StartError(
            f"SGLang has no algorithm of diffusion {algorithm!r}; it has: "
            f"{', '.join(sorted(known))}"
        )
    for dest, nothing in _EXCLUDED.items():
        if getattr(namespace, dest) not in nothing:
            raise StartError(
                f"--{dest.replace('_', '-')} does not go with --dllm-algorithm: SGLang makes text "
                "by diffusion without it"
            )
    namespace.grammar_backend = "none"  # no output is held to any
    if namespace.max_running_requests is None:
        # What SGLang's scheduler assumes; said here, it is also what frontends are told.
        namespace.max_running_requests = 1
        log.info("one request at a time runs by diffusion; --max-running-requests says how many")


def told_of_diffusion(card: ModelCard, server_args: Any) -> ModelCard:
    """Returns the card of an engine with these arguments: as it is, or with what frontends must
    know of text that is made by diffusion.
    """
    from sglang.srt.dllm.config import DllmConfig  # noqa: PLC0415

    config = DllmConfig.from_server_args(server_args)
    if config is None:
        return card
    return replace(
        card,
        text_diffusion=TextDiffusion(
            config.algorithm, config.block_size, greedy=config.algorithm in _GREEDY
        ),
        # a request ends where there is no room for one more whole block
        context_length=max(1, card.context_length - config.block_size),
        defaults=SamplingDefaults(),  # the algorithm goes by none of them, and may refuse some
        bounds_thinking=False,
    )


def with_running(loads: Sequence[RankLoad], unfinished: Iterable[Work]) -> list[RankLoad]:
    """Returns the loads with the requests that run: SGLang counts none of those that its diffusion
    has taken from its queue.

    Args:
        unfinished: requests that the engine was given and has not ended.
    """
    given = Counter(request.routed_dp_rank or 0 for request in unfinished)
    return [
        replace(load, requests_running=max(0, given[load.dp_rank] - load.requests_waiting))
        for load in loads
    ]


def refuse_unheard(request: Generate, grammar: Grammar | None) -> None:
    """Refuses what the algorithms pass over without a word, which frontends do not send.

    Args:
        grammar: what the output would have to conform to, the request's own or its tools'.
    Raises:
        UnsupportedParameter: naming it.
    """
    sampling, plain = request.sampling, Sampling(0)
    for name, param in (
        ("min_new_tokens", "min_tokens"),
        *((same, same) for same in ("frequency_penalty", "presence_penalty", "repetition_penalty")),
        ("logit_bias", "logit_bias"),
    ):
        if getattr(sampling, name) != getattr(plain, name):
            raise _unheard(param)
    if request.logprobs is not None:
        raise _unheard("logprobs")
    if grammar is not None:
        raise _unheard(grammar.field)


def _unheard(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{param} is not supported where text is made by diffusion", param=param
    )
