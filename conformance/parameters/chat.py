"""Parameters of /v1/chat/completions."""

from typing import Any, Final

from conformance.clients.trips import (
    BOOK_TRIP,
    NO_LOOPS,
    QUESTION,
    TOOLS,
    TRIP_QUESTION,
    TRIP_SCHEMA,
    Trip,
)
from conformance.parameters import effects
from conformance.parameters.exchange import SEED_SAYS, Case

BASE: Final[dict[str, Any]] = {
    "messages": QUESTION,
    "max_tokens": 24,
    "temperature": 0,
    "chat_template_kwargs": {"enable_thinking": False},
}

_CALLING: Final[dict[str, Any]] = {
    "messages": TRIP_QUESTION,
    "tools": TOOLS,
    "max_tokens": 200,
    "parallel_tool_calls": False,
    **NO_LOOPS,
}
_NO_LOOPS: Final[dict[str, Any]] = {"messages": TRIP_QUESTION, "max_tokens": 200, **NO_LOOPS}
_NAMED: Final[dict[str, Any]] = {"type": "function", "function": {"name": "book_trip"}}
_ALLOWED: Final[dict[str, Any]] = {
    "type": "allowed_tools",
    "allowed_tools": {
        "mode": "required",
        "tools": [{"type": "function", "function": {"name": "book_trip"}}],
    },
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "json_schema",
    "json_schema": {"name": "trip", "strict": True, "schema": TRIP_SCHEMA},
}
_ANY_TOKEN: Final[dict[str, Any]] = {"top_p": 1, "top_k": -1}
"""Not only those that the model's own settings leave."""

_KEPT_NOWHERE: Final = "nothing is kept or passed on"

CASES: Final = (
    Case("model", "kvmesh-demo", "the model answers", effects.field_is("model", "kvmesh-demo")),
    Case("model", "nobody", "no such model"),
    Case(
        "messages",
        [*QUESTION, {"role": "assistant", "content": "A server."}, *QUESTION],
        "all of them",
        effects.longer_prompt,
    ),
    Case("max_tokens", 3, "so many tokens", effects.tokens_made(3)),
    Case(
        "max_completion_tokens", 3, "so many tokens", effects.tokens_made(3), {"max_tokens": None}
    ),
    Case("n", 3, "so many choices", effects.choices(3)),
    Case("n", 129, "too many"),
    Case("temperature", 2, "another text", effects.another_text, {**_ANY_TOKEN, "seed": 1}),
    Case("temperature", 2.1, "too hot"),
    Case("top_p", 0, "only the likeliest token", effects.greedy_text, {"temperature": 2}),
    Case(
        "frequency_penalty",
        2,
        "another text",
        effects.another_text,
        {"max_tokens": 64, "ignore_eos": True},
    ),
    Case(
        "presence_penalty",
        2,
        "another text",
        effects.another_text,
        {"max_tokens": 64, "ignore_eos": True},
    ),
    Case("seed", 7, SEED_SAYS),
    Case("stop", ["e"], "ends before it", effects.ends_before("e")),
    Case("logit_bias", {"300": 100}, "this token only", effects.one_token_over_and_over),
    Case("logprobs", True, "of each token", effects.chat_logprobs(0)),
    Case("top_logprobs", 2, "of so many at each", effects.chat_logprobs(2), {"logprobs": True}),
    Case("stream", True, "events", effects.streamed),
    Case(
        "stream_options",
        {"include_usage": True},
        "usage in the last chunk",
        effects.usage_at_the_end,
        {"stream": True},
    ),
    Case("stream_options", {"include_obfuscation": True}, "padding", None, {"stream": True}),
    Case("tools", TOOLS, "in the prompt", effects.longer_prompt),
    Case(
        "tools",
        [{"type": "custom", "custom": {"name": "grep"}}],
        "custom ones too",
        effects.longer_prompt,
    ),
    Case("tool_choice", "none", "no call", effects.no_call, _CALLING),
    Case(
        "tool_choice", "required", "a call", effects.calls_only("book_trip", "tell_time"), _CALLING
    ),
    Case("tool_choice", _NAMED, "a call of this one", effects.calls_only("book_trip"), _CALLING),
    Case(
        "tool_choice", _ALLOWED, "a call of one of these", effects.calls_only("book_trip"), _CALLING
    ),
    Case(
        "parallel_tool_calls",
        False,
        "one call",
        effects.one_call,
        {**_CALLING, "parallel_tool_calls": None, "tool_choice": "required"},
    ),
    Case("functions", [BOOK_TRIP["function"]], "OpenAI replaced them by tools"),
    Case("function_call", "auto", "OpenAI replaced it by tool_choice"),
    Case(
        "response_format", {"type": "text"}, "text", lambda answer, ask: answer.text == ask().text
    ),
    Case(
        "response_format",
        {"type": "json_object"},
        "a JSON object",
        effects.text_begins_an_object,
        _NO_LOOPS,
    ),
    Case("response_format", _SCHEMA, "JSON of this schema", effects.text_is_a(Trip), _NO_LOOPS),
    Case(
        "reasoning_effort",
        "none",
        "no thinking",
        effects.same_prompt,
        {"chat_template_kwargs": None},
    ),
    Case(
        "reasoning_effort",
        "high",
        "thinking",
        effects.shorter_prompt,
        {"chat_template_kwargs": None},
    ),
    Case("modalities", ["text"], "text", lambda answer, ask: answer.text == ask().text),
    Case("modalities", ["text", "audio"], "no audio is made"),
    Case("audio", {"format": "wav", "voice": "alloy"}, "no audio is made"),
    Case("prediction", {"type": "content", "content": "A server."}, "not supported"),
    Case("web_search_options", {}, "nothing is searched"),
    Case("moderation", {"type": "auto"}, "nothing is moderated"),
    Case("verbosity", "low", "models served here know no such word"),
    Case("verbosity", "medium", "the default"),
    Case("service_tier", "auto", "there is one tier", effects.field_is("service_tier", "default")),
    Case("user", "ada", _KEPT_NOWHERE),
    Case("safety_identifier", "ada", _KEPT_NOWHERE),
    Case("metadata", {"team": "a"}, _KEPT_NOWHERE),
    Case("store", True, _KEPT_NOWHERE),
    Case("prompt_cache_key", "ada", "routing goes by the prompt itself"),
    Case("prompt_cache_retention", "in-memory", "what is cached is in memory"),
    Case("prompt_cache_retention", "24h", "what is cached is in memory"),
    Case("prompt_cache_options", {}, "prompts are cached by themselves"),
)
