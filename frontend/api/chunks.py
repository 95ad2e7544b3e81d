"""Server-sent events of one request. All that never changes within a request is encoded once."""

from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class Usage(msgspec.Struct, frozen=True):
    """Token counts as OpenAI reports them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


class ChunkWriter:
    """Encodes the chunks of one streamed answer.

    Args:
        head: id, object, created and model of every chunk.
        text_key: JSON around a piece of text within a choice, e.g. `"delta":{"content":` and `}`.
        with_usage: every chunk carries `"usage":null` and a last one the counts (stream_options.include_usage).
    """

    __slots__ = ("_after", "_before", "_end", "_head", "_usage")

    def __init__(self, head: dict[str, Any], *, text_key: tuple[bytes, bytes], with_usage: bool) -> None:
        self._head = _encode(head)[:-1]
        self._before = b"data: " + self._head + b',"choices":[{"index":'
        self._after = text_key
        self._usage = b',"usage":null' if with_usage else b""
        self._end = b"}]" + self._usage + b"}\n\n"

    def text(self, index: int, text: str, finish_reason: str | None) -> bytes:
        """One chunk with a piece of text, and the finish reason if it is the last of its choice."""
        opened, closed = self._after
        reason = b"null" if finish_reason is None else b'"' + finish_reason.encode() + b'"'
        return b"".join(
            (self._before, b"%d," % index, opened, _encode(text), closed, b',"logprobs":null,"finish_reason":', reason, self._end)
        )

    def delta(self, index: int, delta: bytes, finish_reason: str | None) -> bytes:
        """One chunk with a ready-made delta object."""
        reason = b"null" if finish_reason is None else b'"' + finish_reason.encode() + b'"'
        return b"".join((self._before, b'%d,"delta":' % index, delta, b',"logprobs":null,"finish_reason":', reason, self._end))

    def usage(self, usage: Usage) -> bytes:
        """The last chunk: no choices, the counts."""
        return b"data: " + self._head + b',"choices":[],"usage":' + _encode(usage.as_json()) + b"}\n\n"
