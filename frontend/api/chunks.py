"""Server-sent events of one request. All that never changes within a request is encoded once."""

from typing import Any

import msgspec

_DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class Usage(msgspec.Struct, frozen=True):
    """Token counts as OpenAI reports them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


class ChunkWriter:
    """Encodes the chunks of one streamed answer.

    Args:
        head: id, object, created and model of every chunk.
        around_text: JSON before and after a piece of text within a choice, e.g. `"delta":{"content":` and `}`.
        with_usage: every chunk carries `"usage":null` and a last one the counts (stream_options.include_usage).
    """

    __slots__ = ("_around_text", "_choices", "_end", "_head", "_with_usage")

    def __init__(self, head: dict[str, Any], *, around_text: tuple[bytes, bytes], with_usage: bool) -> None:
        self._head = b"data: " + _encode(head)[:-1]
        self._choices = self._head + b',"choices":[{"index":'
        self._around_text = around_text
        self._with_usage = with_usage
        self._end = b'}],"usage":null}\n\n' if with_usage else b"}]}\n\n"

    def text(self, index: int, text: str, finish_reason: str | None, nvext: dict[str, Any] | None = None) -> bytes:
        """One chunk with a piece of text, and the finish reason and `nvext` if it is the last of its choice."""
        before, after = self._around_text
        return self._chunk(index, before + _encode(text) + after, finish_reason, nvext)

    def delta(self, index: int, delta: bytes, finish_reason: str | None, nvext: dict[str, Any] | None = None) -> bytes:
        """One chunk with a ready-made delta object."""
        return self._chunk(index, b'"delta":' + delta, finish_reason, nvext)

    def last(self, usage: Usage) -> bytes:
        """What ends the stream: the counts if they were asked for, and [DONE]."""
        if not self._with_usage:
            return _DONE
        return self._head + b',"choices":[],"usage":' + _encode(usage.as_json()) + b"}\n\n" + _DONE

    def _chunk(self, index: int, content: bytes, finish_reason: str | None, nvext: dict[str, Any] | None) -> bytes:
        reason = b"null" if finish_reason is None else b'"' + finish_reason.encode() + b'"'
        end = self._end if nvext is None else b'}],"nvext":' + _encode(nvext) + self._end[2:]
        return b"".join((self._choices, b"%d," % index, content, b',"logprobs":null,"finish_reason":', reason, end))
