"""What a request would cost beyond its tokens, refused before any work where that is too much."""

from collections.abc import Sequence
from typing import Final

from protocol.errors import InvalidRequest
from protocol.requests import Generate
from protocol.tokens import count_tokens

SCORES_MAX: Final = 4_000_000
"""Log probabilities of one answer: 32 MB as they come, 300 MB of JSON. 190,000 tokens with 20 alternatives beside each."""

REPEATED_SCORES_MAX: Final = 60_000
"""Where each event of a stream, or its last four, repeat all that were told before: 2,900 tokens with 20 alternatives."""

COPIES_BYTES_MAX: Final = 64 * 1024 * 1024
"""Prompts, tools and grammars of all choices: each choice is a request with its own copy. 128 times a prompt of 128k tokens."""


def check_price(requests: Sequence[Generate], *, repeats: bool) -> None:
    """Refuse what would hold or make too much.

    Args:
        requests: one for each choice.
        repeats: the answer tells log probabilities again and again.
    Raises:
        InvalidRequest: naming what can be made smaller.
    """
    first = requests[0]
    if len(requests) > 1:
        copied = sum(len(request.token_ids) for request in requests)
        each = 0 if first.reading is None else len(first.reading.chat)
        each += 0 if first.grammar is None else len(first.grammar.text)
        copied += each * len(requests)
        if copied > COPIES_BYTES_MAX:
            raise InvalidRequest(
                f"The {len(requests)} choices of this request take {copied} bytes, each with its own copy of prompt and tools;"
                f" at most {COPIES_BYTES_MAX} are allowed. Ask for fewer at once.",
                param="n",
            )
    wanted = first.logprobs
    if wanted is None:
        return
    tokens = sum(request.sampling.max_new_tokens for request in requests)
    if wanted.of_prompt:
        tokens += sum(count_tokens(request.token_ids) for request in requests)
    scores, most = tokens * (wanted.top + 1), REPEATED_SCORES_MAX if repeats else SCORES_MAX
    if scores > most:
        raise InvalidRequest(
            f"This request asks for up to {scores} log probabilities ({tokens} tokens, {wanted.top} alternatives beside each);"
            f" at most {most} are told in {'this form of stream' if repeats else 'one answer'}. Set or lower max_tokens, or ask for fewer.",
            param="logprobs",
        )
