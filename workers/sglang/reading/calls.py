"""The ids of an answer's tool calls are the same on whichever worker the answer goes on."""

from hashlib import sha256
from typing import Any, Final

from sglang.srt.function_call.core_types import ToolCallItem

_NUMBERED: Final = ("kimi_k2", "kimi_k3")
"""Models with these parsers read the number of a call in its id, so SGLang names theirs
`functions.NAME:NUMBER` and `NAME:NUMBER`.
"""

_ID_HEX_DIGITS: Final = 24
"""The id of a call has this many hex digits, as OpenAI's."""


class CallIds:
    """CallIds makes ids from the id of the request's first leg, which every choice has for itself,
    and the call's index.

    Args:
        serving: SGLang's chat serving.
        first_request_id: under which the choice went out first.
        calls_before: tool calls in the messages.
    """

    __slots__ = ("_calls_before", "_first_request_id", "_serving")

    def __init__(self, serving: Any, first_request_id: str, calls_before: int) -> None:
        self._serving = serving
        self._first_request_id = first_request_id
        self._calls_before = calls_before

    def of(self, index: int, name: str) -> str:
        """Returns the id of the answer's call number `index`, from 0, to the function `name`."""
        if self._serving.tool_call_parser in _NUMBERED:
            call = ToolCallItem(tool_index=index, name=name, parameters="")
            return self._serving._process_tool_call_id(call, self._calls_before)
        digest = sha256(f"{self._first_request_id}:{index}".encode()).hexdigest()
        return f"call_{digest[:_ID_HEX_DIGITS]}"
