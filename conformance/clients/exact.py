"""Answers are held against the clients' own types, and against nothing more: the types as they are
accept any field of any type.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from openai.types import Completion, CompletionChoice
from openai.types.completion_choice import Logprobs
from pydantic import BaseModel

Answer = TypeVar("Answer", bound=BaseModel)

EXTRAS: Final[dict[str, set[str]]] = {
    "Model": {
        *("max_model_len", "aliases", "embedding_dimensions", "root", "parent"),
        *("service", "endpoints"),
    },
    "Image": {"seed"},
    **{f"Image{name}Event": {"index", "seed"} for name in ("GenPartialImage", "GenCompleted")},
    "Response": {"store"},
    "ChatCompletionMessage": {"reasoning_content"},
    "ParsedChatCompletionMessage": {"reasoning_content"},
    "ChoiceDelta": {"reasoning_content"},
    **{
        name: {"matched_stop", "stop_reason"}
        for name in ("Choice", "ParsedChoice", "CompletionChoice", "_ChoiceAsSent")
    },
}
"""Fields beyond OpenAI's that servers for open models are known to send, by the client's type:
those of a model's entry, the seed that makes a picture again, which of several pictures an event is
about, `store`, which OpenAI sends and its client does not declare, DeepSeek's `reasoning_content`,
and what ended a choice, as SGLang and vLLM tell it. Anything else is a mistake of ours.
"""


class _EchoedLogprobs(Logprobs):
    token_logprobs: list[float | None] | None = None  # type: ignore[assignment]
    top_logprobs: list[dict[str, float] | None] | None = None  # type: ignore[assignment]


class _ChoiceAsSent(CompletionChoice):
    finish_reason: str | None  # type: ignore[assignment]
    logprobs: _EchoedLogprobs | None = None


class CompletionAsSent(Completion):
    """What OpenAI itself sends where the client's type is narrower: no reason before a stream ends,
    and null for a prompt's first token.
    """

    choices: list[_ChoiceAsSent]  # type: ignore[assignment]


class NotOpenAIs(AssertionError):
    """An answer has a field of the wrong type, lacks one, or has one that OpenAI does not send."""


def exact(answer: Answer, kind: type[BaseModel] | None = None) -> Answer:
    """The same answer, after its JSON was validated strictly as the type that the client says it
    is.

    Args:
        kind: validate as this; the client's `parse` helpers answer with subclasses that hold more
        than JSON.
    Raises:
        NotOpenAIs: it is not of that type.
    """
    text = answer.model_dump_json(exclude_unset=True, by_alias=True, warnings=False)
    try:
        strict = (kind or type(answer)).model_validate_json(
            text, strict=True, by_alias=True, by_name=True
        )
    except ValueError as error:
        raise NotOpenAIs(f"{error}\n{text}") from None
    if unexpected := sorted(_unexpected(strict)):
        raise NotOpenAIs(f"fields that OpenAI does not send: {unexpected}\n{text}")
    return answer


def each_exact(chunks: Iterable[Answer], kind: type[BaseModel] | None = None) -> list[Answer]:
    """A stream's chunks, each exact."""
    return [exact(chunk, kind) for chunk in chunks]


def _unexpected(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, BaseModel):
        known = EXTRAS.get(type(value).__name__.split("[")[0], set())
        yield from (f"{path}.{name}" for name in value.model_extra or () if name not in known)
        for name in type(value).model_fields:
            yield from _unexpected(getattr(value, name, None), f"{path}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unexpected(each, f"{path}[{number}]")
