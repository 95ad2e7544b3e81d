"""Prompt text → token ids, refused before the work where it cannot fit."""

from typing import Final

from frontend.models import ServedModel
from protocol.errors import ContextOverflow

CHARS_PER_TOKEN_MAX: Final = 512
"""No text is worth fewer tokens than its characters divided by this. The longest tokens of published vocabularies are runs of 128
spaces (GPT-2's descendants, Llama 3, Qwen); a normalizer that composes characters (NFC) makes one of at most four."""


async def encode_prompt(served: ServedModel, text: str, *, add_special_tokens: bool, param: str) -> bytes:
    """Token ids as packed u32.

    Raises:
        ContextOverflow: the text is so long that it cannot fit, whatever its tokens are. `param` is the field that it came from.
        InvalidRequest, Overloaded: as Tokenizer.encode_off_loop.
    """
    context_length = served.card.context_length
    if len(text) > context_length * CHARS_PER_TOKEN_MAX:
        raise ContextOverflow(
            f"This model's maximum context length is {context_length} tokens. However, your prompt of {len(text)} characters takes at"
            f" least {-(-len(text) // CHARS_PER_TOKEN_MAX)} tokens. Please reduce the length of the prompt.",
            param=param,
        )
    return await served.encode_off_loop(text, add_special_tokens=add_special_tokens)
