"""What a choice gains → SGLang's output object: all of it so far, each time."""

import time
from collections.abc import Iterable
from typing import Any

from frontend.api.logprobs import Score, TokenTexts, scores
from frontend.api.native.schemas import GenerateRequest
from frontend.generation import Choice
from frontend.text.gain import Gain
from protocol.tokens import count_tokens, unpack_tokens


class OutputWriter:
    """Writes the outputs of one choice.

    Args:
        texts: what tokens look like, where log probabilities bear their text; None where they do not.
        started_s: when the request came, on the monotonic clock.
    """

    def __init__(self, request: GenerateRequest, rid: str, prompt: bytes, texts: TokenTexts | None, started_s: float) -> None:
        self._request = request
        self._rid = rid
        self._prompt = prompt
        self._texts = texts
        self._started_s = started_s
        self._text = ""
        self._told: dict[str, list[Any]] = {}
        """Log probabilities so far, under SGLang's names; kept, since each output repeats them all."""
        if request.return_logprob:
            self._tell("output", ())

    def add(self, gain: Gain) -> None:
        """Take what came next."""
        self._text += gain.text
        if not self._request.return_logprob:
            return
        start = self._request.logprob_start_len
        if gain.prompt_logprobs is not None and start is not None and start >= 0:
            self._tell("input", list(scores(self._prompt, [gain.prompt_logprobs]))[start:])
        self._tell("output", scores(gain.token_ids, gain.logprobs))

    def output(self, choice: Choice, index: int | None = None) -> dict[str, Any]:
        """The output so far.

        Args:
            index: place in the batch, told in streams of several.
        """
        place = {} if index is None else {"index": index}
        return {"text": self._text, "output_ids": list(unpack_tokens(choice.output)), "meta_info": self._meta_info(choice), **place}

    def _meta_info(self, choice: Choice) -> dict[str, Any]:
        info: dict[str, Any] = {
            "id": self._rid,
            "finish_reason": _finish_reason(choice),
            "prompt_tokens": count_tokens(self._prompt),
            "completion_tokens": choice.completion_tokens,
            "cached_tokens": choice.cached_tokens,
            "reasoning_tokens": choice.reasoning_tokens,
            "dp_rank": choice.stream.placement.rank.key[1],
        }
        if choice.finish_reason is not None:
            info["e2e_latency"] = time.monotonic() - self._started_s
        return info | self._told

    def _tell(self, side: str, of: Iterable[Score]) -> None:
        tokens = self._told.setdefault(f"{side}_token_logprobs", [])
        tops = self._told.setdefault(f"{side}_top_logprobs", []) if self._request.top_logprobs_num else []
        for score in of:
            tokens.append(self._entry(score.token_id, score.logprob))
            tops.append(None if score.logprob is None else [self._entry(token_id, logprob) for token_id, logprob in score.top])

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
