"""OpenAI's API had calls before it had tools: `function_call` of the assistant, answered by a
message of the role function.
"""

from typing import Any, cast

from protocol.errors import InvalidRequest


class OlderCalls:
    """An OlderCalls rewrites the `function_call` and function messages of one conversation, in its
    order, as the tool calls that they are: templates know no others.
    """

    def __init__(self) -> None:
        self._open_id: str | None = None
        """Holds the id of the call that waits for its result."""

    def rewrite_call(self, message: dict[str, Any], at: int) -> None:
        """Makes a tool call of the `function_call` of the assistant's message, if it has one.

        Raises:
            InvalidRequest: it is no call.
        """
        call = message.pop("function_call", None)
        if call is None:
            return
        name = cast("dict[str, Any]", call).get("name") if isinstance(call, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest(
                "function_call must be an object with a name.",
                param=f"messages[{at}].function_call",
            )
        if message.get("tool_calls"):
            raise InvalidRequest(
                "function_call and tool_calls exclude each other.",
                param=f"messages[{at}].function_call",
            )
        self._open_id = _id_at(at)
        message["tool_calls"] = [{"id": self._open_id, "type": "function", "function": call}]

    def rewrite_result(self, message: dict[str, Any], at: int) -> None:
        """Makes a tool's result of a message of the role function."""
        message["role"] = "tool"
        message["tool_call_id"] = self._open_id or _id_at(at)
        self._open_id = None


def _id_at(at: int) -> str:
    """Returns an id of nine letters and digits, since some templates take no others."""
    return f"call{at:05d}"
