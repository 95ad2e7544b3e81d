"""SGLang's chat serving is asked about chats whose prompts are rendered already."""

from typing import Final

import msgspec
from pydantic import ValidationError
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

from protocol.errors import InvalidRequest
from protocol.generation import Reading

_NO_MESSAGES: Final = [{"role": "user", "content": ""}]
"""This stands for the messages, which are rendered already; SGLang wants one."""


class ChatServing(OpenAIServingChat):
    """A ChatServing is SGLang's chat serving without its rendering: the frontend has rendered the
    prompt.
    """

    def _build_chat_encoding_adapter(self) -> None:
        """Makes no adapter: adapters render prompts and take tokens apart by the model's own
        library; the text parsers are for every model.
        """

    def reads_prompt(self, chat: ChatCompletionRequest) -> bool:
        """Tells whether parsers go by how the prompt ends."""
        return self._requires_response_template_detokenization(chat)


def chat_of(reading: Reading) -> ChatCompletionRequest:
    """Returns the client's chat as SGLang has it, without its messages.

    Raises:
        InvalidRequest: SGLang would refuse it.
    """
    try:
        chat = ChatCompletionRequest.model_validate(
            {**msgspec.json.decode(reading.chat), "messages": _NO_MESSAGES}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "tools"
        raise InvalidRequest(f"{where}: {first['msg']}", param=where.partition(".")[0]) from error
    chat.skip_special_tokens = reading.skip_special_tokens
    return chat


def param_of(refusal: str) -> str:
    """Returns the field of the request that SGLang means; it names none, but has few reasons."""
    if "chat_template" in refusal:
        return "chat_template_kwargs"
    return "tools" if "'parameters'" in refusal or "unique" in refusal else "tool_choice"
