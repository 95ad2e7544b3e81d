"""Stands where a model's tokenizer would, of models whose workers take prompts as text."""

from typing import Final, NoReturn

from protocol.errors import InvalidRequest
from protocol.text.detokenizer import Detokenizing


class NoTokenizer:
    """A NoTokenizer refuses to make tokens of text, or text of tokens."""

    backend_name: Final = "none"

    @property
    def detokenizing(self) -> Detokenizing:
        """Raises InvalidRequest."""
        refuse()

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:  # noqa: ARG002 - as others
        """Raises InvalidRequest."""
        refuse()

    def token(self, token_id: int) -> str | None:  # noqa: ARG002 - as others
        """Raises InvalidRequest."""
        refuse()


def refuse() -> NoReturn:
    """Raises InvalidRequest."""
    raise InvalidRequest(
        "This model's workers take prompts as text: it has no tokenizer.", param="model"
    )
