"""What the reading relies on in SGLang 0.5.23 beyond its public API, checked at start and in
tests.
"""

import inspect
from typing import Final

from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
from sglang.srt.function_call.base_format_detector import BaseFormatDetector
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.reasoning_parser import ReasoningParser

from protocol.process.start_error import StartError

_METHODS: Final = {
    OpenAIServingChat: {
        "__init__": ("self", "tokenizer_manager", "template_manager"),
        "_build_chat_encoding_adapter": ("self",),
        "_requires_response_template_detokenization": ("self", "request"),
        "_validate_request": ("self", "request"),
        "_convert_to_internal_request": ("self", "request", "raw_request"),
        "_effective_tools": ("self", "request"),
        "_tool_call_parsing_active": ("self", "request"),
        "_get_reasoning_from_request": ("self", "request"),
        "_answer_started": ("reasoning_parser",),
        "_settle_response_template_stop": ("self", "text", "finish_reason", "request", "output"),
        "_process_tool_call_id": ("self", "call_item", "history_tool_calls_cnt"),
        "_process_tool_calls": (
            "self", "text", "tools", "finish_reason", "tool_choice", "history_tool_calls_cnt",
            "response_parser_prefix", "constrained",
        ),
    },
    FunctionCallParser: {
        "__init__": ("self", "tools", "tool_call_parser", "tokenizer", "tool_choice", "prefix",
        "constrained"),
        "owns_tool_format": ("self",),
        "parse_stream_chunk": ("self", "chunk_text"),
        "parse_stream_end": ("self",),
    },
    BaseFormatDetector: {"_get_tool_indices": ("self", "tools")},
    ReasoningParser: {
        "__init__": (
            "self", "model_type", "stream_reasoning", "force_reasoning", "request", "tokenizer",
            "tool_call_parser_active", "prefix",
        ),
        "parse_stream_chunk": ("self", "chunk_text"),
        "parse_stream_end": ("self",),
        "parse_non_stream": ("self", "full_text"),
    },
}  # fmt: skip
_PRIVATE_OF_A_CHAT: Final = {
    "_response_parser_prefix",
    "_response_parser_grammar_start",
    "_response_parser_tool_grammar",
}


def check_reading_seam() -> None:
    """Check that the installed SGLang still has what is relied on here.

    Raises:
        StartError: it has not; the message names what is missing.
    """
    for owner, methods in _METHODS.items():
        for name, wanted in methods.items():
            method = getattr(owner, name, None)
            if method is None or tuple(inspect.signature(method).parameters) != wanted:
                raise StartError(
                    f"SGLang has changed: {owner.__name__}.{name}({', '.join(wanted)}) is "
                    "not what it was in 0.5.23"
                )
    missing = _PRIVATE_OF_A_CHAT - set(ChatCompletionRequest.__private_attributes__)
    if missing:
        raise StartError(
            f"SGLang has changed: ChatCompletionRequest has no {', '.join(sorted(missing))}"
        )
