"""Tells what a worker may send for one request: what was asked for and no more. Pure."""

from typing import Final

from protocol.diffusion import Diffuse, Diffused
from protocol.embedding import Embed, Embedded
from protocol.encoding import Encoded
from protocol.generation import Content, Extras, Finished, Generate, Logprobs, Reasoning
from protocol.replies import Delta, Failed
from protocol.requests import Work
from protocol.tokens import count_tokens

TEXT_CHARS_PER_TOKEN: Final = 1_024
"""Bounds the text of one token: the longest tokens of known vocabularies have some hundred
characters, and a parser may tell of a character twice.
"""

PART_CHARS: Final = 64
"""Is what a part without text counts for, in characters."""

EXTRA_BYTES: Final = 64 * 1024
"""Is allowed beside all that is counted, for names and ids of tool calls."""


class Allowance:
    """An Allowance bounds what a worker may send for one request, by what the request asks for.

    It bounds what is kept of a compromised worker's output, in a message and altogether; whether it
    means anything is looked at where it is used.

    Attributes:
        tokens_max: what is no more than this and brings neither extras nor the end need not be
        judged: every token of every stream.
    """

    __slots__ = ("_bytes_per_token", "_bytes_received", "_ends", "_prompt_bytes", "tokens_max")

    def __init__(self, request: Work) -> None:
        self._bytes_received = self._bytes_per_token = self._prompt_bytes = self.tokens_max = 0
        self._ends: tuple[type, ...] = (Finished, Failed)
        if isinstance(request, Diffuse):
            # a job ends so that is thrown away through another frontend
            self._ends = (Diffused, Finished, Failed)
            return
        if isinstance(request, Embed):
            # a text ends so that an operator of its worker has aborted
            self._ends = (Embedded, Finished, Failed)
            return
        if not isinstance(request, Generate):
            self._ends = (Encoded, Failed)
            return
        self.tokens_max = max(1, request.sampling.max_new_tokens)
        if request.reading is not None:
            self._bytes_per_token = TEXT_CHARS_PER_TOKEN
        if request.logprobs is not None:
            scores = 4 + 8 * request.logprobs.top
            self._bytes_per_token += scores
            self._prompt_bytes = (
                scores * count_tokens(request.token_ids) if request.logprobs.of_prompt else 0
            )

    def exceeded(self, delta: Delta, tokens_received: int) -> bool:
        """Returns whether the request got more than it asked for, or another kind of answer.

        Args:
            tokens_received: with this delta.
        """
        end = delta.end
        if tokens_received > self.tokens_max:
            return True
        if end is not None and type(end) not in self._ends:
            return True
        if delta.extras is None:
            return False
        self._bytes_received += _size(delta.extras)
        return (
            self._bytes_received
            > EXTRA_BYTES + self._prompt_bytes + self._bytes_per_token * tokens_received
        )


def _size(extras: Extras) -> int:
    texts = 0 if extras.progress is None else PART_CHARS
    for part in extras.parts:
        text = (
            part.text
            if isinstance(part, Content | Reasoning)
            else part.arguments + part.name + part.call_id
        )
        texts += len(text) or PART_CHARS
    return texts + _scores_size(extras.logprobs) + _scores_size(extras.prompt_logprobs)


def _scores_size(scores: Logprobs | None) -> int:
    return (
        0 if scores is None else len(scores.chosen) + len(scores.top_ids) + len(scores.top_values)
    )
