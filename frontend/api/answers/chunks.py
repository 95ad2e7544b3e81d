"""Chunks of OpenAI's streams are made here; what is the same in a whole answer is encoded once."""

from typing import Any, NamedTuple

import msgspec

_DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode

NULL = b"null"


class Usage(msgspec.Struct, frozen=True):
    """A Usage counts the tokens of an answer, as OpenAI reports them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    image_tokens: int = 0
    video_tokens: int = 0
    audio_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns OpenAI's usage object."""
        details = {"cached_tokens": self.cached_tokens}
        if self.image_tokens or self.video_tokens or self.audio_tokens:
            media = {
                "image_tokens": self.image_tokens,
                "video_tokens": self.video_tokens,
                "audio_tokens": self.audio_tokens,
            }
            details |= {name: tokens for name, tokens in media.items() if tokens}
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": details,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


class Last(NamedTuple):
    """A Last is what the last chunk of a choice says beside its text."""

    finish_reason: str
    ended_by: dict[str, Any]
    """Holds the fields `matched_stop` and `stop_reason` of the choice."""
    beside: dict[str, Any]
    """Holds the fields that the chunk has beside its choices, as `nvext`."""


class ChunkWriter:
    """A ChunkWriter encodes the chunks of one streamed answer as server-sent events.

    Args:
        head: id, object, created and model of every chunk.
        around_text: JSON before and after a piece of text within a choice, e.g.
        `"delta":{"content":` and `}`.
        with_usage: every chunk carries `"usage":null`, or the counts so far once `count` was
        called, and a last one the counts
            (stream_options.include_usage).
    """

    __slots__ = (
        "_around_text",
        "_begin",
        "_choices",
        "_end",
        "_head",
        "_plain_end",
        "_told",
        "_with_usage",
    )

    def __init__(
        self, head: dict[str, Any], *, around_text: tuple[bytes, bytes], with_usage: bool
    ) -> None:
        self._head = b"data: " + _encode(head)[:-1]
        self._choices = self._head + b',"choices":[{"index":'
        self._around_text = around_text
        self._with_usage = with_usage
        self._told = 0
        self._begin = self._beginning(0)
        """Is what pieces of text begin with of the choice `_told`, of which one was told last."""
        self._end_with(b'}],"usage":null}\n\n' if with_usage else b"}]}\n\n")

    def count(self, usage: Usage) -> None:
        """Makes further chunks carry these counts (stream_options.continuous_usage_stats)."""
        self._end_with(b'}],"usage":' + _encode(usage.as_json()) + b"}\n\n")

    def _end_with(self, end: bytes) -> None:
        self._end = end
        self._plain_end = self._around_text[1] + b',"logprobs":null,"finish_reason":null' + end

    def text(
        self, index: int, text: str, last: Last | None = None, logprobs: bytes = NULL
    ) -> bytes:
        """Returns one chunk with a piece of text.

        Args:
            logprobs: of its tokens, in JSON.
        """
        if last is None and logprobs is NULL:  # nearly all: only the text is anew
            if index != self._told:
                self._told, self._begin = index, self._beginning(index)
            return self._begin + _encode(text) + self._plain_end
        before, after = self._around_text
        return self._chunk(index, before + _encode(text) + after, last, logprobs)

    def _beginning(self, index: int) -> bytes:
        return self._choices + b"%d," % index + self._around_text[0]

    def delta(
        self, index: int, delta: bytes, last: Last | None = None, logprobs: bytes = NULL
    ) -> bytes:
        """Returns one chunk with a ready-made delta object in JSON."""
        return self._chunk(index, b'"delta":' + delta, last, logprobs)

    def last(self, usage: Usage, sglext: dict[str, Any] | None = None) -> bytes:
        """Returns what ends the stream: `sglext` if there is one and the counts if they were asked
        for, each in a chunk without choices, and [DONE].
        """
        told = b""
        if sglext is not None:
            told = self._head + b',"choices":[],"sglext":' + _encode(sglext)
            told += self._end[2:]
        if self._with_usage:
            told += self._head + b',"choices":[],"usage":' + _encode(usage.as_json()) + b"}\n\n"
        return told + _DONE

    def _chunk(self, index: int, content: bytes, last: Last | None, logprobs: bytes) -> bytes:
        reason, end = NULL, self._end
        if last is not None:
            reason = b'"' + last.finish_reason.encode() + b'",' + _encode(last.ended_by)[1:-1]
            if last.beside:
                end = b"}]," + _encode(last.beside)[1:-1] + end[2:]
        return b"".join(
            (
                self._choices,
                b"%d," % index,
                content,
                b',"logprobs":',
                logprobs,
                b',"finish_reason":',
                reason,
                end,
            )
        )
