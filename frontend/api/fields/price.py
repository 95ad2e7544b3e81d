"""A request that would cost too much beyond its tokens is refused before any work."""

from collections.abc import Sequence
from typing import Final

from protocol.errors import InvalidRequest
from protocol.generation import Generate
from protocol.tokens import count_tokens

SCORES_MAX: Final = 4_000_000
"""One answer may have so many log probabilities: 32 MB as they come, 300 MB of JSON. 190,000 tokens
with 20 alternatives beside each.
"""

REPEATED_SCORES_MAX: Final = 60_000
"""An answer may have so many log probabilities where each event of its stream, or the last four,
repeat all that were told before: 2,900 tokens with 20 alternatives.
"""

COPIES_BYTES_MAX: Final = 64 * 1024 * 1024
"""Prompts, tools and grammars of all choices may have so many bytes: each choice is a request with
its own copy. 128 times a prompt of 128k tokens.
"""


def check_price(requests: Sequence[Generate], *, open_ended: bool, repeats: bool) -> int | None:
    """Refuses requests that would hold or make too much, and says how long open-ended answers may
    be.

    Args:
        requests: one for each choice.
        open_ended: the client leaves it to us how long an answer may be.
        repeats: the answer tells log probabilities again and again.
    Returns:
        How many new tokens a choice may have at most, if fewer than it says.
    Raises:
        InvalidRequest: naming what can be made smaller.
    """
    if len(requests) > 1:
        _check_copies(requests)
    wanted = requests[0].logprobs
    if wanted is None:
        return None
    most = (REPEATED_SCORES_MAX if repeats else SCORES_MAX) // (wanted.top + 1)
    of_prompts = (
        sum(count_tokens(request.token_ids) for request in requests) if wanted.of_prompt else 0
    )
    tokens = sum(request.sampling.max_new_tokens for request in requests) + of_prompts
    if tokens <= most:
        return None
    each = (most - of_prompts) // len(requests)
    if open_ended and each > 0:
        return each
    raise InvalidRequest(
        f"This request asks for up to {tokens * (wanted.top + 1)} log probabilities "
        f"({tokens} tokens, {wanted.top} alternatives beside"
        f" each); {'this form of stream' if repeats else 'one answer'} tells those of {most} "
        "tokens. Lower max_tokens, or ask for fewer.",
        param="logprobs",
    )


def _check_copies(requests: Sequence[Generate]) -> None:
    first = requests[0]
    shared = 0 if first.reading is None else len(first.reading.chat)
    shared += 0 if first.grammar is None else len(first.grammar.text)
    copied = sum(len(request.token_ids) for request in requests) + shared * len(requests)
    if copied > COPIES_BYTES_MAX:
        raise InvalidRequest(
            f"The {len(requests)} choices of this request take {copied} bytes, each with its "
            "own copy of prompt and tools;"
            f" at most {COPIES_BYTES_MAX} are allowed. Ask for fewer at once.",
            param="n",
        )
