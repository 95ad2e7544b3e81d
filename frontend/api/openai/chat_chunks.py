"""What a choice of a streamed chat gained is told in chunks."""

import msgspec

from frontend.api.answers.chunks import NULL, ChunkWriter, Last
from frontend.api.answers.logprobs import TokenTexts, chat_logprobs
from frontend.api.answers.token_fields import StreamedIds, with_prompt_ids
from frontend.api.fields.chat_wishes import change
from frontend.api.fields.custom_tools import CallStream
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.openai.chat_objects import delta_of
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain

_encode = msgspec.json.Encoder().encode


class ChatChunks:
    """A ChatChunks makes the chunks of one streamed chat.

    An object with slots in place of a function within a function: of that, each call touches a cell
    for every name, which are as many lines of memory and cold with hundreds of streams.

    Args:
        texts: of its tokens, for log probabilities.
        prompt: its tokens, packed u32.
        custom: the names of custom tools.
    """

    __slots__ = ("_begun", "_calls", "_changed", "_ids", "_prompt", "_request", "_texts", "_writer")

    def __init__(
        self,
        writer: ChunkWriter,
        texts: TokenTexts,
        request: ChatCompletionRequest,
        prompt: bytes,
        custom: frozenset[str],
    ) -> None:
        self._writer = writer
        self._texts = texts
        self._request = request
        self._prompt = prompt
        self._begun: set[int] = set()
        """Holds the indexes of the choices that have begun: one for each choice at most."""
        self._calls = CallStream(custom) if custom else None
        self._ids = StreamedIds() if request.return_token_ids else None
        self._changed = (
            bool(request.echo) or request.include_reasoning is False or self._ids is not None
        )

    def chunk(self, choice: Choice, gain: Gain, last: Last | None) -> bytes:
        """Returns the chunk of what a choice gained; `last` belongs to its last one."""
        logprobs, index = NULL, choice.index
        first = index not in self._begun
        if gain.token_ids or (last is not None and self._request.logprobs):
            logprobs = _encode(chat_logprobs(self._texts, [(gain.token_ids, gain.logprobs)]))
        if self._changed:
            change(gain, self._request, first=first)
            logprobs += b"" if self._ids is None else self._ids.fragment(choice)
        calls = self._calls
        if (
            first
            or gain.reasoning
            or gain.calls
            or not gain.text
            or (last is not None and calls is not None)
        ):
            deltas = (
                None if calls is None else calls.deltas(index, gain.calls, ended=last is not None)
            )
            told = self._writer.delta(
                index, _encode(delta_of(gain, deltas, first=first)), last, logprobs
            )
            if self._ids is not None and not self._begun:
                told = with_prompt_ids(told, self._prompt)
            self._begun.add(index)
            return told
        return self._writer.text(index, gain.text, last, logprobs)
