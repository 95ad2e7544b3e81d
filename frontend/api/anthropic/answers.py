"""What a chat gains becomes Anthropic's message, as a whole or as a stream of events."""

from typing import Any, Final

import msgspec

from frontend.api.answers.blocks import Block, BlockSequence, Closed, Move, Opened, blocks_of
from frontend.api.answers.chunks import Usage
from frontend.api.anthropic.conversion import TOOL_ID_PREFIX
from frontend.http.sse import named_event
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Answer, Gain

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "abort": "end_turn",
}


class MessageWriter:
    """A MessageWriter writes one of Anthropic's messages, as an object or as events.

    Args:
        thoughts_shown: False leaves the text of the thinking out.
        max_tokens: that the client asked for. An answer with fewer that was cut off has come to the
        end of the context.
        manages_context: the client asked for edits of the context, and is told that none were made.
    """

    def __init__(
        self,
        message_id: str,
        model: str,
        *,
        thoughts_shown: bool,
        max_tokens: int,
        manages_context: bool,
    ) -> None:
        self._head: dict[str, Any] = {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
        }
        self._thoughts_shown = thoughts_shown
        self._max_tokens = max_tokens
        self._context_management: dict[str, Any] = (
            {"context_management": {"applied_edits": []}} if manages_context else {}
        )
        self._sequence = BlockSequence()

    def whole(self, answer: Answer, choice: Choice, usage: Usage) -> dict[str, Any]:
        """Returns the message as one object."""
        content = [
            self._block(block) for block in blocks_of(answer.reasoning, answer.text, answer.calls)
        ]
        return {
            **self._head,
            "content": content,
            **self._stop(choice),
            "usage": _usage(usage),
            **self._context_management,
        }

    def begin(self, usage: Usage) -> bytes:
        """Returns the first events; `usage` is what is counted so far."""
        message: dict[str, Any] = {
            **self._head,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(usage),
        }
        return named_event({"type": "message_start", "message": message}) + named_event(
            {"type": "ping"}
        )

    def gained(self, gain: Gain) -> bytes:
        """Returns the events of what was gained."""
        return b"".join([self._event(move) for move in self._sequence.take(gain)])

    def end(self, choice: Choice, usage: Usage) -> bytes:
        """Returns the last events."""
        last = {
            "type": "message_delta",
            "delta": self._stop(choice),
            "usage": _usage(usage),
            **self._context_management,
        }
        closing = [self._event(move) for move in self._sequence.end()]
        return b"".join([*closing, named_event(last), named_event({"type": "message_stop"})])

    def _event(self, move: Move) -> bytes:
        block = move.block
        if isinstance(move, Opened):
            return named_event(
                {
                    "type": "content_block_start",
                    "index": block.index,
                    "content_block": _opened(block),
                }
            )
        if isinstance(move, Closed):
            return named_event({"type": "content_block_stop", "index": block.index})
        if block.kind == "reasoning" and not self._thoughts_shown:
            return b""
        return named_event(
            {
                "type": "content_block_delta",
                "index": block.index,
                "delta": _delta(block, move.piece),
            }
        )

    def _stop(self, choice: Choice) -> dict[str, Any]:
        if choice.matched_stop is not None and choice.finish_reason == "stop":
            return {"stop_reason": "stop_sequence", "stop_sequence": choice.matched_stop}
        if choice.finish_reason == "length" and choice.completion_tokens < self._max_tokens:
            return {"stop_reason": "model_context_window_exceeded", "stop_sequence": None}
        return {"stop_reason": _STOP_REASONS[choice.finish_reason or "stop"], "stop_sequence": None}

    def _block(self, block: Block) -> dict[str, Any]:
        opened = _opened(block)
        if block.call is not None:
            return opened | {"input": _arguments(block.text)}
        if block.kind == "text":
            return opened | {"text": block.text}
        return opened | {"thinking": block.text if self._thoughts_shown else ""}


def _opened(block: Block) -> dict[str, Any]:
    if block.call is not None:
        return {
            "type": "tool_use",
            "id": TOOL_ID_PREFIX + block.call.call_id,
            "name": block.call.name,
            "input": {},
        }
    if block.kind == "text":
        return {"type": "text", "text": ""}
    return {"type": "thinking", "thinking": "", "signature": ""}


def _delta(block: Block, piece: str) -> dict[str, Any]:
    if block.call is not None:
        return {"type": "input_json_delta", "partial_json": piece}
    if block.kind == "text":
        return {"type": "text_delta", "text": piece}
    return {"type": "thinking_delta", "thinking": piece}


def _arguments(text: str) -> Any:
    """Returns the input of a tool. What a model wrote, or was cut off from writing, need not be
    JSON.
    """
    try:
        return msgspec.json.decode(text) if text.strip() else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {"raw_arguments": text}


def _usage(usage: Usage) -> dict[str, Any]:
    """Returns Anthropic's usage object, whose `input_tokens` are those that were not cached."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
