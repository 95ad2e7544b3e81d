"""kvmesh relies on these names in SGLang 0.5.23 to hold answers to grammars and take them apart.

Imports no SGLang.
"""

from typing import Final

from workers.sglang.seam.relied import Relied

_GRAMMARS: Final = "grammars/scheduler.py"
_MESSAGE, _PLAN = "reading/message.py", "reading/plan.py"
_MANAGER: Final = "srt.constrained.grammar_manager:GrammarManager."
_BACKEND: Final = "srt.constrained.base_grammar_backend:BaseGrammarBackend."
_XGRAMMAR: Final = "srt.constrained.xgrammar_backend:XGrammarGrammar."
_CHAT: Final = "srt.entrypoints.openai.serving_chat:OpenAIServingChat."
_CALLS: Final = "srt.function_call.function_call_parser:FunctionCallParser."
_THINKING: Final = "srt.parser.reasoning_parser:ReasoningParser."

GRAMMARS: Final = (
    Relied(
        name=_MANAGER + "process_req_with_grammar",
        used_in=_GRAMMARS,
        why="Gives a request the grammar that the cache has.",
        says=("req.grammar = value",),
    ),
    Relied(
        name=_MANAGER + "get_ready_grammar_requests",
        used_in=_GRAMMARS,
        why="Calls what ours adds to once the cache has its copy.",
        says=(
            (
                "self.grammar_backend.set_cache(req.grammar_key, req.grammar.copy())\n"
                "            self._apply_request_reasoning_config(req)"
            ),
        ),
    ),
    Relied(
        name=_MANAGER + "_apply_request_reasoning_config",
        used_in=_GRAMMARS,
        why="Called with what the request will decode with; ours replays output behind it.",
        parameters=("self", "req"),
    ),
    Relied(
        name=_BACKEND + "set_cache",
        used_in=_GRAMMARS,
        why="Writes a mapping, which ours bounds.",
        says=("self.cache[key] = value",),
    ),
    Relied(
        name=_BACKEND + "get_cached_or_future_value",
        used_in=_GRAMMARS,
        why="Reads that mapping.",
        says=("self.cache.get(key)",),
    ),
    Relied(
        name=_XGRAMMAR + "fill_vocab_mask",
        used_in=_GRAMMARS,
        why="Sets the bits of the tokens that may come next; ours takes its time.",
        says=("self.matcher.fill_next_token_bitmask(vocab_mask, idx)",),
    ),
    Relied(
        name=_XGRAMMAR + "accept_token",
        used_in=_GRAMMARS,
        why="Raises a ValueError for a token that may not come, whose text ends the request.",
        says=("raise ValueError(",),
    ),
    Relied(
        name=_XGRAMMAR + "copy",
        used_in=_GRAMMARS,
        why="Makes what one more request goes through; ours shares its cost.",
        says=("return XGrammarGrammar(",),
    ),
    Relied(
        name=_XGRAMMAR + "apply_vocab_mask",
        used_in=_GRAMMARS,
        why="Uses nothing of its object, and knows CPUs, which the backend's own does not.",
        says=('apply_token_bitmask_inplace(logits, vocab_mask, backend="cpu")',),
    ),
)
"""Grammars are changed in the schedulers by these names."""

READING: Final = (
    Relied(
        name=_CHAT + "__init__",
        used_in=_PLAN,
        why="SGLang's own chat serving is asked, for a prompt that is rendered already.",
        parameters=("self", "tokenizer_manager", "template_manager"),
    ),
    Relied(
        name=_CHAT + "_build_chat_encoding_adapter",
        used_in=_PLAN,
        why="Called by its constructor; ours makes none where there is no tokenizer.",
        parameters=("self",),
    ),
    Relied(
        name=_CHAT + "_requires_response_template_detokenization",
        used_in=_PLAN,
        why="Whether special tokens are part of what a template's parser reads.",
        parameters=("self", "request"),
    ),
    Relied(
        name=_CHAT + "_validate_request",
        used_in=_PLAN,
        why="Says what of a chat SGLang refuses.",
        parameters=("self", "request"),
    ),
    Relied(
        name=_CHAT + "_convert_to_internal_request",
        used_in=_PLAN,
        why="Makes sampling parameters and grammars of a chat.",
        parameters=("self", "request", "raw_request"),
    ),
    Relied(
        name=_CHAT + "_process_messages",
        used_in="prompts.py",
        why="Makes the tokens of a chat with the engine's own template.",
        parameters=("self", "request", "is_multimodal", "output_constrained"),
    ),
    Relied(
        name=_CHAT + "_effective_tools",
        used_in=_MESSAGE,
        why="The tools that parsers go by.",
        parameters=("self", "request"),
    ),
    Relied(
        name=_CHAT + "_tool_call_parsing_active",
        used_in=_MESSAGE,
        why="Whether calls are looked for.",
        parameters=("self", "request"),
    ),
    Relied(
        name=_CHAT + "_get_reasoning_from_request",
        used_in=_MESSAGE,
        why="Whether an answer begins with thinking.",
        parameters=("self", "request"),
    ),
    Relied(
        name=_CHAT + "_answer_started",
        used_in=_MESSAGE,
        why="Whether thinking has ended.",
        parameters=("reasoning_parser",),
    ),
    Relied(
        name=_CHAT + "_settle_response_template_stop",
        used_in=_MESSAGE,
        why="Puts back the stop that a template's parser needs.",
        parameters=("self", "text", "finish_reason", "request", "output"),
    ),
    Relied(
        name=_CHAT + "_process_tool_call_id",
        used_in="reading/calls.py",
        why="The ids of models that number their calls.",
        parameters=("self", "call_item", "history_tool_calls_cnt"),
    ),
    Relied(
        name=_CHAT + "_process_tool_calls",
        used_in=_MESSAGE,
        why="Takes calls out of a whole text.",
        parameters=(
            "self",
            "text",
            "tools",
            "finish_reason",
            "tool_choice",
            "history_tool_calls_cnt",
            "response_parser_prefix",
            "constrained",
        ),
    ),
    Relied(
        name="srt.entrypoints.openai.protocol:ChatCompletionRequest",
        used_in=_MESSAGE,
        why="Bears what a template's parser must know of the prompt.",
        fields=(
            "_response_parser_prefix",
            "_response_parser_grammar_start",
            "_response_parser_tool_grammar",
            "_format_add_generation_prompt",
        ),
    ),
    Relied(
        name=_CALLS + "__init__",
        used_in=_MESSAGE,
        why="Makes a parser of calls by its name.",
        parameters=(
            "self",
            "tools",
            "tool_call_parser",
            "tokenizer",
            "tool_choice",
            "prefix",
            "constrained",
        ),
    ),
    Relied(
        name=_CALLS + "owns_tool_format",
        used_in="reading/answer_or_call.py",
        why="Whether the parser itself says how calls look.",
        parameters=("self",),
    ),
    Relied(
        name=_CALLS + "parse_stream_chunk",
        used_in=_MESSAGE,
        why="Takes calls out of a text as it comes.",
        parameters=("self", "chunk_text"),
    ),
    Relied(
        name=_CALLS + "parse_stream_end",
        used_in=_MESSAGE,
        why="And what is left at its end.",
        parameters=("self",),
    ),
    Relied(
        name="srt.function_call.base_format_detector:BaseFormatDetector._get_tool_indices",
        used_in=_MESSAGE,
        why="Made anew for every piece of text; ours is made once.",
        parameters=("self", "tools"),
    ),
    Relied(
        name=_THINKING + "__init__",
        used_in=_MESSAGE,
        why="Makes a parser of thinking by its name.",
        parameters=(
            "self",
            "model_type",
            "stream_reasoning",
            "force_reasoning",
            "request",
            "tokenizer",
            "tool_call_parser_active",
            "prefix",
        ),
    ),
    Relied(
        name=_THINKING + "parse_stream_chunk",
        used_in=_MESSAGE,
        why="Takes thinking out of a text as it comes.",
        parameters=("self", "chunk_text"),
    ),
    Relied(
        name=_THINKING + "parse_stream_end",
        used_in=_MESSAGE,
        why="And what is left at its end.",
        parameters=("self",),
    ),
    Relied(
        name=_THINKING + "parse_non_stream",
        used_in=_MESSAGE,
        why="Takes thinking out of a whole text.",
        parameters=("self", "full_text"),
    ),
)
"""Answers are taken apart in the worker by these names."""
