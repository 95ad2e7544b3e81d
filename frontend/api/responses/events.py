"""A response is streamed as events that are numbered from 0."""

from typing import Any

from frontend.api.answers.blocks import Block, BlockSequence, Closed, Move, Opened
from frontend.api.answers.chunks import Usage
from frontend.api.fields.custom_tools import custom_input
from frontend.api.responses.answers import Items, failed_fields, finished_fields, part_of, status_of
from frontend.http.sse import named_event
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain
from protocol.error_answers import error_body
from protocol.errors import MeshError


class ResponseStream:
    """A ResponseStream writes the events of one response, those of its failure too (it is an
    ErrorForm).

    Args:
        head: `answers.head_of`.
        items: what blocks are to the client.
    """

    def __init__(self, head: dict[str, Any], items: Items) -> None:
        self._head = head
        self._items = items
        self._sequence = BlockSequence()
        self._number = 0
        self._logprobs: list[dict[str, Any]] = []
        """Holds the log probabilities of the open text."""
        self._untold: list[dict[str, Any]] = []
        """Holds the log probabilities of tokens that have shown no text yet."""
        self._done: list[dict[str, Any]] = []
        """Holds the items that are complete."""

    def begin(self) -> bytes:
        """Returns the first events; none if there were some."""
        if self._number:
            return b""
        response: dict[str, Any] = {
            **self._head,
            "status": "in_progress",
            "output": [],
            "usage": None,
        }
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def gained(self, gain: Gain, logprobs: list[dict[str, Any]]) -> bytes:
        """Returns the events of what was gained, with the log probabilities of its tokens, if they
        are told.
        """
        self._untold += logprobs
        return b"".join([self._moved(move, "completed") for move in self._sequence.take(gain)])

    def end(self, choice: Choice, usage: Usage) -> bytes:
        """Returns the last events."""
        status = status_of(choice)
        last = "completed" if status == "completed" else "incomplete"
        closing = [self._moved(move, last) for move in self._sequence.end()]
        response = {**self._head, **finished_fields(choice, self._done, usage)}
        kind = "response.incomplete" if status == "incomplete" else "response.completed"
        return b"".join([*closing, self._event(kind, response=response)])

    def body(self, error: MeshError) -> bytes:
        """Returns the error as a body, in OpenAI's form."""
        return error_body(error)

    def events(self, error: MeshError) -> bytes:
        """Returns the events that end the response as failed."""
        return self.begin() + self._event(
            "response.failed", response={**self._head, **failed_fields(error, self._done)}
        )

    def _moved(self, move: Move, status: str) -> bytes:
        block = move.block
        if isinstance(move, Opened):
            return self._opened(block)
        if isinstance(move, Closed):
            return self._closed(block, status)
        if self._items.is_custom(block):
            return b""  # the input is within JSON that must come to its end first
        if block.call is not None:
            return self._of(block, "response.function_call_arguments.delta", delta=move.piece)
        if block.kind == "reasoning":
            return self._of(
                block, "response.reasoning_text.delta", content_index=0, delta=move.piece
            )
        logprobs = self._tell_logprobs()
        return self._of(
            block,
            "response.output_text.delta",
            content_index=0,
            delta=move.piece,
            logprobs=logprobs,
        )

    def _tell_logprobs(self) -> list[dict[str, Any]]:
        told, self._untold = self._untold, []
        self._logprobs += told
        return told

    def _opened(self, block: Block) -> bytes:
        item = self._items.item(block, "in_progress", [])
        added = self._event("response.output_item.added", output_index=block.index, item=item)
        if block.call is not None:
            return added
        self._logprobs = []
        return added + self._of(
            block, "response.content_part.added", content_index=0, part=part_of(block, "", [])
        )

    def _closed(self, block: Block, status: str) -> bytes:
        text = block.text
        if self._items.is_custom(block):
            told = custom_input(text)
            done = self._of(block, "response.custom_tool_call_input.delta", delta=told)
            done += self._of(block, "response.custom_tool_call_input.done", input=told)
        elif block.call is not None:
            done = self._of(
                block, "response.function_call_arguments.done", name=block.call.name, arguments=text
            )
        elif block.kind == "reasoning":
            done = self._of(block, "response.reasoning_text.done", content_index=0, text=text)
        else:
            self._tell_logprobs()
            done = self._of(
                block,
                "response.output_text.done",
                content_index=0,
                text=text,
                logprobs=self._logprobs,
            )
        if block.call is None:
            done += self._of(
                block,
                "response.content_part.done",
                content_index=0,
                part=part_of(block, text, self._logprobs),
            )
        item = self._items.item(block, status, self._logprobs)
        self._done.append(item)
        return done + self._event("response.output_item.done", output_index=block.index, item=item)

    def _of(self, block: Block, kind: str, **fields: Any) -> bytes:
        return self._event(
            kind, item_id=self._items.name(block), output_index=block.index, **fields
        )

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return named_event(event)
