"""What a choice gains becomes SGLang's output object, which holds all of it so far each time."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from frontend.api.answers.cached_details import cached_details
from frontend.api.answers.logprobs import Score, Scored, TokenTexts, each_score
from frontend.api.native.schemas import GenerateRequest
from frontend.http.json_slices import Rows
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain
from protocol.generation import Logprobs
from protocol.tokens import count_tokens, unpack_tokens


class OutputWriter:
    """An OutputWriter writes SGLang's output objects of one choice.

    Args:
        texts: what tokens look like, where log probabilities bear their text; None where they do
        not.
        weights_of: returns the name of the weights of a choice's worker, if it is there.
        started_s: when the request came, on the monotonic clock.
    """

    def __init__(
        self,
        request: GenerateRequest,
        rid: str,
        prompt: bytes,
        texts: TokenTexts | None,
        *,
        weights_of: Callable[[Choice], str | None],
        started_s: float,
    ) -> None:
        self._request = request
        self._rid = rid
        self._prompt = prompt
        self._texts = texts
        self._weights_of = weights_of
        self._started_s = started_s
        self._text = ""
        self._scored: dict[str, list[tuple[bytes, Sequence[Logprobs]]]] = {}
        """Holds, of a whole answer, by side, tokens (packed u32) with their log probabilities,
        which become rows when they are sent.
        """
        self._told: dict[str, list[Any]] = (
            {name: [] for side in ("input", "output") for name in self._columns(side)}
            if request.return_logprob
            else {}
        )
        """Holds, of a stream, the rows so far, under SGLang's names; kept, since each output
        repeats them all. Of a whole answer they stay empty.
        """
        self._start = -1 if request.logprob_start_len is None else request.logprob_start_len

    def add(self, gain: Gain) -> None:
        """Takes what the choice gained next."""
        self._text += gain.text
        if not self._request.return_logprob:
            return
        if gain.prompt_logprobs is not None and self._start >= 0:
            self._add("input", [(self._prompt, [gain.prompt_logprobs])])
        self._add("output", [(gain.token_ids, gain.logprobs)])

    def output(self, choice: Choice, index: int | None = None) -> dict[str, Any]:
        """Returns the output so far.

        Args:
            index: place in the batch, told in streams of several.
        """
        place = {} if index is None else {"index": index}
        return {
            "text": self._text,
            "output_ids": list(unpack_tokens(choice.output)),
            "meta_info": self._meta_info(choice),
            **place,
        }

    def _meta_info(self, choice: Choice) -> dict[str, Any]:
        info: dict[str, Any] = {
            "id": self._rid,
            "finish_reason": _finish_reason(choice),
            "prompt_tokens": count_tokens(self._prompt),
            "completion_tokens": choice.completion_tokens,
            "cached_tokens": choice.cached_tokens,
            "cached_tokens_details": cached_details(choice),
            "reasoning_tokens": choice.reasoning_tokens,
            "dp_rank": choice.stream.placement.rank.key[1],
        }
        weights = self._weights_of(choice)
        if weights is not None:
            info["weight_version"] = weights
        if choice.finish_reason is not None:
            info["e2e_latency"] = time.monotonic() - self._started_s
        info |= self._told
        for side, scored in self._scored.items():
            info |= {
                name: Rows(partial(make, side, scored))
                for name, make in self._columns(side).items()
            }
        return info

    def _add(self, side: str, scored: Scored) -> None:
        if not self._request.stream:
            self._scored.setdefault(side, []).extend(scored)
            return
        for name, make in self._columns(side).items():
            self._told.setdefault(name, []).extend(make(side, scored))

    def _columns(self, side: str) -> dict[str, Callable[[str, Scored], Iterator[Any]]]:
        """Returns what is told of a side, under SGLang's names."""
        columns: dict[str, Callable[[str, Scored], Iterator[Any]]] = {
            f"{side}_token_logprobs": self._tokens
        }
        return (
            columns | {f"{side}_top_logprobs": self._tops}
            if self._request.top_logprobs_num
            else columns
        )

    def _tokens(self, side: str, scored: Scored) -> Iterator[list[Any]]:
        return (self._entry(score.token_id, score.logprob) for score in self._asked(side, scored))

    def _tops(self, side: str, scored: Scored) -> Iterator[list[list[Any]] | None]:
        for score in self._asked(side, scored):
            yield (
                None
                if score.logprob is None
                else [self._entry(token_id, logprob) for token_id, logprob in score.top]
            )

    def _asked(self, side: str, scored: Scored) -> Iterator[Score]:
        """Yields what is told of a side. SGLang has no score of the first token of a prompt's part,
        and its clients leave it out of what they reckon.
        """
        if side == "output":
            yield from each_score(scored)
            return
        asked = islice(each_score(scored), self._start, None)
        for first in asked:
            yield first._replace(logprob=None)
            yield from asked

    def _entry(self, token_id: int, logprob: float | None) -> list[Any]:
        return [logprob, token_id, None if self._texts is None else self._texts.text(token_id)]


def _finish_reason(choice: Choice) -> dict[str, Any] | None:
    if choice.finish_reason is None:
        return None
    if choice.finish_reason == "length":
        return {"type": "length", "length": choice.completion_tokens}
    if choice.finish_reason == "abort":
        return {"type": "abort", "message": "The request was aborted."}
    finished = choice.stream.finished
    token_id = None if finished is None else finished.matched_token_id
    matched = choice.matched_stop if choice.matched_stop is not None else token_id
    return {"type": "stop", "matched": matched}
