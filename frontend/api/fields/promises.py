"""A request's answers come with promises, beyond the grammar that binds the model to its form."""

from frontend.api.fields.grammars import ANY_OBJECT, said_of
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.tools import held_schemas, is_forced
from frontend.conforming.promise import Promise
from frontend.conforming.validator import Validator
from protocol.generation import Grammar


def promise_of(
    request: ChatCompletionRequest | CompletionRequest,
    grammar: Grammar | None,
    validator: Validator,
    request_id: str,
) -> Promise | None:
    """Returns what is promised of a request's answers; None where no schema binds the answer or a
    call in it: that is, for most.

    Args:
        grammar: that binds the answer.
    """
    calls = (
        held_schemas(request)
        if isinstance(request, ChatCompletionRequest) and request.tools
        else {}
    )
    schema = None if grammar is None else _schema(request, grammar)
    if schema is None and not calls:
        return None
    forced = isinstance(request, ChatCompletionRequest) and is_forced(request.tool_choice)
    return Promise(
        validator,
        schema=schema,
        calls=calls,
        forced=forced,
        streams=bool(request.stream),
        request_id=request_id,
    )


def _schema(request: ChatCompletionRequest | CompletionRequest, grammar: Grammar) -> str | None:
    """Returns the client's own schema, if the text is to be JSON of it and nothing else."""
    if grammar.kind != "json_schema" or grammar.text == ANY_OBJECT:
        return None
    # the end of the text may be shown
    if request.shows_stop or request.skip_special_tokens is False:
        return None
    # the thinking may be in it
    if isinstance(request, ChatCompletionRequest) and request.separate_reasoning is False:
        return None
    said = said_of(request)
    return None if said is None else said.text
