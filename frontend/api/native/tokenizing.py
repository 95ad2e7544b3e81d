"""POST /tokenize and /detokenize serve clients of vLLM and of SGLang, with both names of whatever
they call differently.
"""

import asyncio
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.schemas import (
    MESSAGES_MAX,
    PROMPTS_MAX,
    TOOLS_MAX,
    ChatCompletionRequest,
    Model,
    ReasoningEffort,
    TemplateKwargs,
    TokenId,
)
from frontend.api.launching import Launcher
from frontend.api.openai.chat import check_chat
from frontend.api.prompts.chats import chat_prompt
from frontend.api.prompts.encoding import encode_prompt
from frontend.http.body_counts import TOKEN_IDS_MAX
from frontend.http.exchange import Exchange
from frontend.http.json_slices import Rows, send_in_slices
from frontend.media.reader import MediaReader
from frontend.models.served import ServedModel
from protocol.errors import ContextOverflow, InvalidRequest
from protocol.tokens import count_tokens, unpack_tokens

_TURN_TEXTS: Final = 16
"""So many texts are handled in one turn of the loop."""

_encode = msgspec.json.Encoder().encode


class TokenizeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TokenizeRequest is the body of POST /tokenize, with either `prompt` or `messages`.

    A list of prompts gives a list of token lists and of counts.
    """

    model: Model | None = None
    """Names the model; it may be left out where one model is served."""
    prompt: str | Annotated[list[str], Meta(max_length=PROMPTS_MAX)] | None = None
    messages: (
        Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MESSAGES_MAX)] | None
    ) = None
    add_special_tokens: bool | None = None
    """Adds the tokenizer's special tokens: by default true for a prompt and false for messages,
    whose template writes them.
    """
    return_token_strs: bool | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: TemplateKwargs | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


class DetokenizeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DetokenizeRequest is the body of POST /detokenize: token ids, or several lists of them."""

    model: Model | None = None
    tokens: list[TokenId | Annotated[list[TokenId], Meta(max_length=2**24)]]
    skip_special_tokens: bool = True
    """Leaves special tokens out, which is SGLang's default; vLLM shows them."""


_tokenize_parser = BodyParser(
    TokenizeRequest,
    {"mm_processor_kwargs": "how finely a picture is seen is up to the model's processor"},
)
_detokenize_parser = BodyParser(DetokenizeRequest, {}, items_max=TOKEN_IDS_MAX)


async def tokenize(exchange: Exchange, launcher: Launcher) -> None:
    """Answers with the tokens that a prompt or a chat would have."""
    request = await _tokenize_parser.read(exchange)
    await exchange.run_until_client_leaves(_tokenize(exchange, launcher, request))


async def detokenize(exchange: Exchange, launcher: Launcher) -> None:
    """Answers with the text of tokens."""
    request = await _detokenize_parser.read(exchange)
    await exchange.run_until_client_leaves(_detokenize(exchange, launcher, request))


async def _tokenize(exchange: Exchange, launcher: Launcher, request: TokenizeRequest) -> None:
    served = _served(exchange, launcher, request.model)
    if (request.prompt is None) == (request.messages is None):
        raise InvalidRequest("Either prompt or messages must be given.", param="prompt")
    if isinstance(request.prompt, list):
        packed = [
            await _encode_turn(served, at, text, request) for at, text in enumerate(request.prompt)
        ]
        counts: Any = [count_tokens(each) for each in packed]
        tokens, strings = (
            Rows(partial(map, _ids, packed)),
            Rows(partial(map, partial(_strings, served), packed)),
        )
    else:
        one = await _encode_one(exchange, launcher.media, served, request)
        counts, tokens = count_tokens(one), Rows(partial(unpack_tokens, one))
        strings = Rows(lambda: map(served.vocabulary_entry, unpack_tokens(one)))
    answer = {"count": counts, "tokens": tokens, "max_model_len": served.card.context_length}
    await send_in_slices(
        exchange, answer | {"token_strs": strings if request.return_token_strs else None}
    )


def _ids(packed: bytes) -> list[int]:
    return list(unpack_tokens(packed))


def _strings(served: ServedModel, packed: bytes) -> list[str]:
    return [served.vocabulary_entry(token_id) for token_id in unpack_tokens(packed)]


async def _encode_one(
    exchange: Exchange, reader: MediaReader, served: ServedModel, request: TokenizeRequest
) -> bytes:
    if isinstance(request.prompt, str):
        return await encode_prompt(
            served,
            request.prompt,
            add_special_tokens=request.add_special_tokens is not False,
            param="prompt",
        )
    if request.add_special_tokens:
        raise InvalidRequest(
            "The chat template writes the special tokens of messages.", param="add_special_tokens"
        )
    chat = ChatCompletionRequest(
        model=served.card.name,
        messages=request.messages or [],
        tools=request.tools,
        tool_choice=request.tool_choice,
        reasoning_effort=request.reasoning_effort,
        chat_template_kwargs=request.chat_template_kwargs,
        add_generation_prompt=request.add_generation_prompt,
        continue_final_message=request.continue_final_message,
    )
    sources = await exchange.in_proportion(partial(check_chat, chat, exchange.ignored))
    prompt = await chat_prompt(exchange, reader, served, chat, sources)
    prompt.require_counted()
    return prompt.token_ids


async def _encode_turn(served: ServedModel, at: int, text: str, request: TokenizeRequest) -> bytes:
    if at % _TURN_TEXTS == _TURN_TEXTS - 1:
        await asyncio.sleep(0)
    return await encode_prompt(
        served,
        text,
        add_special_tokens=request.add_special_tokens is not False,
        param=f"prompt[{at}]",
    )


async def _detokenize(exchange: Exchange, launcher: Launcher, request: DetokenizeRequest) -> None:
    served = _served(exchange, launcher, request.model)
    several = bool(request.tokens) and all(isinstance(part, list) for part in request.tokens)
    lists = [part for part in request.tokens if isinstance(part, list)]
    plain = [part for part in request.tokens if isinstance(part, int)]
    if lists and plain:
        raise InvalidRequest(
            "tokens must hold only token ids or only lists of them.", param="tokens"
        )
    texts: list[str] = []
    for at, ids in enumerate(lists if several else [plain]):
        if len(ids) > served.card.context_length:
            raise ContextOverflow(
                f"This model's maximum context length is {served.card.context_length} tokens.",
                param="tokens",
            )
        if at % _TURN_TEXTS == _TURN_TEXTS - 1:
            await asyncio.sleep(0)
        texts.append(
            await exchange.in_proportion(
                partial(served.decode, ids, skip_special_tokens=request.skip_special_tokens)
            )
        )
    text = texts if several else texts[0]
    await exchange.send_json(200, _encode({"prompt": text, "text": text}))


def _served(exchange: Exchange, launcher: Launcher, name: str | None) -> ServedModel:
    exchange.model = name if name is not None else launcher.models.only()
    return launcher.models.served(exchange.model)
