"""Parameters of /v1/responses."""

from typing import Any, Final

from conformance.clients.trips import BOOK_TRIP, TRIP_SCHEMA, Trip
from conformance.parameters import effects
from conformance.parameters.exchange import Answer, Case

BASE: Final[dict[str, Any]] = {
    "input": "What is kvmesh?",
    "max_output_tokens": 24,
    "temperature": 0,
    "reasoning": {"effort": "none"},
}

_TOOL: Final[dict[str, Any]] = {"type": "function", "strict": True, **BOOK_TRIP["function"]}
_NO_LOOPS: Final[dict[str, Any]] = {
    "frequency_penalty": 1,
    "max_output_tokens": 200,
    "parallel_tool_calls": False,
}
_FORMAT: Final[dict[str, Any]] = {
    "format": {"type": "json_schema", "name": "trip", "strict": True, "schema": TRIP_SCHEMA}
}
_KEPT_NOWHERE: Final = "nothing is kept or passed on"
_STATELESS: Final = "no response is kept"


def _calls(answer: Answer) -> int:
    return sum(item["type"] == "function_call" for item in answer.body["output"])


CASES: Final = (
    Case("model", "kvmesh-demo", "the model answers", effects.field_is("model", "kvmesh-demo")),
    Case(
        "input",
        [{"role": "user", "content": "What is kvmesh, and what is it not?"}],
        "items, too",
        effects.longer_prompt,
    ),
    Case("instructions", "Be brief.", "in the prompt", effects.longer_prompt),
    Case("max_output_tokens", 5, "so many tokens", effects.tokens_made(5)),
    Case("temperature", 2, "another text", effects.another_text, {"top_p": 1, "top_k": -1}),
    Case("top_p", 0, "only the likeliest token", effects.greedy_text, {"temperature": 2}),
    Case(
        "top_logprobs", 2, "of so many at each", None, {"include": ["message.output_text.logprobs"]}
    ),
    Case("include", ["reasoning.encrypted_content"], "no reasoning is encrypted"),
    Case("include", ["file_search_call.results"], "no files are searched"),
    Case("stream", True, "events", effects.streamed),
    Case(
        "stream_options",
        {"include_obfuscation": False},
        "nothing is padded",
        None,
        {"stream": True},
    ),
    Case("tools", [_TOOL], "in the prompt", effects.longer_prompt),
    Case("tools", [{"type": "web_search"}], "no tools run here"),
    Case(
        "tool_choice",
        "required",
        "a call",
        lambda answer, _: _calls(answer) > 0,
        {"tools": [_TOOL], **_NO_LOOPS},
    ),
    Case(
        "parallel_tool_calls",
        False,
        "one call",
        lambda answer, _: _calls(answer) == 1,
        {"tools": [_TOOL], "tool_choice": "required", **_NO_LOOPS},
    ),
    Case("max_tool_calls", 1, "no tools run here"),
    Case("text", _FORMAT, "JSON of this schema", effects.text_is_a(Trip), _NO_LOOPS),
    Case("reasoning", {"effort": "none"}, "no thinking", effects.same_prompt, {"reasoning": None}),
    Case("reasoning", {"effort": "high"}, "thinking", effects.shorter_prompt),
    Case("truncation", "auto", "a prompt is never cut"),
    Case("truncation", "disabled", "the default"),
    Case("store", False, _KEPT_NOWHERE),
    Case("store", True, _KEPT_NOWHERE),
    Case("previous_response_id", "resp_1", _STATELESS),
    Case("conversation", "conv_1", _STATELESS),
    Case("background", True, _STATELESS),
    Case("prompt", {"id": "pmpt_1"}, "no prompts are kept"),
    Case("context_management", [], "a prompt is never cut"),
    Case("moderation", {"type": "auto"}, "nothing is moderated"),
    Case("service_tier", "auto", "there is one tier", effects.field_is("service_tier", "default")),
    Case(
        "metadata",
        {"team": "a"},
        "repeated in the answer",
        effects.field_is("metadata", {"team": "a"}),
    ),
    Case("user", "ada", _KEPT_NOWHERE),
    Case("safety_identifier", "ada", _KEPT_NOWHERE),
    Case("prompt_cache_key", "ada", "routing goes by the prompt itself"),
    Case("prompt_cache_retention", "in-memory", "what is cached is in memory"),
    Case("prompt_cache_options", {}, "prompts are cached by themselves"),
)
