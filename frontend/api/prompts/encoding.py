"""A prompt's text becomes token ids here, and is refused before the work where it cannot fit."""

from typing import Final

from frontend.models.served import ServedModel
from protocol.errors import ContextOverflow
from protocol.tokens import count_tokens

CHARS_PER_TOKEN_MAX: Final = 512
"""No text has fewer tokens than its characters divided by this.

The longest tokens of published vocabularies are runs of 128 spaces (GPT-2's descendants, Llama 3,
Qwen); a normalizer that composes characters (NFC) makes one of at most four.
"""

CHARS_PER_TOKEN_USUAL: Final = 8
"""Few texts have fewer tokens than their characters divided by this.

Of one that would be too long even so, the beginning is tokenized first: a tokenizer makes objects
of a hundred bytes a token, and 40 MB of text have ten million.
"""

BEGINNING_CHARS_MIN: Final = 64 * 1024
"""A text with no more characters than this is tokenized at once."""

OVERFLOW_SURE: Final = 2
"""A beginning with so many times the tokens of the context proves that its text cannot fit: how a
text goes on changes the tokens of what is before by a few.
"""


async def encode_prompt(
    served: ServedModel, text: str, *, add_special_tokens: bool, param: str
) -> bytes:
    """Returns the token ids of a prompt's text as packed u32.

    Raises:
        ContextOverflow: the text is so long that it cannot fit, whatever its tokens are, or far
        more than fits. `param` is the field that
            it came from. What is only a little too long is the caller's matter.
        InvalidRequest, Overloaded: as Tokenizer.encode_off_loop.
    """
    context_length = served.card.context_length
    if len(text) > context_length * CHARS_PER_TOKEN_MAX:
        raise ContextOverflow(
            f"This model's maximum context length is {context_length} tokens. However, your "
            f"prompt of {len(text)} characters takes at"
            f" least {-(-len(text) // CHARS_PER_TOKEN_MAX)} tokens. Please reduce the length "
            "of the prompt.",
            param=param,
        )
    if len(text) > BEGINNING_CHARS_MIN and (
        beginning := await overflowing_beginning(served, text, context_length)
    ):
        chars, tokens = beginning
        raise ContextOverflow(
            f"This model's maximum context length is {context_length} tokens. However, the "
            f"first {chars} of the {len(text)} characters of"
            f" your prompt have {tokens} tokens. Please reduce the length of the prompt.",
            param=param,
        )
    return await served.encode_off_loop(text, add_special_tokens=add_special_tokens)


async def overflowing_beginning(
    served: ServedModel, text: str, tokens_max: int
) -> tuple[int, int] | None:
    """Returns characters and tokens of a text's beginning that alone has far more tokens than fit;
    None if all of the text is worth tokenizing.

    Raises:
        InvalidRequest, Overloaded: as Tokenizer.encode_off_loop.
    """
    chars = max(tokens_max * CHARS_PER_TOKEN_USUAL, BEGINNING_CHARS_MIN)
    while chars < len(text):
        tokens = count_tokens(await served.encode_off_loop(text[:chars], add_special_tokens=False))
        if tokens > tokens_max * OVERFLOW_SURE:
            return chars, tokens
        chars *= 8
    return None
