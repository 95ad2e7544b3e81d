"""The messages of a chat become its prompt: rendered, tokenized, with media in their places."""

from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final

from msgspec import Struct

from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.fields.thinking import template_kwargs
from frontend.api.fields.tools import told_tools
from frontend.api.prompts.encoding import encode_prompt
from frontend.api.prompts.media import check_taken, place_media
from frontend.api.prompts.worker_chats import chat_for_worker
from frontend.http.exchange import Exchange
from frontend.media.part import MediaSource
from frontend.media.reader import MediaReader
from frontend.models.served import ServedModel
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.media import PromptMedia

TIMED: Final = "0"
"""Of chats whose random id begins so, one in 16, template and tokenizer are timed."""

_RESERVED_TEMPLATE_KWARGS: Final = frozenset(
    {
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "chat_template",
    }
)


class ChatPrompt(Struct, frozen=True):
    """A ChatPrompt is what a model reads of a chat.

    Attributes:
        token_ids: packed u32.
        stops: strings at which an engine's own template wants the answer to end.
        media: of the prompt, in their order.
    """

    token_ids: bytes
    stops: Sequence[str] = ()
    media: Sequence[PromptMedia] = ()

    def require_counted(self) -> None:
        """Refuses to count a prompt of which only the engine that runs it knows how long it is.

        Raises:
            UnsupportedParameter: naming the first medium that nobody else can count.
        """
        for each in self.media:
            if not each.tokens:
                raise UnsupportedParameter(
                    f"How many tokens the {each.modality} takes, only the usage of an answer "
                    "tells.",
                    param=each.param or None,
                )


async def chat_prompt(
    exchange: Exchange,
    reader: MediaReader,
    served: ServedModel,
    request: ChatCompletionRequest,
    sources: Sequence[MediaSource],
) -> ChatPrompt:
    """Returns the prompt of a chat that was checked.

    Args:
        sources: the media that its messages name.
    Raises:
        InvalidRequest: the template refuses the messages, or a medium cannot be read.
        UnsupportedParameter: the model does not take such media.
        ContextOverflow, Overloaded: as `encode_prompt`.
    """
    if not sources:
        return await _of_messages(exchange, served, request)
    check_taken(served.card.media, sources)
    items = await reader.read(sources, exchange.hold)
    prompt = await _of_messages(exchange, served, request)
    token_ids, media = await place_media(served, prompt.token_ids, items)
    reader.note(served.card.name, media)
    return ChatPrompt(token_ids, prompt.stops, media)


async def _of_messages(
    exchange: Exchange, served: ServedModel, request: ChatCompletionRequest
) -> ChatPrompt:
    """Returns the prompt, with one token for each medium."""
    kwargs = template_kwargs(request)
    if kwargs and (reserved := _RESERVED_TEMPLATE_KWARGS.intersection(kwargs)):
        raise InvalidRequest(
            f"chat_template_kwargs must not set {sorted(reserved)[0]!r}.",
            param="chat_template_kwargs",
        )
    if served.tokenized_by_workers is not None:
        if request.add_special_tokens:
            raise UnsupportedParameter(
                "The chat template writes the special tokens of messages.",
                param="add_special_tokens",
            )
        chat = await exchange.in_proportion(partial(chat_for_worker, served.card, request))
        tokenized = await served.tokenized_by_workers.encode_chat(chat)
        return ChatPrompt(tokenized.token_ids, tokenized.stops)
    special = request.add_special_tokens or False
    render = partial(_render, served, request, kwargs)
    begun_s = perf_counter() if exchange.request_id[0] == TIMED else 0.0
    text = await exchange.in_proportion(render) if exchange.is_large else render()
    if begun_s:
        exchange.rendered_s = perf_counter() - begun_s
    token_ids = await encode_prompt(served, text, add_special_tokens=special, param="messages")
    if begun_s:
        exchange.tokenized_s = perf_counter() - begun_s - exchange.rendered_s
    return ChatPrompt(token_ids)


def _render(served: ServedModel, request: ChatCompletionRequest, kwargs: Mapping[str, Any]) -> str:
    continued = request.continue_final_message or False
    return served.render(
        request.messages,
        tools=None if request.tool_choice == "none" else told_tools(request),
        add_generation_prompt=not continued
        if request.add_generation_prompt is None
        else request.add_generation_prompt,
        continue_final_message=continued,
        **kwargs,
    )
