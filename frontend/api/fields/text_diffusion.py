"""What a request asks of the choice of each token is refused where a model's text is made by
diffusion, unless it asks for nothing, or for what is done anyway.

SGLang's algorithms of diffusion take some of it for an error and pass over the rest
(srt/dllm/algorithm at 0.5.23).
"""

from collections.abc import Callable
from typing import Any, Final

from frontend.api.fields.grammars import said_of
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.tools import is_forced
from protocol.errors import UnsupportedParameter
from protocol.text_diffusion import TextDiffusion

Request = ChatCompletionRequest | CompletionRequest

_WHY: Final = "the text of this model is made by diffusion, a block of tokens at a time, and"
_CHOSEN: Final = f"{_WHY} its algorithm ({{}}) chooses the tokens."
_SCORED: Final = f"{_WHY} its tokens have no log probabilities."
_HELD: Final = f"{_WHY} its tokens cannot be held to a grammar."

_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "min_tokens": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "custom_params": ({},),
}
"""Maps what no algorithm does to the values that ask for nothing, beside None."""

_SPREAD: Final[dict[str, Callable[[float], bool]]] = {
    "temperature": lambda asked: asked == 1,
    "top_p": lambda asked: asked == 1,
    "top_k": lambda asked: asked <= 0,
    "min_p": lambda asked: asked == 0,
}
"""Maps what says how far from the likeliest token a choice may be to whether a value asks for
nothing.
"""


def refuse_of_diffusion(request: Request, diffusion: TextDiffusion) -> None:
    """Raises for what cannot be honoured where text is made so.

    Raises:
        UnsupportedParameter: naming the field.
        InvalidRequest: fields that contradict each other.
    """
    _refuse_choosing(request, diffusion)
    asked = (
        ("logprobs", request.logprobs is not None and request.logprobs is not False),
        ("prompt_logprobs", request.prompt_logprobs is not None),
    )
    for field, wanted in asked:
        if wanted:
            raise UnsupportedParameter(f"{field} is not supported: {_SCORED}", param=field)
    grammar = said_of(request)
    if grammar is not None:
        raise UnsupportedParameter(
            f"{grammar.field} is not supported: {_HELD}", param=grammar.field
        )
    if isinstance(request, ChatCompletionRequest) and request.tools:
        _refuse_held_calls(request)


def _refuse_choosing(request: Request, diffusion: TextDiffusion) -> None:
    for field, neutral in _NEUTRAL.items():
        asked = getattr(request, field)
        if asked is not None and asked not in neutral:
            raise _chosen(field, diffusion)
    likeliest = request.temperature == 0 or request.top_k == 1 or request.top_p == 0
    if diffusion.greedy and likeliest:
        return
    for field, asks_for_nothing in _SPREAD.items():
        asked = getattr(request, field)
        if asked is not None and not asks_for_nothing(asked):
            raise _chosen(field, diffusion)
    if request.seed is not None and not diffusion.greedy:
        raise _chosen("seed", diffusion)


def _refuse_held_calls(request: ChatCompletionRequest) -> None:
    """Raises where calls would be forced, or their arguments held to a schema; what a model calls
    by itself is read of its text.
    """
    if is_forced(request.tool_choice):
        raise UnsupportedParameter(
            f"tool_choice can only be 'auto' or 'none': {_HELD}", param="tool_choice"
        )
    if request.tool_choice == "none":
        return
    for at, tool in enumerate(request.tools or ()):
        if tool["function"].get("strict"):
            raise UnsupportedParameter(
                f"strict is not supported: {_HELD}", param=f"tools[{at}].function.strict"
            )


def _chosen(field: str, diffusion: TextDiffusion) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{field} is not supported: {_CHOSEN.format(diffusion.algorithm)}", param=field
    )
