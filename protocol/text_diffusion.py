"""Defines what a worker tells of a model whose text is made by diffusion, a block at a time.

Add-only.
"""

from msgspec import Struct

from protocol.fields import Name, Positive


class TextDiffusion(Struct, frozen=True, omit_defaults=True):
    """A TextDiffusion says how a model's engine makes text of a block of unknown tokens, all of
    whose places it computes at once, several times.

    Nothing of how one token follows from another is in the way of that: penalties, biases, grammars
    and log probabilities have no place in it.
    """

    algorithm: Name
    """Names the engine's algorithm, which also chooses each token."""
    block_tokens: Positive
    """Counts the tokens of a block; blocks are counted from the beginning of the prompt, so that an
    answer's first one may be shorter.
    """
    greedy: bool = False
    """Says that a place gets its likeliest token, so that a prompt has one answer."""
