"""The response object and its output items are made here."""

from typing import Any, Final

from frontend.api.answers.blocks import Block
from frontend.api.answers.chunks import Usage
from frontend.api.fields.custom_tools import custom_input
from frontend.api.responses.schemas import ResponsesRequest
from frontend.api.responses.tools import OfferedTools
from frontend.http.json_slices import Rows
from frontend.inflight.choice import Choice
from protocol.errors import MeshError
from protocol.generation import ToolCall

_PREFIXES: Final = {"reasoning": "rs", "text": "msg", "call": "fc"}
_NO_SCHEMA: Final[dict[str, Any]] = {"strict": None, "parameters": None}
_STATUSES: Final = {"length": "incomplete", "abort": "cancelled"}


def head_of(request: ResponsesRequest, request_id: str, created_unix_s: int) -> dict[str, Any]:
    """Returns the fields of a response that do not change while it is made."""
    text = request.text
    return {
        "id": "resp_" + request_id,
        "object": "response",
        "created_at": created_unix_s,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": request.metadata or {},
        "model": request.model,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": request.reasoning.effort if request.reasoning else None,
            "summary": None,
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": request.temperature,
        "text": {
            "format": {"type": "text"} if text is None or text.format is None else text.format
        },
        "tool_choice": request.tool_choice or "auto",
        "tools": [
            _NO_SCHEMA | tool if tool.get("type") == "function" else tool
            for tool in request.tools or ()
        ],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def finished_fields(choice: Choice, output: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    """Returns the fields of a response that has finished, to go over its head."""
    reason = (
        {"incomplete_details": {"reason": "max_output_tokens"}}
        if choice.finish_reason == "length"
        else {}
    )
    return {"status": status_of(choice), "output": output, "usage": _usage(usage), **reason}


def failed_fields(error: MeshError, output: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the fields of a response that failed in its midst, to go over its head."""
    return {
        "status": "failed",
        "error": {"code": "server_error", "message": error.message},
        "output": output,
        "usage": None,
    }


def status_of(choice: Choice) -> str:
    """Returns the status of a response whose choice has finished: completed, incomplete or
    cancelled.
    """
    return _STATUSES.get(choice.finish_reason or "", "completed")


class Items:
    """An Items makes the output items of one response.

    Args:
        offered: what calls are calls of.
    """

    def __init__(self, request_id: str, offered: OfferedTools) -> None:
        self._request_id = request_id
        self._offered = offered

    def name(self, block: Block) -> str:
        """Returns the id of a block's item."""
        prefix = "ctc" if self.is_custom(block) else _PREFIXES[block.kind]
        return f"{prefix}_{self._request_id}_{block.index}"

    def is_custom(self, block: Block) -> bool:
        """Tells whether a block is a call of a custom tool."""
        return block.call is not None and self._offered.name_of(block.call.name).kind == "custom"

    def item(
        self, block: Block, status: str, logprobs: list[dict[str, Any]] | Rows
    ) -> dict[str, Any]:
        """Returns a block as an output item.

        Args:
            status: in_progress, completed or incomplete. One in progress has no content yet.
            logprobs: of its text.
        """
        name, begun = self.name(block), status != "in_progress"
        if block.call is not None:
            return self._call(
                block.call, block.text if begun else "", {"id": name, "status": status}
            )
        part = part_of(block, block.text, logprobs)
        if block.kind == "text":
            return {
                "type": "message",
                "id": name,
                "status": status,
                "role": "assistant",
                "content": [part] if begun else [],
            }
        return {
            "type": "reasoning",
            "id": name,
            "status": status,
            "summary": [],
            "content": [part] if begun else [],
        }

    def _call(self, call: ToolCall, arguments: str, head: dict[str, Any]) -> dict[str, Any]:
        tool = self._offered.name_of(call.name)
        known_as = {"call_id": call.call_id, "name": tool.name} | (
            {} if tool.namespace is None else {"namespace": tool.namespace}
        )
        if tool.kind == "custom":
            return {
                "type": "custom_tool_call",
                **head,
                **known_as,
                "input": custom_input(arguments),
            }
        return {"type": "function_call", **head, **known_as, "arguments": arguments}


def part_of(block: Block, text: str, logprobs: list[dict[str, Any]] | Rows) -> dict[str, Any]:
    """Returns the one content part of a block of text or thinking."""
    if block.kind == "text":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
    return {"type": "reasoning_text", "text": text}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
