"""Log probabilities are asked of the engine here, and told in OpenAI's two forms.

Tokens are told up to and including the one that completed a stop string; a stop token and what the
engine made behind a stop string are not (frontend.inflight.generation cuts them). A token that is
part of a character has U+FFFD for text and its true bytes beside it.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from frontend.api.answers.text_offsets import TextOffsets
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.http.json_slices import Rows
from frontend.models.served import ServedModel
from protocol.generation import Logprobs, LogprobsWanted
from protocol.tokens import unpack_tokens

LOGPROB_MIN: Final = -9999.0
"""Stands for minus infinity, which JSON does not have; it is OpenAI's own stand-in."""

ENTRIES_MAX: Final = 4_096
"""One answer remembers the texts of so many tokens; after that it begins anew."""


def logprobs_wanted(request: ChatCompletionRequest | CompletionRequest) -> LogprobsWanted | None:
    """Returns which log probabilities the engine is to be asked for; None if none are wanted."""
    if isinstance(request, CompletionRequest):
        asked, of_prompt = request.logprobs, bool(request.echo and request.logprobs is not None)
    else:
        asked, of_prompt = (request.top_logprobs or 0) if request.logprobs else None, False
    beside = request.prompt_logprobs
    if beside is not None:
        return LogprobsWanted(max(asked or 0, beside), of_prompt=True)
    return None if asked is None else LogprobsWanted(asked, of_prompt=of_prompt)


class Score(NamedTuple):
    """A Score is one token with its log probability and the likeliest tokens at its place,
    likeliest first.
    """

    token_id: int
    logprob: float | None
    """Is None for the first token of a prompt, which nothing precedes."""
    top: list[tuple[int, float]]


def scores(packed: bytes, parts: Sequence[Logprobs]) -> Iterator[Score]:
    """Yields the scores of the tokens `packed` (u32); what is told of further ones is left out."""
    token_ids = iter(unpack_tokens(packed))
    for part in parts:
        chosen, top_ids, top_values = (
            array("f", part.chosen),
            unpack_tokens(part.top_ids),
            array("f", part.top_values),
        )
        k = part.top
        for row, (value, token_id) in enumerate(zip(chosen, token_ids, strict=False)):
            top = zip(
                top_ids[row * k : row * k + k], top_values[row * k : row * k + k], strict=True
            )
            logprob = None if math.isnan(value) else max(value, LOGPROB_MIN)
            yield Score(
                token_id,
                logprob,
                [(other, max(at, LOGPROB_MIN)) for other, at in top if not math.isnan(at)],
            )


Scored = Sequence[tuple[bytes, Sequence[Logprobs]]]
"""Scored are pieces of tokens, packed u32, each with its log probabilities."""


def each_score(scored: Scored) -> Iterator[Score]:
    """Yields the scores of all pieces, one after the other."""
    for packed, parts in scored:
        yield from scores(packed, parts)


class TokenTexts:
    """A TokenTexts knows what single tokens look like to the client.

    Args:
        as_ids: `token_id:ID` instead of text (return_tokens_as_token_ids), from which the id can be
        had again.
    """

    def __init__(self, served: ServedModel, *, as_ids: bool) -> None:
        self._served = served
        self._as_ids = as_ids
        self._entries: dict[int, tuple[str, list[int]]] = {}
        """Holds text and bytes of tokens that were told, since the likeliest ones come again and
        again.
        """

    def text(self, token_id: int) -> str:
        """Returns the text of a token by itself, or `token_id:ID` if ids are wanted."""
        return (
            f"token_id:{token_id}"
            if self._as_ids
            else self._served.token_bytes(token_id).decode(errors="replace")
        )

    def chat_entry(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        """Returns a token as `logprobs` of a chat tell it: its text, log probability and bytes."""
        entry = self._entries.get(token_id)
        if entry is None:
            if len(self._entries) >= ENTRIES_MAX:
                self._entries.clear()
            entry = self._entries[token_id] = (
                self.text(token_id),
                list(self._served.token_bytes(token_id)),
            )
        return {"token": entry[0], "logprob": logprob, "bytes": entry[1]}


def chat_rows(texts: TokenTexts, told: Scored, top: int | None = None) -> Iterator[dict[str, Any]]:
    """Yields the entries of a chat's `logprobs` object, one for each token; arguments as
    `chat_logprobs`.
    """
    for score in each_score(told):
        others = [texts.chat_entry(*other) for other in score.top[:top]]
        yield {**texts.chat_entry(score.token_id, score.logprob), "top_logprobs": others}


def chat_logprobs(texts: TokenTexts, told: Scored, top: int | None = None) -> dict[str, Any]:
    """Returns the `logprobs` object of a chat's choice or chunk: pieces of tokens (packed u32) with
    their log probabilities.

    Args:
        top: how many of the likeliest tokens are told, where the engine was asked for more; None:
        all.
    """
    return {"content": list(chat_rows(texts, told, top)), "refusal": None}


class CompletionLogprobs:
    """A CompletionLogprobs writes the `logprobs` objects of one choice of /v1/completions, whose
    offsets count on from chunk to chunk.

    Args:
        skip_special_tokens: as in the text that the offsets point into.
        top: how many of the likeliest tokens are told, where the engine was asked for more.
    """

    def __init__(
        self,
        texts: TokenTexts,
        served: ServedModel,
        *,
        skip_special_tokens: bool,
        top: int | None = None,
    ) -> None:
        self._texts = texts
        self._offsets = TextOffsets(served, skip_special_tokens=skip_special_tokens)
        self._top_told = top

    def echoed(self, text: str, prompt: bytes, part: Logprobs) -> dict[str, Any]:
        """Returns the object of the prompt (packed u32), which is shown as `text`.

        To be asked before anything of the output.
        """
        told = self.told([(prompt, [part])])
        self._offsets.begin_at(len(text))
        return told

    def told(self, pieces: Scored) -> dict[str, Any]:
        """Returns the object of the choice's next tokens."""
        offsets: list[int] = []
        tokens: list[str] = []
        values: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        for score in each_score(pieces):
            offsets.append(self._offsets.of_next(score.token_id))
            tokens.append(self._texts.text(score.token_id))
            values.append(score.logprob)
            tops.append(self._top(score))
        return {
            "text_offset": offsets,
            "tokens": tokens,
            "token_logprobs": values,
            "top_logprobs": tops,
        }

    def columns(
        self, shown: str, prompt: tuple[bytes, Sequence[Logprobs]] | None, output: Scored
    ) -> dict[str, Rows]:
        """Returns the object of a whole answer, whose columns are made one by one while it is sent.

        Args:
            shown: the text that the prompt is echoed as.
            prompt: its tokens with their log probabilities, if those are told.
        """
        every = [*([] if prompt is None else [prompt]), *output]

        def offsets() -> Iterator[int]:
            if prompt is not None:
                yield from (self._offsets.of_next(score.token_id) for score in each_score([prompt]))
                self._offsets.begin_at(len(shown))
            yield from (self._offsets.of_next(score.token_id) for score in each_score(output))

        return {
            "text_offset": Rows(offsets),
            "tokens": Rows(
                lambda: (self._texts.text(score.token_id) for score in each_score(every))
            ),
            "token_logprobs": Rows(lambda: (score.logprob for score in each_score(every))),
            "top_logprobs": Rows(lambda: (self._top(score) for score in each_score(every))),
        }

    def _top(self, score: Score) -> dict[str, float] | None:
        """Returns log probabilities by text, as OpenAI has it: of two tokens that look the same the
        likelier.

        The token itself is always there.
        """
        if score.logprob is None:
            return None
        top: dict[str, float] = {}
        for token_id, logprob in (*score.top[: self._top_told], (score.token_id, score.logprob)):
            top.setdefault(self._texts.text(token_id), logprob)
        return top


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Joins two `logprobs` objects of one completions choice into one."""
    return {name: first[name] + second[name] for name in first}
