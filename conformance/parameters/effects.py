"""How an answer shows that a parameter was honoured.

The model knows little: nothing here depends on what it says.
"""

import base64
import json
import math
from collections.abc import Callable
from typing import Any

from conformance.parameters.exchange import Answer

Ask = Callable[..., Answer]


def tokens_made(count: int) -> Callable[[Answer, Ask], bool]:
    """So many tokens were generated, and the answer says that it was cut."""

    def effect(answer: Answer, _: Ask) -> bool:
        made = answer.usage.get("completion_tokens", answer.usage.get("output_tokens"))
        cut = (
            answer.body.get("status") == "incomplete"
            if "output" in answer.body
            else answer.choice["finish_reason"] == "length"
        )
        return made == count and cut

    return effect


def choices(count: int) -> Callable[[Answer, Ask], bool]:
    """So many choices came."""
    return lambda answer, _: len(answer.body["choices"]) == count


def another_text(answer: Answer, ask: Ask) -> bool:
    """The text is not that of the request without it."""
    return answer.text != ask().text


def _prompt_tokens(answer: Answer) -> int:
    return answer.usage["prompt_tokens" if "prompt_tokens" in answer.usage else "input_tokens"]


def longer_prompt(answer: Answer, ask: Ask) -> bool:
    """It went into the prompt."""
    return _prompt_tokens(answer) > _prompt_tokens(ask())


def same_prompt(answer: Answer, ask: Ask) -> bool:
    """The prompt is the one without it: it says what is so anyway."""
    return _prompt_tokens(answer) == _prompt_tokens(ask())


def shorter_prompt(answer: Answer, ask: Ask) -> bool:
    """The prompt does not end with the empty thinking by which the demo model's template switches
    thinking off.
    """
    return _prompt_tokens(answer) < _prompt_tokens(ask())


def greedy_text(answer: Answer, ask: Ask) -> bool:
    """Of all tokens only the likeliest were left."""
    return answer.text == ask(temperature=0).text


def ends_before(stop: str) -> Callable[[Answer, Ask], bool]:
    """The text was ended by `stop`, which is not in it."""
    return lambda answer, ask: (
        answer.choice["finish_reason"] == "stop" and answer.text == ask().text.split(stop)[0]
    )


def one_token_over_and_over(answer: Answer, _: Ask) -> bool:
    """All tokens are the same."""
    text, count = answer.text, answer.usage["completion_tokens"]
    return bool(text) and text == text[: len(text) // count] * count


def streamed(answer: Answer, _: Ask) -> bool:
    """Events came."""
    return len(answer.events) > 1


def usage_at_the_end(answer: Answer, _: Ask) -> bool:
    """The last chunk has the counts and no choice."""
    return (
        answer.events[-1]["choices"] == [] and answer.events[-1]["usage"]["completion_tokens"] > 0
    )


def chat_logprobs(top: int) -> Callable[[Answer, Ask], bool]:
    """Each token of a chat has its log probability, and those of so many others."""

    def effect(answer: Answer, _: Ask) -> bool:
        content = (answer.choice["logprobs"] or {}).get("content") or []
        return len(content) > 0 and all(
            len(token["top_logprobs"]) == top and token["logprob"] <= 0 for token in content
        )

    return effect


def completion_logprobs(answer: Answer, _: Ask) -> bool:
    """Each token of a completion has its log probability."""
    return len(answer.choice["logprobs"]["token_logprobs"]) == answer.usage["completion_tokens"]


def calls(answer: Answer, *names: str) -> list[str]:
    """Arguments of the calls in an answer, which are of these names only."""
    found = [each["function"] for each in answer.choice["message"].get("tool_calls") or []]
    assert {each["name"] for each in found} <= set(names), found
    return [each["arguments"] for each in found]


def calls_only(*names: str) -> Callable[[Answer, Ask], bool]:
    """Some of these functions were called, and no others."""
    return lambda answer, _: bool([json.loads(arguments) for arguments in calls(answer, *names)])


def one_call(answer: Answer, _: Ask) -> bool:
    """Exactly one function was called."""
    return len(answer.choice["message"]["tool_calls"]) == 1


def no_call(answer: Answer, _: Ask) -> bool:
    """No function was called."""
    return not answer.choice["message"].get("tool_calls")


def text_is_a(kind: Any) -> Callable[[Answer, Ask], bool]:
    """The text is JSON of a pydantic model."""
    return lambda answer, _: kind.model_validate_json(answer.text) is not None


def text_begins_an_object(answer: Answer, _: Ask) -> bool:
    """The text is a JSON object, whose end may be cut off: such JSON has no end of its own."""
    return answer.text.lstrip().startswith("{")


def field_is(name: str, value: Any) -> Callable[[Answer, Ask], bool]:
    """The answer repeats it, or what it was taken for."""
    return lambda answer, _: answer.body[name] == value


def vector_of(count: int) -> Callable[[Answer, Ask], bool]:
    """A vector of so many numbers and of length one."""

    def effect(answer: Answer, _: Ask) -> bool:
        vector = answer.body["data"][0]["embedding"]
        return len(vector) == count and math.isclose(math.hypot(*vector), 1, abs_tol=1e-3)

    return effect


def vectors(count: int) -> Callable[[Answer, Ask], bool]:
    """So many vectors came."""
    return lambda answer, _: len(answer.body["data"]) == count


def packed_floats(answer: Answer, _: Ask) -> bool:
    """Base64 of float32s."""
    return len(base64.b64decode(answer.body["data"][0]["embedding"])) == 4 * 384
